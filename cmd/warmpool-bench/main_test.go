package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/cmd/internal/command"
)

// asCommand is the variable that makes the test binary be the command, so that
// the whole of it is tested as it is built, with the race detector or without.
const asCommand = "RUN_AS_BENCH"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// runBench runs the command and returns what it printed and its exit code. It
// fails the test when the command leaves a file behind.
func runBench(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Short, for the sockets in it: t.TempDir's name holds the test's.
	temporary, err := os.MkdirTemp("", "") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1", "TMPDIR="+temporary)
	defer func() {
		if err := os.Remove(temporary); err != nil {
			t.Errorf("something was left behind: %v", err)
		}
	}()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

func TestQuickRunReportsEveryFigureOfEveryRow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	stdout, stderr, code := runBench(t, "-quick", "-json", file)
	if code != command.ExitOK {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if e := report.Environment; e.Kernel == "" || e.CPUs < 1 || e.Placement == "" || !strings.HasPrefix(e.Go, "go") || !strings.HasPrefix(e.GRPC, "v1.") || e.Warmpool == "" {
		t.Errorf("environment is incomplete: %+v", e)
	}
	if !strings.HasPrefix(stdout, report.Environment.String()+"\n") {
		t.Errorf("output does not begin with the environment:\n%s", stdout)
	}
	all := everything()
	if len(report.Groups) != len(all) {
		t.Fatalf("%d groups, want %d", len(report.Groups), len(all))
	}
	for i, g := range report.Groups {
		if want := all[i].quickly(); g.Load != want || g.Rounds != quickRounds || len(g.Rows) != len(all[i].Scenarios) {
			t.Errorf("group %d is %+v with %d rounds and %d rows, want %+v, %d, %d",
				i, g.Load, g.Rounds, len(g.Rows), want, quickRounds, len(all[i].Scenarios))
		}
		for _, row := range g.Rows {
			t.Run(row.ID(), func(t *testing.T) { checkRow(t, row, report.Environment.HAProxy != "") })
			// Each row stands in the table of ratios and in that of figures.
			if n := len(regexp.MustCompile(`(?m)^  `+regexp.QuoteMeta(row.Name)+` {2,}\S`).FindAllString(stdout, -1)); n < 2 {
				t.Errorf("row %q stands %d times in the output", row.Name, n)
			}
		}
	}
}

// checkRow asserts that all is there and above zero, never how fast anything is.
func checkRow(t *testing.T, row Row, haproxy bool) {
	t.Helper()
	if row.Missing != "" {
		if haproxy || row.Peer != HAProxy {
			t.Errorf("not measured: %s", row.Missing)
		}
		return
	}
	if row.Errors != 0 || row.FirstError != "" {
		t.Errorf("%d errors, the first: %s", row.Errors, row.FirstError)
	}
	if len(row.Rounds) != quickRounds {
		t.Errorf("%d rounds, want %d", len(row.Rounds), quickRounds)
	}
	for _, m := range append(slices.Clone(row.Rounds), row.Median) {
		for _, f := range figures {
			v := *f.of(&m)
			switch {
			case f.mayBeZero:
				if v < 0 {
					t.Errorf("%s is %v, must not be negative", f.name, v)
				}
			case f.ofPeer && row.Peer == Direct:
				if v != 0 {
					t.Errorf("%s is %v, must be 0: there is no intermediary", f.name, v)
				}
			case v <= 0:
				t.Errorf("%s is %v, must be above 0", f.name, v)
			}
		}
		if m.P50 > m.P99 {
			t.Errorf("p50 %v is above p99 %v", m.P50, m.P99)
		}
	}
	if row.Limited {
		if r := row.Ratios.P99; r.Min <= 0 || r.Min > r.Median || r.Median > r.Max || row.Greedy > 0 && row.Median.Greedy <= 0 {
			t.Errorf("ratio of p99 is %+v, the greedy caller had %v requests/s", r, row.Median.Greedy)
		}
		return
	}
	if !haproxy {
		return
	}
	ratios := map[string]Ratio{"total CPU": row.Ratios.TotalCPU, "throughput": row.Ratios.Throughput}
	if row.Peer != Direct {
		ratios["CPU"] = row.Ratios.PeerCPU
	} else if !row.Ratios.PeerCPU.IsZero() {
		t.Errorf("ratio of CPU is %v, but there is no intermediary", row.Ratios.PeerCPU)
	}
	for name, r := range ratios {
		if r.Min <= 0 || r.Min > r.Median || r.Median > r.Max {
			t.Errorf("ratio of %s is %+v, must be 0 < min <= median <= max", name, r)
		}
	}
	if one := (Ratio{Median: 1, Min: 1, Max: 1}); row.Name == rowHAProxy && (row.Ratios.PeerCPU != one || row.Ratios.Throughput != one) {
		t.Errorf("the row that ratios are taken to has ratios %+v", row.Ratios)
	}
}

func TestProfilesOfTheSidecarAreWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "profiles")
	stdout, stderr, code := runBench(t, "-quick", "-profile", dir, "-run", "Send/in-flight=64/body=128$")
	if code != command.ExitOK {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	for round := range quickRounds {
		name := filepath.Join(dir, fmt.Sprintf("warmpool-Send-in-flight64-body128-%d.pprof", round+1))
		profile, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if gzip := []byte{0x1f, 0x8b}; !bytes.HasPrefix(profile, gzip) {
			t.Errorf("%s is no finished profile: %d bytes", name, len(profile))
		}
	}
}

func TestASidecarThatDoesNotStartFailsTheRunWithWhatItSaid(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// This binary knows no word "serve" and exits with bad usage.
	_, stderr, code := runBench(t, "-quick", "-run", "Send/in-flight=1/", "-warmpool", self)
	if code != command.ExitFailure {
		t.Errorf("exit code %d, want %d", code, command.ExitFailure)
	}
	for _, want := range []string{"warmpool: exit status 2", `unexpected argument "serve"`} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error lacks %q:\n%s", want, stderr)
		}
	}
}

func TestAMissingHAProxyIsSaidInItsRowsAndFailsNothing(t *testing.T) {
	g := GroupReport{Load: Load{InFlight: 64, Body: 128}, Base: rowHAProxy}
	for _, s := range ways {
		row := Row{Scenario: s, Rounds: []Measurement{{Throughput: 1, PeerCPU: 2, ClientCPU: 3}}}
		if s.Peer == HAProxy {
			_, err := (&bench{}).startHAProxy(t.Context(), t.TempDir(), "127.0.0.1:1")
			row = Row{Scenario: s, Missing: err.Error()}
		}
		g.Rows = append(g.Rows, row)
	}
	g.conclude()
	r := Report{Groups: []GroupReport{g}}
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	if r.errors() != 0 || !strings.Contains(b.String(), "net/http via HAProxy           not installed: haproxy; install") {
		t.Errorf("%d errors, output:\n%s", r.errors(), b.String())
	}
	if row := g.find(func(s Scenario) bool { return s.Peer == Warmpool }); row.Ratios != (Ratios{}) {
		t.Errorf("ratios without HAProxy: %+v", row.Ratios)
	}
}

func TestBadUsageExitsWithTwoAndSaysWhatIsAllowed(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"too few rounds":     {[]string{"-rounds", "4"}, "-rounds is 4, must be at least 5"},
		"no client procs":    {[]string{"-client-procs", "0"}, "-client-procs is 0, must be at least 1"},
		"unknown flag":       {[]string{"-fast"}, "-fast"},
		"an argument":        {[]string{"now"}, `unexpected argument "now"`},
		"a bad expression":   {[]string{"-run", "("}, "-run"},
		"no row matches":     {[]string{"-run", "^nothing$"}, "matches no row"},
		"no such binary":     {[]string{"-warmpool", "/nonexistent"}, "-warmpool"},
		"no such folder":     {[]string{"-json", "/nonexistent/report.json", "-warmpool", "/bin/sh"}, "-json"},
		"unknown client":     {[]string{"client", "-kind", "telnet"}, `"telnet", must be one of`},
		"client without all": {[]string{"client"}, "must be one of"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(c.args, strings.NewReader(""), io.Discard, io.Discard)
			var said strings.Builder
			if code := command.ExitCode("warmpool-bench", err, &said); code != command.ExitUsage || !strings.Contains(said.String(), c.want) {
				t.Errorf("exit code %d, %q; want %d and %q", code, said.String(), command.ExitUsage, c.want)
			}
		})
	}
}

func TestHelpIsPrintedAndSucceeds(t *testing.T) {
	var stdout strings.Builder
	err := run([]string{"-help"}, strings.NewReader(""), &stdout, io.Discard)
	if code := command.ExitCode("warmpool-bench", err, io.Discard); code != command.ExitOK || !strings.Contains(stdout.String(), "-quick") {
		t.Errorf("exit code %d:\n%s", code, stdout.String())
	}
}

func TestAWrongAnswerIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		answer exchange
		want   string
	}{
		"status": {func(context.Context) (int, int, error) { return 502, 128, nil }, "status 502 with 128 bytes, must be 200 with 128"},
		"length": {func(context.Context) (int, int, error) { return 200, 127, nil }, "status 200 with 127 bytes, must be 200 with 128"},
		"none":   {func(context.Context) (int, int, error) { return 0, 0, errors.New("refused") }, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := loader{exchange: c.answer, inFlight: 3, length: 128}.run(10)
			if err != nil {
				t.Fatal(err)
			}
			if result.Errors != 10 || !strings.Contains(result.FirstError, c.want) {
				t.Errorf("%d errors, the first %q; want 10 and %q", result.Errors, result.FirstError, c.want)
			}
		})
	}
}

func TestALoadIsAskedExactly(t *testing.T) {
	asked := make(chan struct{}, 1000)
	l := loader{inFlight: 8, length: 5, exchange: func(context.Context) (int, int, error) {
		asked <- struct{}{}
		return 200, 5, nil
	}}
	result, err := l.run(1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) != 1000 || result.Errors != 0 || result.P50 <= 0 || result.P99 < result.P50 || result.Elapsed <= 0 {
		t.Errorf("asked %d times, want 1000; result %+v", len(asked), result)
	}
}
