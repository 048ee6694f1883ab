package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "warmpool-cmd-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "warmpool")
		args := append(append([]string{"build"}, raceFlags...), "-o", binary, ".")
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %s: %v\n%s", strings.Join(args, " "), err, out)
			return 1
		}
		return m.Run()
	}())
}

// stuck is how long a process may take for anything before the test fails.
const stuck = 30 * time.Second

// environment is the test's own without what configures a sidecar.
func environment(more ...string) []string {
	env := []string{"GORACE=atexit_sleep_ms=0"} // under the race detector each process would else take a second to exit
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WARMPOOL_") && !strings.HasPrefix(v, "GOMEMLIMIT=") {
			env = append(env, v)
		}
	}
	return append(env, more...)
}

// outcome is how a process ended.
type outcome struct {
	code           int
	stdout, stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("exit code %d\n--- stdout\n%s\n--- stderr\n%s", o.code, o.stdout, o.stderr)
}

// warmpool runs the binary to its end.
func warmpool(t *testing.T, args ...string) outcome {
	t.Helper()
	return warmpoolWith(t, nil, nil, args...)
}

func warmpoolWith(t *testing.T, stdin io.Reader, env []string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stuck)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = stdin, &stdout, &stderr, environment(env...)
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("warmpool %q did not end: %v\n%s", args, err, stderr.String())
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("warmpool %q: %v", args, exit)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// expect fails the test unless the process ended with code and its two outputs
// together hold every text.
func (o outcome) expect(t *testing.T, code exitCode, texts ...string) {
	t.Helper()
	if o.code != int(code) {
		t.Errorf("want exit code %d, got %s", code, o)
		return
	}
	for _, text := range texts {
		if !strings.Contains(o.stdout+o.stderr, text) {
			t.Errorf("want %q in the output, got %s", text, o)
		}
	}
}

// process is a binary that runs beside the test.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string   // of the output that is followed
	ended chan struct{} // closed when it has exited

	mu struct {
		sync.Mutex
		output strings.Builder // both outputs
	}
}

// start runs the binary and follows what it writes. It is killed when the test
// ends before it does.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), lines: make(chan string, 1000), ended: make(chan struct{})}
	p.cmd.Env = environment(env...)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	go func() {
		defer close(p.ended)
		defer func() { _ = read.Close() }()
		defer close(p.lines)
		for scanner := bufio.NewScanner(read); scanner.Scan(); {
			p.mu.Lock()
			p.mu.output.WriteString(scanner.Text() + "\n")
			p.mu.Unlock()
			p.lines <- scanner.Text()
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		for range p.lines { // what nobody followed
		}
		<-p.ended
	})
	return p
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.output.String()
}

// await returns the next line that holds text.
func (p *process) await(text string) string {
	p.t.Helper()
	deadline := time.NewTimer(stuck)
	defer deadline.Stop()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the process ended before it wrote %q:\n%s", text, p.output())
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline.C:
			p.t.Fatalf("the process did not write %q:\n%s", text, p.output())
		}
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns how the process ended.
func (p *process) wait() outcome {
	p.t.Helper()
	deadline := time.NewTimer(stuck)
	defer deadline.Stop()
	for {
		select {
		case _, ok := <-p.lines:
			if !ok {
				<-p.ended
				return outcome{p.cmd.ProcessState.ExitCode(), p.output(), ""}
			}
		case <-deadline.C:
			p.t.Fatalf("the process did not end:\n%s", p.output())
		}
	}
}

// file writes a file for the test and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// socketPath is a path short enough for a Unix socket, whatever TMPDIR is.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "wp") //nolint:usetesting // t.TempDir lies under TMPDIR and carries the test's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// sidecarProcess is a sidecar with one upstream, ready to be asked.
type sidecarProcess struct {
	*process
	target string
}

// startSidecar serves the upstream "origin" at url. more is YAML for the
// file's end: further settings of that upstream, indented by four.
func startSidecar(t *testing.T, url, head, more string) *sidecarProcess {
	t.Helper()
	target := "unix://" + socketPath(t)
	config := fmt.Sprintf("listen: [%q]\ncontrol: [\"off\"]\nadmin: \"off\"\n%s\nupstreams:\n  - name: origin\n    url: %s\n%s\n",
		target, head, url, more)
	p := start(t, nil, "serve", "-c", file(t, "warmpool.yaml", config), "--log.format", "text", "--log.level", "debug")
	warmpool(t, "wait", "-s", target, "--timeout", "20s").expect(t, exitOK)
	return &sidecarProcess{p, target}
}

// send runs `warmpool send` against the sidecar.
func (s *sidecarProcess) send(args ...string) outcome {
	s.t.Helper()
	return warmpool(s.t, append([]string{"send", "-s", s.target}, args...)...)
}

func TestWarmpoolAlonePrintsHelp(t *testing.T) {
	o := warmpool(t)
	o.expect(t, exitOK, "serve", "send", "check", "wait", "health", "demo", "version", "completion", "Exit codes")
	if o.stderr != "" {
		t.Errorf("help must go to standard output alone, got %s", o)
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for _, name := range []string{
		"serve", "send", "check", "wait", "health", "demo", "version", "upstreams", "connections", "stats", "events",
		"warm", "pause", "resume", "reconnect", "drain", "reload", "config",
	} {
		o := warmpool(t, name, "--help")
		o.expect(t, exitOK, "Usage:", "Examples:", "warmpool "+name)
		for line := range strings.Lines(o.stdout) {
			if len(line) > 120 {
				t.Errorf("%s --help has a line of %d columns: %s", name, len(line), line)
			}
		}
		if reaches := name != "serve" && name != "check" && name != "demo" && name != "version"; reaches != strings.Contains(o.stdout, "--token-file") {
			t.Errorf("%s --help: flags to reach a sidecar: %t, want %t", name, !reaches, reaches)
		}
	}
}

func TestAWrongCommandLineEndsWithTwoAndSaysWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"lend"}, `unknown command "lend"`},
		{[]string{"send", "origin"}, "Usage: warmpool send UPSTREAM PATH"},
		{[]string{"send", "origin", "/", "--colour"}, "unknown flag: --colour"},
		{[]string{"send", "origin", "/", "-H", "no colon"}, "'Name: value'"},
		{[]string{"send", "origin", "/", "-d", "a", "-d", "b"}, "must be given once"},
		{[]string{"send", "origin", "/", "-d", "@/does/not/exist"}, "no such file"},
		{[]string{"send", "origin", "/", "--timeout", "5"}, "missing unit"},
		{[]string{"send", "origin", "/", "--timeout", "-5s"}, "must not be negative"},
		{[]string{"send", "origin", "/\xff"}, "percent-encode"},
		{[]string{"send", "origin", "/", "-s", "/run/warmpool.sock"}, "must be unix:///absolute/path or tcp://host:port"},
		{[]string{"send", "origin", "/", "-s", "unix://relative"}, "must be unix:///absolute/path"},
		{[]string{"wait", "--timeout", "-1s"}, "must not be negative"},
		{[]string{"health", "--timeout", "0s"}, "must be positive"},
		{[]string{"health", "--service", "warmth"}, "must be readiness or liveness"},
		{[]string{"wait", "now"}, "unknown command"},
		{[]string{"check"}, "accepts 1 arg(s), received 0"},
		{[]string{"demo", "--requests", "0"}, "must be 1 to"},
		{[]string{"version", "-o", "xml"}, "must be text or json"},
		{[]string{"serve", "--upstreams", "x"}, "unknown flag"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			o := warmpool(t, c.args...)
			o.expect(t, exitUsage, c.want, "--help")
			if o.stdout != "" {
				t.Errorf("want nothing on standard output, got %s", o)
			}
		})
	}
}

func TestVersionIsPrintedForPeopleAndPrograms(t *testing.T) {
	warmpool(t, "version").expect(t, exitOK, "warmpool ", "go1.")
	warmpool(t, "version", "-o", "json").expect(t, exitOK, `"version":`, `"go": "go1.`, `"platform":`)
	warmpool(t, "--version").expect(t, exitOK, "warmpool ")
}

func TestCompletionIsOffered(t *testing.T) {
	warmpool(t, "completion", "bash").expect(t, exitOK, "__start_warmpool")
}
