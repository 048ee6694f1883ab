// Package child runs the processes of a measurement: each a child of the process
// that measures, which asks it by lines of JSON and ends it. What costs CPU is
// a process of its own, and none of them outlives the one that started it.
package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a child of this one: an origin, an intermediary or a client.
type Process struct {
	Pid int

	name   string
	stop   context.CancelFunc // SIGTERM, and SIGKILL to what is left after killAfter
	exited chan struct{}      // closed when it has ended
	err    error              // how it ended; valid once exited is closed

	// For processes that are told what to do.
	questions *json.Encoder
	answers   *json.Decoder

	release []*os.File
	stderr  tail
}

const killAfter = 5 * time.Second

// Command is what Start runs.
type Command struct {
	Name  string // for messages
	Path  string
	Args  []string
	Env   []string   // added to this process's
	Files []*os.File // descriptors 3 and up; closed here once started
	Told  bool       // it reads questions and writes answers; see AnswerLines
	CPUs  []int      // it may run on, by the kernel's numbers; nil: on all of them
}

// Start starts a child. It must be called from a goroutine that is locked to its
// thread for as long as the child is wanted: the child is killed when that thread
// ends, and begins in the network namespace and with the CPUs that the thread has.
func Start(ctx context.Context, c Command) (*Process, error) {
	ctx, stop := context.WithCancel(ctx)
	p := &Process{name: c.Name, stop: stop, exited: make(chan struct{})}
	cmd := exec.CommandContext(ctx, c.Path, c.Args...) //nolint:gosec // what is measured is the user's choice
	// warmpool takes settings from WARMPOOL_ variables; what is measured is what
	// its file says.
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WARMPOOL_") }), c.Env...)
	cmd.ExtraFiles = c.Files
	cmd.Stderr = &p.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	cmd.SysProcAttr = boundToParent()
	ends := slices.Clone(c.Files) // what only the child uses
	if c.Told {
		stdin, questions, err := os.Pipe()
		if err != nil {
			stop()
			return nil, err
		}
		answers, stdout, err := os.Pipe()
		if err != nil {
			stop()
			return nil, errors.Join(err, stdin.Close(), questions.Close())
		}
		cmd.Stdin, cmd.Stdout = stdin, stdout
		p.questions, p.answers = json.NewEncoder(questions), json.NewDecoder(answers)
		p.release = append(p.release, questions, answers)
		ends = append(ends, stdin, stdout)
	}
	err := onCPUs(c.CPUs, cmd.Start)
	closeAll(ends)
	if err != nil {
		stop()
		closeAll(p.release)
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	p.Pid = cmd.Process.Pid
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// closeAll lets go of files that were only passed on.
func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() //nolint:errcheck,gosec // nothing is left to do about it
	}
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Close ends the process and waits until it has ended.
func (p *Process) Close() {
	p.stop()
	<-p.exited
	closeAll(p.release)
}

// Failure says how the process ended, with the last it wrote to its standard
// error.
func (p *Process) Failure() error {
	how := "it ended by itself"
	if p.err != nil {
		how = p.err.Error()
	}
	said := p.stderr.String()
	if said == "" {
		said = "(nothing on its standard error)"
	}
	return fmt.Errorf("%s: %s\n%s", p.name, how, said)
}

// Ask puts a question to a process that is told what to do and waits for the
// answer. It fails when the process ends, when one of others ends, or with ctx;
// after a failure the process is of no more use.
func (p *Process) Ask(ctx context.Context, question, answer any, others ...*Process) error {
	if err := p.questions.Encode(question); err != nil {
		return p.Ended(ctx)
	}
	answered := make(chan error, 1)
	go func() { answered <- p.answers.Decode(answer) }()

	ended := make(chan *Process, len(others))
	asked, done := context.WithCancel(ctx)
	defer done()
	for _, o := range others {
		go func() {
			select {
			case <-o.exited:
				ended <- o
			case <-asked.Done():
			}
		}()
	}

	select {
	case err := <-answered:
		if err == nil {
			return nil
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: answer: %w", p.name, err)
		}
		return p.Ended(ctx)
	case o := <-ended:
		return o.Failure()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Ended waits for a process that no longer talks to end, and says how it did.
func (p *Process) Ended(ctx context.Context) error {
	select {
	case <-p.exited:
		return p.Failure()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tail keeps the last tailBytes bytes written to it. It may be read while it is written.
type tail struct {
	mu struct {
		sync.Mutex
		kept []byte
	}
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.kept = append(t.mu.kept, p...)
	if surplus := len(t.mu.kept) - tailBytes; surplus > 0 {
		t.mu.kept = t.mu.kept[surplus:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.mu.kept))
}
