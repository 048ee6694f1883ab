package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tableRow is one line of the demo's table.
var tableRow = regexp.MustCompile(`^  (new connection|sidecar)[^\d]* +(\d+) +([\d.]+) +([\d.]+) +(\d+) +(\d+)$`)

// tableTitle is the line above two rows.
var tableTitle = regexp.MustCompile(`^(?:plain HTTP|TLS), (\d+) callers?\b`)

// summaryLine is one of those below the table.
var summaryLine = regexp.MustCompile(`(?m)^  (?:plain HTTP|TLS), .* +\d+\.\d$`)

func TestDemoPrintsATableWhoseCountsAreRight(t *testing.T) {
	const requests = 200
	o := warmpool(t, "demo", "--once", "--requests", strconv.Itoa(requests))
	o.expect(t, exitOK, "plain HTTP", "TLS", "GET /status/200", "go-httpbin v2")
	if strings.Contains(o.stdout+o.stderr, "\x1b") {
		t.Error("escape sequences were written to what is no terminal")
	}
	var rows [][]string
	callers := 0
	for line := range strings.Lines(o.stdout) {
		line = strings.TrimRight(line, "\n")
		if len(line) > 80 {
			t.Errorf("a line is wider than 80 columns: %q", line)
		}
		if found := tableTitle.FindStringSubmatch(line); found != nil {
			callers, _ = strconv.Atoi(found[1])
		}
		if found := tableRow.FindStringSubmatch(line); found != nil {
			rows = append(rows, append(found[1:], strconv.Itoa(callers)))
		}
	}
	if found := summaryLine.FindAllString(o.stdout, -1); len(found) != 4 {
		t.Errorf("want 4 lines below the table, got %q", found)
	}
	if len(rows) != 8 {
		t.Fatalf("want 8 rows, got %d: %s", len(rows), o)
	}
	for i, r := range rows {
		perSecond, _ := strconv.ParseFloat(r[1], 64)
		p50, _ := strconv.ParseFloat(r[2], 64)
		p99, _ := strconv.ParseFloat(r[3], 64)
		opened, _ := strconv.Atoi(r[4])
		saved, _ := strconv.Atoi(r[5])
		callers, _ := strconv.Atoi(r[6])
		most, least := requests, requests // connections of a row without the sidecar
		if r[0] == "sidecar" {
			most, least = min(callers, parallelCallers), 1
		}
		if opened > most || opened < least {
			t.Errorf("row %d: %d connections were opened, want %d to %d: %q", i, opened, least, most, r)
		}
		if r[0] == "sidecar" {
			// A connection that was opened and not needed any more saved nothing, nor did one that its request, or another
			// caller's in the queue behind it, had to wait for.
			if saved < requests-opened-callers || saved >= requests {
				t.Errorf("row %d: %d handshakes saved by %d connections and %d requests: %q", i, saved, opened, requests, r)
			}
		} else if saved != 0 {
			t.Errorf("row %d: new connections save no handshake, got %d", i, saved)
		}
		if perSecond <= 0 || p50 <= 0 || p99 < p50 {
			t.Errorf("row %d: rate or latencies make no sense: %q", i, r)
		}
	}
}

func TestDemoStaysUpAndTheCommandsItPrintsWork(t *testing.T) {
	p := start(t, []string{"TMPDIR=/tmp"}, "demo", "--requests", "10")
	first := p.await(" send httpbin ")
	second := p.await(" send httpbin-tls ")
	operator := []string{p.await(" stats "), p.await(" connections "), p.await(" upstreams ")}
	p.await("grpcurl -plaintext -unix ")
	configuration := p.await("warmpool.yaml")
	p.await("Ctrl-C")

	for _, line := range []string{first, second} {
		before, args, _ := strings.Cut(line, " send ")
		if strings.TrimSpace(before) != binary {
			t.Errorf("want the command to begin with %s, got %q", binary, line)
		}
		words := strings.Fields(strings.ReplaceAll(args, "'a body'", "a-body"))
		warmpool(t, append([]string{"send"}, words...)...).expect(t, exitOK, `"headers"`)
	}
	for _, line := range operator {
		args, ours := strings.CutPrefix(strings.TrimSpace(line), binary)
		if !ours {
			t.Errorf("want the command to begin with %s, got %q", binary, line)
		}
		warmpool(t, strings.Fields(args)...).expect(t, exitOK, "httpbin")
	}
	words := strings.Fields(configuration)
	path := words[len(words)-1]
	warmpool(t, "check", path).expect(t, exitOK, "httpbin-tls-single")

	p.signal(syscall.SIGINT)
	p.wait().expect(t, exitOK)
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Errorf("the demo's folder %s was left behind", filepath.Dir(path))
	}
}

func TestDemoInterruptedLeavesNothingBehind(t *testing.T) {
	dir := filepath.Dir(socketPath(t))
	p := start(t, []string{"TMPDIR=" + dir}, "demo", "--requests", strconv.Itoa(demoMaxRequests))
	p.await("plain HTTP,")
	p.signal(syscall.SIGINT)
	p.wait().expect(t, exitFailed, "interrupted")
	empty(t, dir)
}

func TestDemoWhoseTerminalIsClosedLeavesNothingBehind(t *testing.T) {
	dir := filepath.Dir(socketPath(t))
	p := start(t, []string{"TMPDIR=" + dir}, "demo", "--requests", "1")
	p.await("Ctrl-C")
	p.signal(syscall.SIGHUP)
	p.wait().expect(t, exitOK)
	empty(t, dir)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("want an empty folder, got %v, %v", left, err)
	}
}

func TestALoadEndsWithItsFirstFailure(t *testing.T) {
	failure := errors.New("refused")
	calls := 0
	l := &load{requests: 1000, callers: 1, send: func(context.Context) error {
		if calls++; calls == 10 {
			return failure
		}
		return nil
	}}
	if _, err := l.run(t.Context()); !errors.Is(err, failure) || calls != 10 {
		t.Errorf("want the failure of call 10 and no further call, got %v after %d", err, calls)
	}
}

func TestQuantilesAreThoseOfTheSortedLatencies(t *testing.T) {
	var measured timing
	for i := range 100 {
		measured.latencies = append(measured.latencies, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := measured.quantile(q); got != want {
			t.Errorf("quantile %v: want %d, got %d", q, want, got)
		}
	}
	one := timing{latencies: []time.Duration{7}}
	if one.quantile(0.5) != 7 || one.quantile(0.99) != 7 {
		t.Error("of one latency each quantile is that latency")
	}
}

func TestLatenciesFitTheirColumn(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500: "0.002", 51 * time.Microsecond: "0.051", time.Second - time.Microsecond: "999.999", time.Second: "1000", 100 * time.Second: "100000",
	} {
		if got := latency(d); got != want {
			t.Errorf("%s: want %s, got %s", d, want, got)
		}
	}
}

func TestTheProgressBarIsFullAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		done, total int
		want        string
	}{
		{0, 10, "[..............................]   0 %"},
		{5, 10, "[###############...............]  50 %"},
		{10, 10, "[##############################] 100 %"},
	} {
		if got := progressLine("x", c.done, c.total); !strings.Contains(got, c.want) {
			t.Errorf("want %q, got %q", c.want, got)
		}
	}
}
