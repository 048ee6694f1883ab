package pool

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warmpool-dev/warmpool/pool/nonblock"
)

// socket is the file descriptor under a connection. Of a connection that has
// none, one in memory, it knows nothing.
type socket struct {
	raw     syscall.RawConn
	fd      int32 // while it is open
	poll    func(fd uintptr)
	seen    *int16
	take    func(fd uintptr) bool
	arrived *arrivals
	writer  *nonblock.Writer
}

func newSocket(c net.Conn, a *arrivals) socket {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return socket{}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return socket{}
	}
	fd := make([]unix.PollFd, 1)
	number := int32(-1) // of which a poll says nothing
	_ = raw.Control(func(n uintptr) { number = int32(n) })
	return socket{
		raw: raw, fd: number, seen: &fd[0].Revents, arrived: a, writer: nonblock.NewWriter(raw),
		poll: func(n uintptr) {
			fd[0] = unix.PollFd{Fd: int32(n), Events: unix.POLLIN | unix.POLLRDHUP}
			if nonblock.Poll(fd) != 0 {
				fd[0].Revents = 0 // interrupted: the reader will notice what this look did not
			}
		},
		take: func(n uintptr) bool {
			a.take()
			a.n, a.err = nonblock.Read(n, a.into)
			a.took(a.n)
			return a.err != unix.EAGAIN
		},
	}
}

// read is a net.Conn's Read that notes each step in arrivals. The error is
// errors.ErrUnsupported where there is no file descriptor.
func (s socket) read(p []byte) (int, error) {
	switch {
	case s.raw == nil:
		return 0, errors.ErrUnsupported
	case len(p) == 0:
		return 0, nil
	}
	a := s.arrived
	a.into = p
	err := s.raw.Read(s.take)
	a.into = nil
	switch {
	case err != nil:
		return 0, err
	case a.err != 0:
		return 0, os.NewSyscallError("read", a.err)
	case a.n == 0:
		return 0, io.EOF
	}
	return a.n, nil
}

// write is a net.Conn's Write. The error is errors.ErrUnsupported where there is
// no file descriptor.
func (s socket) write(p []byte) (int, error) {
	if s.raw == nil {
		return 0, errors.ErrUnsupported
	}
	return s.writer.Write(p)
}

// gather lets the kernel hold back what does not fill a segment, until told otherwise
// (TCP_CORK). Should that never come, it sends it all the same 200 ms later.
func (s socket) gather(on bool) {
	if s.raw == nil {
		return
	}
	value := 0
	if on {
		value = 1
	}
	_ = s.raw.Control(func(fd uintptr) { // where it is refused, as of a Unix socket, nothing is held back
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, value)
	})
}

// look asks, without waiting, whether there is something to read and whether
// the peer has closed or reset. Control and not Read, because the reader sits
// in a Read of its own.
func (s socket) look() (readable, ended bool) {
	if s.raw == nil {
		return false, false
	}
	if s.raw.Control(s.poll) != nil {
		return false, true // closed under our hands
	}
	return *s.seen&unix.POLLIN != 0, *s.seen&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

// sockets are several that are looked at together.
type sockets struct{ polled []unix.PollFd }

// look marks those of conns as clean, as of now, on which nothing has come. That a
// descriptor may belong to another socket by now does no harm: its connection was
// closed then, and no request begins on it.
func (s *sockets) look(conns []*conn, now instant) {
	s.polled = s.polled[:0]
	for _, c := range conns {
		if c.notice.socket.raw != nil {
			s.polled = append(s.polled, unix.PollFd{Fd: c.notice.socket.fd, Events: unix.POLLIN | unix.POLLRDHUP})
		}
	}
	if len(s.polled) == 0 || nonblock.Poll(s.polled) != 0 {
		return
	}
	i := 0
	for _, c := range conns {
		if c.notice.socket.raw == nil {
			continue
		}
		if s.polled[i].Revents == 0 {
			c.clean.Store(int64(now))
		}
		i++
	}
}

// setSocketOptions sets what net.Dialer has no field for, before connect.
func setSocketOptions(c syscall.RawConn, p *TCPPolicy) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		if len(p.SourceAddresses) > 0 {
			// The port is chosen at connect, when the destination is known: one source
			// then has its whole range towards each destination, and not once for all.
			if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
				failed = fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
			}
		}
		if p.Congestion != "" {
			// Where the system does not allow it, its own serves as well, a little slower:
			// CheckCongestion says so beforehand, and each connection's figures afterwards.
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, p.Congestion)
		}
		if p.UserTimeout > 0 {
			if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(p.UserTimeout/time.Millisecond)); err != nil {
				failed = fmt.Errorf("set TCP_USER_TIMEOUT to %s: %w", p.UserTimeout, err)
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// awaitReset waits until the peer has reset the connection, at most for d, and
// returns what the kernel then says of it: EPIPE when the peer's FIN had come
// before, ECONNRESET when it had not. nil: no reset came, or nothing is known.
func (s socket) awaitReset(d time.Duration) error {
	if s.raw == nil {
		return nil
	}
	var failed error
	ask := func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}} // no events are asked for: errors are always reported
		if _, err := unix.Poll(fds, 0); err == nil && fds[0].Revents&unix.POLLERR != 0 {
			if code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
				failed = syscall.Errno(code)
			}
		}
	}
	// Asking again and again, because a wait in poll would hold a thread, and
	// when a server goes many connections wait here at once.
	for end := time.Now().Add(d); ; time.Sleep(awaitResetPause) {
		if s.raw.Control(ask) != nil || failed != nil || time.Now().After(end) {
			return failed
		}
	}
}

const awaitResetPause = 500 * time.Microsecond

// acked is how many bytes the peer's kernel has acknowledged.
func (s socket) acked() (n int64, ok bool) {
	info, ok := s.info()
	if !ok {
		return 0, false
	}
	return int64(info.Bytes_acked) - 1, true // the SYN counts as one
}

// over reports that the kernel has given the connection up: after a reset, or after
// ends in both directions.
func (s socket) over() bool {
	info, ok := s.info()
	return ok && info.State == unix.BPF_TCP_CLOSE
}

// rtt is the connection's smoothed round trip; 0 when nothing is known.
func (s socket) rtt() time.Duration {
	info, ok := s.info()
	if !ok {
		return 0
	}
	return time.Duration(info.Rtt) * time.Microsecond
}

// info is what the kernel knows of the connection.
func (s socket) info() (info *unix.TCPInfo, ok bool) {
	if s.raw == nil {
		return nil, false
	}
	err := s.raw.Control(func(fd uintptr) {
		var failed error
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		ok = failed == nil
	})
	return info, ok && err == nil
}

// localPorts is how many ports the system hands out to connections; 0 when it
// does not say.
func localPorts() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil || last < first {
		return 0
	}
	return last - first + 1
}
