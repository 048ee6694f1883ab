package sidecar

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
)

// descriptors shares the files that the process may have open, so that none of
// those who need them can take all: what is left when upstream connections have had
// theirs is for callers, and what callers leave is for the control plane, for probes
// and metrics, and for files and lookups. The system gives the lowest number that is
// free, so that a bound of numbers is a bound of how many there are.
type descriptors struct {
	log         *slog.Logger
	limit       int // of the process; 0: none is known, and nothing is bounded
	connections int // those to upstreams are below this
	callers     int // and those of the data listeners below this
	turnedAway  pauses
	exhausted   pauses
}

// newDescriptors shares limit descriptors.
func newDescriptors(limit int, log *slog.Logger) *descriptors {
	operators := min(16, limit/4)
	callers := min(256, limit/8)
	return &descriptors{log: log, limit: limit, connections: limit - operators - callers, callers: limit - operators}
}

// filesRemedy is what helps when there are too few.
const filesRemedy = "raise the process's limit of open files (ulimit -n) or lower connections.max and grpc.max_connections"

// forCallers reports whether a caller's connection may have the descriptor it has.
func (d *descriptors) forCallers(conn net.Conn) bool {
	if d.limit == 0 || descriptorOf(conn) < d.callers {
		return true
	}
	if d.turnedAway.now() {
		d.log.Warn("a connection was turned away: open files run short", "limit", d.limit, "kept", d.limit-d.callers, "remedy", filesRemedy)
	}
	return false
}

// short tells of an accept that failed because no file could be opened.
func (d *descriptors) short(err error) {
	if (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && d.exhausted.now() {
		d.log.Error("no connection can be accepted: too many open files", "limit", d.limit, "error", err, "remedy", filesRemedy)
	}
}

// descriptorOf is conn's; 0 where it has none.
func descriptorOf(conn net.Conn) int {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var number int
	_ = raw.Control(func(fd uintptr) { number = int(fd) }) // it fails when conn is closed, and then it has none
	return number
}

// announceFiles warns when the process may have fewer files open than its upstreams
// may have connections.
func (s *Sidecar) announceFiles() {
	if s.files.limit == 0 {
		return
	}
	most := 0
	for _, e := range s.book.list() {
		most += e.upstream.Policy().Max
	}
	if most > s.files.connections {
		s.log.Warn("upstreams may have more connections than the process may have open files", "connections_max", most,
			"limit", s.files.limit, "for_connections", s.files.connections, "remedy", filesRemedy)
	}
}
