package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startLimit = 20 * time.Second // for a program to accept connections
	stopLimit  = 20 * time.Second // for a program to end after the signal
	pollPause  = 2 * time.Millisecond
)

// process is a program that runs for a test: it is ended with the test, and what it wrote is shown when the test fails.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *output
	ended chan struct{} // closed when it is gone; err is set before
	err   error
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs cmd. Both its outputs are collected unless the caller has set them.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, log: new(output), ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	cmd.Stderr = p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its workers can be reached with it
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.stop(t, syscall.SIGTERM) // how a program ends matters to those that stop it themselves
		if t.Failed() {
			t.Logf("%s wrote:\n%s", name, tail(p.log.String()))
		}
	})
	return p
}

// tail is the end of a long text.
func tail(text string) string {
	const most = 16 << 10
	if len(text) <= most {
		return text
	}
	return "[...]" + text[len(text)-most:]
}

// signal sends s; a process that is gone already is left alone.
func (p *process) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
}

// stop ends the process with s and returns how it exited.
func (p *process) stop(t *testing.T, s syscall.Signal) error {
	t.Helper()
	p.signal(s)
	return p.wait(t)
}

// wait returns how the process exited, which was told to. One that does not end in time is killed with its workers, and
// the test fails.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		t.Errorf("%s has not ended in %s: killing it", p.name, stopLimit)
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	}
	return p.err
}

// errEnded says that a process ended before it was ready.
type errEnded struct {
	name, log string
	err       error
}

func (e *errEnded) Error() string {
	return fmt.Sprintf("%s ended before it was ready: %v\n%s", e.name, e.err, e.log)
}

// accepts waits until the process accepts connections at addr.
func (p *process) accepts(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return &errEnded{p.name, p.log.String(), p.err}
		case <-ctx.Done():
			return fmt.Errorf("%s does not accept connections at %s: %w\n%s", p.name, addr, err, p.log.String())
		case <-time.After(pollPause):
		}
	}
}

// freePort picks a port of 127.0.0.1 that nobody listens on. It is below the range from which the kernel takes local ports
// for outgoing connections, so that it stays free while the server that had it is restarted.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(20000)
		if l, err := net.Listen("tcp", loopback(port)); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatal("no free port from 10000 to 29999 on 127.0.0.1")
	return 0
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// folder makes a new folder with a short path, removed with the test.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "") //nolint:usetesting // a test's own folder has too long a name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
