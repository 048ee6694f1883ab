package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// bench is what a run works with.
type bench struct {
	dir      string // for sockets and configuration files; a short path, sockets allow 107 bytes
	self     string // this binary
	haproxy  string // empty: not installed
	warmpool string // binary
	profiles string // folder for the sidecar's CPU profiles; empty: none are taken
	peers    int    // started so far; each has a folder of its own in dir
}

// peer is a running intermediary, or none.
type peer struct {
	process  *process // nil: there is none
	fronts   map[Front]string
	profiler bool // it takes ProfileOrders
}

// NotInstalledError says that a peer cannot be measured on this machine.
type NotInstalledError struct {
	Program string
	Do      string // what to do about it
}

func (e *NotInstalledError) Error() string { return "not installed: " + e.Program + "; " + e.Do }

// startOrigin starts an origin and says where it listens.
func (b *bench) startOrigin(ctx context.Context) (*process, string, error) {
	l, address, err := bind(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	// One thread: the cheapest there is on loopback, and it leaves the machine to
	// what is measured.
	p, err := start(ctx, command{
		name: "origin", path: b.self, args: []string{"origin"},
		env: []string{"GOMAXPROCS=1"}, listeners: []*os.File{l}, told: true,
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
		return b.startInherited(ctx, dir, command{
			name: "reverseproxy", path: b.self, told: true,
			args: []string{"reverseproxy", "-origin", "http://" + origin, "-idle", strconv.Itoa(s.InFlight)},
		})
	case Warmpool:
		return b.startWarmpool(ctx, dir, s, origin)
	}
	return peer{}, fmt.Errorf("scenario %q: unknown peer %q", s.Name, s.Peer)
}

// startInherited starts an intermediary that serves on a Unix socket and a TCP
// port which it is given bound, as descriptors 3 and 4.
func (b *bench) startInherited(ctx context.Context, dir string, c command) (peer, error) {
	socket, path, err := bind(ctx, "unix", filepath.Join(dir, "front"))
	if err != nil {
		return peer{}, err
	}
	port, address, err := bind(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return peer{}, errors.Join(err, socket.Close())
	}
	c.listeners = []*os.File{socket, port}
	p, err := start(ctx, c)
	return peer{process: p, fronts: map[Front]string{Unix: "unix:" + path, TCP: "tcp:" + address}}, err
}

// haproxyConfig is HAProxy as one sets it up for this job: threads by its own
// default (one per CPU), every idle connection to the origin open to every
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
		return peer{}, &NotInstalledError{Program: "haproxy", Do: "install the distribution's package, for example: apt-get install haproxy"}
	}
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, haproxyConfig, origin), 0o600); err != nil {
		return peer{}, err
	}
	return b.startInherited(ctx, dir, command{name: "haproxy", path: b.haproxy, args: []string{"-db", "-f", config}})
}

// warmpoolConfig is warmpool with its defaults, but for a drain that holds up
// nobody, and time to wait for the first connections on a machine that is busy
// with other things. Once warm, no request waits: there are as many connections
// as requests in flight.
const warmpoolConfig = `listen: ["unix://%s"]
control: ["off"]
admin: "off"
log: {level: warn, format: text}
drain: {grace: 1s}
upstreams:
  - name: %s
    url: http://%s
    connections: {max: %d}
    queue: {max_wait: 30s}
`

func (b *bench) startWarmpool(ctx context.Context, dir string, s Scenario, origin string) (peer, error) {
	const defaultMax = 64 // connections of an upstream
	socket, config := filepath.Join(dir, "front"), filepath.Join(dir, "warmpool.yaml")
	text := fmt.Appendf(nil, warmpoolConfig, socket, upstreamName, origin, max(s.InFlight, defaultMax))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return peer{}, err
	}
	c := command{name: "warmpool", path: b.warmpool, args: []string{"serve", "-c", config}}
	profiled := b.profiles != "" && s.InFlight > 1
	if profiled {
		c = command{name: "sidecar", path: b.self, args: []string{"sidecar", "-c", config}, told: true}
	}
	p, err := start(ctx, c)
	return peer{process: p, fronts: map[Front]string{Unix: "unix:" + socket}, profiler: profiled}, err
}

// startClient starts the client of a scenario, which asks at a front.
func (b *bench) startClient(ctx context.Context, s Scenario, front string) (*process, error) {
	return start(ctx, command{
		name: "client of " + s.Name, path: b.self, told: true,
		args: []string{
			"client", "-kind", string(s.Client), "-front", front,
			"-in-flight", strconv.Itoa(s.InFlight), "-body", strconv.Itoa(s.Body),
		},
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

// findHAProxy is the path of HAProxy's binary, or empty. Distributions put it
// where the PATH of an ordinary user does not lead.
func findHAProxy() string {
	for _, name := range []string{"haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// buildWarmpool builds cmd/warmpool into dir and returns the binary's path.
func buildWarmpool(ctx context.Context, dir string) (string, error) {
	const pkg = "github.com/warmpool-dev/warmpool/cmd/warmpool"
	path := filepath.Join(dir, "warmpool")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput() //nolint:gosec // a folder of our own
	if err != nil {
		return "", fmt.Errorf("building %s (or name a binary by -warmpool): %w\n%s", pkg, err, out)
	}
	return path, nil
}

// checkBinary reports why a file cannot be run.
func checkBinary(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "execute", Path: path, Err: fs.ErrPermission}
	}
	return nil
}
