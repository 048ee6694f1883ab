package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/command"
	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/link"
	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/netns"
)

// The two ends of the link. The namespaces are the lab's own: nothing else can
// have these addresses there.
const (
	nearAddress = "10.0.0.1"
	farAddress  = "10.0.0.2"
	device      = "lab"
)

// lab is a run.
type lab struct {
	plan      Plan
	setting   link.Setting
	kept      *Report // of an earlier run, whose other parts are kept; nil: none
	selection string  // of the upstreams that an upload chooses in; empty: the default
	warmpool  string  // binary
	self      string  // this binary
	dir       string  // for sockets and files; a short path, sockets allow 107 bytes
	cert, key string
	say       func(format string, args ...any)

	near, far *netns.Namespace
	processes []*child.Process // all, in the order in which they were started
	link      *child.Process
	origin    *child.Process
	caller    *child.Process
	sockets   map[Way]string
	missing   map[Way]string
}

// rtt is a round trip of the link.
func (l *lab) rtt() time.Duration { return 2 * l.setting.OneWay }

// start starts a process in a namespace; nil is the one that this process is in.
func (l *lab) start(in *netns.Namespace, name, path string, args []string, files []*os.File, told bool) (p *child.Process, err error) {
	// Processes outlive the context of the run until close, in order.
	begin := func() (err error) {
		p, err = child.Start(context.Background(), child.Command{Name: name, Path: path, Args: args, Files: files, Told: told})
		return err
	}
	if in == nil {
		err = begin()
	} else {
		err = in.Do(begin)
	}
	if err == nil {
		l.processes = append(l.processes, p)
	}
	return p, err
}

// build makes the namespaces, the link between them and the processes in them.
func (l *lab) build(ctx context.Context) (err error) {
	if l.near, err = netns.New(); err != nil {
		return err
	}
	if l.far, err = netns.New(); err != nil {
		return err
	}
	near, far := netip.MustParseAddr(nearAddress), netip.MustParseAddr(farAddress)
	a, err := l.near.Tun(device, near, far)
	if err != nil {
		return err
	}
	b, err := l.far.Tun(device, far, near)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	if err := errors.Join(l.tune(l.near, far), l.tune(l.far, near)); err != nil {
		return errors.Join(err, a.Close(), b.Close())
	}
	s := l.setting
	if l.link, err = l.start(nil, "link", l.self, []string{
		"link", "-oneway", s.OneWay.String(), "-rate", strconv.FormatInt(s.Rate, 10), "-queue", strconv.Itoa(s.Queue),
	}, []*os.File{a, b}, true); err != nil {
		return err
	}
	if l.cert, l.key, err = writeIdentity(l.dir); err != nil {
		return err
	}
	args := []string{"origin", "-cert", l.cert, "-key", l.key, "-quick=" + strconv.FormatBool(l.plan.Quick)}
	if l.origin, err = l.start(l.far, "origin", l.self, args, nil, true); err != nil {
		return err
	}
	if _, err := l.served(ctx); err != nil { // it listens once it answers
		return err
	}
	l.sockets, l.missing = make(map[Way]string), make(map[Way]string)
	if err := l.startProxies(); err != nil {
		return err
	}
	if l.caller, err = l.start(l.near, "caller", l.self, []string{"caller"}, nil, true); err != nil {
		return err
	}
	setup := CallerSetup{Plan: l.plan, OneWay: s.OneWay, Cert: l.cert, Sockets: l.sockets}
	return l.ask(ctx, l.caller, setup, &struct{}{})
}

// tune gives a namespace, from which the other end is reached, the kernel's own
// defaults, whatever this machine has.
func (l *lab) tune(n *netns.Namespace, other netip.Addr) error {
	return errors.Join(n.Congestion(device, other, "cubic"), n.Set(map[string]string{
		"tcp_slow_start_after_idle": "1",
		// What one measurement met must not slow down the next.
		"tcp_no_metrics_save": "1",
		"ip_local_port_range": "10000 65000",
	}))
}

// close ends everything, the last first.
func (l *lab) close() {
	for _, p := range slices.Backward(l.processes) {
		p.Close()
	}
	for _, n := range []*netns.Namespace{l.near, l.far} {
		if n != nil {
			n.Close() //nolint:errcheck,gosec // the kernel removes it with the last descriptor
		}
	}
}

// ask puts a question to a process, and fails when another one ends meanwhile.
func (l *lab) ask(ctx context.Context, p *child.Process, question, answer any) error {
	others := slices.DeleteFunc(slices.Clone(l.processes), func(o *child.Process) bool { return o == p })
	return p.Ask(ctx, question, answer, others...)
}

func (l *lab) order(ctx context.Context, o Order) (r Result, err error) {
	if err := l.ask(ctx, l.caller, o, &r); err != nil {
		return r, fmt.Errorf("%s: %w", o.Section, err)
	}
	return r, nil
}

func (l *lab) served(ctx context.Context) (f OriginFigures, err error) {
	return f, l.ask(ctx, l.origin, struct{}{}, &f)
}

// end ends a process before the run does.
func (l *lab) end(p *child.Process) {
	p.Close()
	l.processes = slices.DeleteFunc(l.processes, func(o *child.Process) bool { return o == p })
}

// linkMain is the process of the link. It answers each line on its standard input
// with the link's figures.
func linkMain(args []string, stdin io.Reader, stdout io.Writer) error {
	var s link.Setting
	flags := command.Flags("link")
	settingFlags(flags, &s)
	if err := flags.Parse(args); err != nil {
		return command.Usagef("%w", err)
	}
	// Little is allocated, and a collector that others keep from running would hold
	// up the link.
	debug.SetGCPercent(-1)
	line, err := link.New(s, child.Inherited(0), child.Inherited(1))
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- line.Run() }()
	go func() {
		ended <- child.AnswerLines(stdin, stdout, func(struct{}) ([2]link.Figures, error) { return line.Figures(), nil })
	}()
	return <-ended
}
