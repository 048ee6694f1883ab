package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/program"
)

// bench is what a run works with.
type bench struct {
	dir      string // for sockets and configuration files; a short path, sockets allow 107 bytes
	self     string // this binary
	haproxy  string // empty: not installed
	warmpool string // binary
	other    string // another one to measure beside it; empty: none
	profiles string // folder for the sidecar's CPU profiles; empty: none are taken
	peers    int    // started so far; each has a folder of its own in dir

	clientProcs int // GOMAXPROCS of the clients
	placement   placement
}

// placement is which CPUs processes run on. Nil: on any, as the kernel likes.
type placement struct{ peer, others []int }

// place gives what is measured the last of these CPUs to itself, where there are
// several.
func place(cpus []int) placement {
	last := len(cpus) - 1
	if last < 1 {
		return placement{}
	}
	return placement{peer: cpus[last:], others: cpus[:last]}
}

// String says for people where processes run.
func (p placement) String() string {
	if p.peer == nil {
		return "processes on any CPU"
	}
	return fmt.Sprintf("what is measured on CPU %d, the others elsewhere", p.peer[0])
}

// peer is a running intermediary, or none.
type peer struct {
	process  *child.Process // nil: there is none
	fronts   map[Front]string
	profiler bool // it takes ProfileOrders

	tokens   map[string]string // of callers, by name, where it tells them apart
	listener *listener         // takes its telemetry; nil: it has none
}

// startOrigin starts an origin that answers after so long, and says where it
// listens.
func (b *bench) startOrigin(ctx context.Context, after time.Duration) (*child.Process, string, error) {
	l, address, err := bind(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	// One thread: the cheapest there is on loopback, and it leaves the machine to
	// what is measured.
	p, err := child.Start(ctx, child.Command{
		Name: "origin", Path: b.self, Args: []string{"origin", "-after", after.String()},
		Env: []string{"GOMAXPROCS=1"}, Files: []*os.File{l}, Told: true, CPUs: b.placement.others,
	})
	return p, address, err
}

// startPeer starts the intermediary of a scenario in front of an origin.
func (b *bench) startPeer(ctx context.Context, s Scenario, origin string) (peer, error) {
	b.peers++
	dir := filepath.Join(b.dir, strconv.Itoa(b.peers))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return peer{}, err
	}
	switch s.Peer {
	case Direct:
		return peer{fronts: map[Front]string{TCP: "tcp:" + origin}}, nil
	case HAProxy:
		return b.startHAProxy(ctx, dir, origin)
	case ReverseProxy:
		return b.startInherited(ctx, dir, child.Command{
			Name: "reverseproxy", Path: b.self, Told: true,
			Args: []string{"reverseproxy", "-origin", "http://" + origin, "-idle", strconv.Itoa(s.InFlight)},
		})
	case Warmpool:
		return b.startWarmpool(ctx, dir, s, origin)
	}
	return peer{}, fmt.Errorf("scenario %q: unknown peer %q", s.Name, s.Peer)
}

// startInherited starts an intermediary that serves on a Unix socket and a TCP
// port which it is given bound, as descriptors 3 and 4.
func (b *bench) startInherited(ctx context.Context, dir string, c child.Command) (peer, error) {
	socket, path, err := bind(ctx, "unix", filepath.Join(dir, "front"))
	if err != nil {
		return peer{}, err
	}
	port, address, err := bind(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return peer{}, errors.Join(err, socket.Close())
	}
	c.Files, c.CPUs = []*os.File{socket, port}, b.placement.peer
	p, err := child.Start(ctx, c)
	return peer{process: p, fronts: map[Front]string{Unix: "unix:" + path, TCP: "tcp:" + address}}, err
}

// haproxyConfig is HAProxy as one sets it up for this job: threads by its own
// default (one per CPU that it may use), every idle connection to the origin open to every
// client. Its log is off, as warmpool's is per request. Idle connections are
// not purged, since other rows have their turn for longer than the 5 s after
// which it would begin.
const haproxyConfig = `global
    maxconn 1000
defaults
    mode http
    no log
    http-reuse always
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
frontend front
    bind fd@3
    bind fd@4
    default_backend origin
backend origin
    server origin %s pool-purge-delay 1h
`

func (b *bench) startHAProxy(ctx context.Context, dir, origin string) (peer, error) {
	if b.haproxy == "" {
		return peer{}, &program.NotInstalledError{Program: "haproxy", Do: "install the distribution's package, for example: apt-get install haproxy"}
	}
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, haproxyConfig, origin), 0o600); err != nil {
		return peer{}, err
	}
	return b.startInherited(ctx, dir, child.Command{Name: "haproxy", Path: b.haproxy, Args: []string{"-db", "-f", config}})
}

// warmpoolConfig is warmpool with its defaults, but for a drain that holds up
// nobody, and time to wait for the first connections on a machine that is busy
// with other things. Once warm, no request waits: there are as many connections
// as requests in flight.
const warmpoolConfig = `listen: ["unix://%s"]
control: ["off"]
admin: "%s"
log: {level: warn, format: text}
drain: {grace: 1s}
upstreams:
  - name: %s
    url: http://%s
    connections: {max: %d}
    queue: {max_wait: 30s}
    pipelining: {depth: %d}
%s`

func (b *bench) startWarmpool(ctx context.Context, dir string, s Scenario, origin string) (p peer, err error) {
	socket, config := filepath.Join(dir, "front"), filepath.Join(dir, "warmpool.yaml")
	p.fronts = map[Front]string{Unix: "unix:" + socket}
	admin, limits := "off", ""
	if s.Limited {
		if p.tokens, limits, err = limitCallers(dir); err != nil {
			return p, err
		}
	}
	c := child.Command{Name: "warmpool", Path: b.warmpool, Args: []string{"serve", "-c", config}, CPUs: b.placement.peer}
	if s.Other {
		c.Name, c.Path = "other warmpool", b.other
	}
	if s.Telemetry != NoTelemetry {
		if p.listener, err = b.startListener(ctx, s.Telemetry); err != nil {
			return p, err
		}
		admin, c.Env = p.listener.admin, p.listener.env
	}
	text := fmt.Appendf(nil, warmpoolConfig, socket, admin, upstreamName, origin, connectionsFor(s), max(s.Depth, 1), limits)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return p, err
	}
	p.profiler = b.profiles != "" && s.InFlight > 1 && !s.Other
	if p.profiler {
		c.Name, c.Path, c.Args, c.Told = "sidecar", b.self, []string{"sidecar", "-c", config}, true
	}
	p.process, err = child.Start(ctx, c)
	return p, err
}

// connectionsFor is the most connections that an upstream may have: with
// pipelining as many as carry what is in flight at its depth, else one for each
// request, and as many as by default at least.
func connectionsFor(s Scenario) int {
	const byDefault = 64
	if s.Depth > 1 {
		return max(s.InFlight/s.Depth, 1)
	}
	return max(s.InFlight, byDefault)
}

// startClient starts a client of a scenario, which asks at a front. The sidecar
// knows it by the token, if there is one.
func (b *bench) startClient(ctx context.Context, s Scenario, front, token string) (*child.Process, error) {
	bytes := []string{"-body", strconv.Itoa(s.Body)}
	if s.Upload {
		bytes[0] = "-upload"
	}
	return child.Start(ctx, child.Command{
		Name: "client of " + s.Name, Path: b.self, Told: true, CPUs: b.placement.others,
		Env: []string{"GOMAXPROCS=" + strconv.Itoa(b.clientProcs)},
		Args: append([]string{
			"client", "-kind", string(s.Client), "-front", front, "-in-flight", strconv.Itoa(s.InFlight), "-token", token,
		}, bytes...),
	})
}

// bind makes a listener to be given to a child, and says its address.
func bind(ctx context.Context, network, address string) (*os.File, string, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, network, address)
	if err != nil {
		return nil, "", err
	}
	var f *os.File
	switch l := l.(type) {
	case *net.UnixListener:
		l.SetUnlinkOnClose(false)
		f, err = l.File()
	case *net.TCPListener:
		f, err = l.File()
	default:
		err = fmt.Errorf("network %q: must be unix or tcp", network)
	}
	return f, l.Addr().String(), errors.Join(err, l.Close())
}
