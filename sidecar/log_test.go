package sidecar

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

func TestAnUpstreamThatIsDownGetsOneLineAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &text{}
		d := newDialLog(slog.New(slog.NewTextHandler(out, nil)))
		lines := func() int { synctest.Wait(); return strings.Count(out.String(), "\n") }
		fail := func(upstream string, n int) {
			d.failed(upstream, pool.ReasonDialRefused, netip.MustParseAddrPort("10.0.0.1:80"), fmt.Errorf("refused %d", n))
		}
		for n := range 100 {
			fail("a", n)
		}
		if lines() != 1 || !strings.Contains(out.String(), `reason=DIAL_REFUSED upstream=a endpoint=10.0.0.1:80 error="refused 0"`) {
			t.Errorf("at once:\n%s", out)
		}
		fail("b", 0)
		if lines() != 2 {
			t.Errorf("another upstream has its own line:\n%s", out)
		}
		time.Sleep(dialLogPause)
		if lines() != 3 || !strings.Contains(out.String(), `error="refused 99" failures=99 within=10s`) {
			t.Errorf("after a pause:\n%s", out)
		}
		time.Sleep(dialLogPause)
		if lines() != 3 {
			t.Errorf("a pause without failures says nothing:\n%s", out)
		}
		fail("a", 100)
		if lines() != 4 || !strings.Contains(out.String(), "refused 100") {
			t.Errorf("after a quiet pause the first failure is logged at once:\n%s", out)
		}
		fail("a", 101)
		d.stop()
		d.failed("c", pool.ReasonDNSFailed, netip.AddrPort{}, errors.New("late"))
		time.Sleep(time.Hour)
		if lines() != 4 {
			t.Errorf("after stop:\n%s", out)
		}
	})
}

// An operator who reads the log the next morning sees when an upstream went away and
// when it was there again, and the last line says how things are.
func TestTheLogSaysWhenAnUpstreamTakesConnectionsAgain(t *testing.T) {
	one, two := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:80")
	refused := errors.New("refused")
	for name, script := range map[string]struct {
		play func(d *dialLog)
		want []string
	}{
		"it comes back": {func(d *dialLog) {
			d.failed("a", pool.ReasonDialRefused, one, refused)
			time.Sleep(12 * time.Second)
			d.failed("a", pool.ReasonDialRefused, one, refused) // its own line: the pause had none
			time.Sleep(3 * time.Second)
			d.opened("a", one)
			d.opened("a", one)
		}, []string{`"no connection"`, `"no connection"`, `"connections again" upstream=a failures=2 first=2000-01-01T00:00:00.000Z last=2000-01-01T00:00:12.000Z`}},
		"it comes back within the pause": {func(d *dialLog) {
			for range 5 {
				d.failed("a", pool.ReasonDialRefused, one, refused)
				time.Sleep(time.Second)
			}
			d.opened("a", one)
			time.Sleep(time.Hour)
		}, []string{`"no connection"`, `"connections again" upstream=a failures=5 first=2000-01-01T00:00:00.000Z last=2000-01-01T00:00:04.000Z`}},
		"one address of two is down": {func(d *dialLog) {
			d.failed("a", pool.ReasonDialRefused, one, refused)
			d.opened("a", two)
			d.opened("b", one)
			time.Sleep(time.Minute)
			d.opened("a", one)
		}, []string{`"no connection"`, `"connections again" upstream=a failures=1 first=2000-01-01T00:00:00.000Z last=2000-01-01T00:00:00.000Z`}},
		"the address that is down is given up": {func(d *dialLog) {
			d.failed("a", pool.ReasonDialRefused, one, refused)
			d.opened("a", two)
			time.Sleep(time.Second)
			d.gone("a", []netip.AddrPort{one})
		}, []string{`"no connection"`, `"connections again" upstream=a failures=1 first=2000-01-01T00:00:00.000Z`}},
		"all addresses are given up": {func(d *dialLog) {
			d.failed("a", pool.ReasonDialRefused, one, refused)
			d.gone("a", []netip.AddrPort{one})
			time.Sleep(time.Minute)
			d.opened("a", two)
		}, []string{`"no connection"`, `"connections again"`}},
		"its name is found again": {func(d *dialLog) {
			d.failed("a", pool.ReasonDNSFailed, netip.AddrPort{}, errors.New("no such host"))
			time.Sleep(time.Second)
			d.opened("a", one)
		}, []string{`"no connection"`, `"connections again" upstream=a failures=1 first=2000-01-01T00:00:00.000Z`}},
		"it comes and goes": {func(d *dialLog) {
			for range 95 { // every 100 ms, to the end of the first pause
				d.failed("a", pool.ReasonDialRefused, one, refused)
				time.Sleep(50 * time.Millisecond)
				d.opened("a", one)
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(dialLogPause)
		}, []string{`"no connection"`, `"connections again" upstream=a failures=1 first=2000-01-01T00:00:00.000Z`, `"no connection, again"`, `"connections again" upstream=a failures=94 first=2000-01-01T00:00:00.100Z last=2000-01-01T00:00:09.400Z`}},
		"it is deleted, and another takes its name": {func(d *dialLog) {
			d.failed("a", pool.ReasonDialRefused, one, refused)
			d.forget("a")
			d.opened("a", one)
			time.Sleep(time.Hour)
			d.failed("a", pool.ReasonDialRefused, one, refused)
		}, []string{`"no connection"`, `"no connection"`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &text{}
				d := newDialLog(slog.New(slog.NewTextHandler(out, nil)))
				script.play(d)
				synctest.Wait()
				d.stop()
				lines := strings.Split(strings.TrimSpace(out.String()), "\n")
				if len(lines) != len(script.want) {
					t.Fatalf("%d lines, want %d:\n%s", len(lines), len(script.want), out)
				}
				for i, want := range script.want {
					if !strings.Contains(lines[i], "msg="+want) {
						t.Errorf("line %d is %s, want %s", i, lines[i], want)
					}
				}
			})
		})
	}
}

// A log that nobody reads holds up who writes into it, and nobody else.
func TestALogThatHangsHoldsUpNoOtherDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(hanging)
		d := newDialLog(slog.New(slog.NewTextHandler(stuck, nil)))
		to := netip.MustParseAddrPort("10.0.0.1:80")
		go d.failed("a", pool.ReasonDialRefused, to, errors.New("refused"))
		synctest.Wait() // it hangs now
		d.failed("b", pool.ReasonDialRefused, to, errors.New("refused"))
		d.opened("b", to)
		d.opened("a", to)
		close(stuck)
		synctest.Wait()
		if d.pending() {
			t.Error("lines were left behind")
		}
		d.stop()
	})
}

// hanging is a log that takes nothing until it is closed.
type hanging chan struct{}

func (h hanging) Write(p []byte) (int, error) { <-h; return len(p), nil }

func TestTheLogSaysThatRequestsFailAndWhenTheyDoNotAnyMore(t *testing.T) {
	out := &text{}
	l := newFailureLog(slog.New(slog.NewTextHandler(out, nil)))
	var c pool.Counters
	f, now := &failing{}, time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	seconds := func(n int, each func()) {
		for range n {
			each()
			now = now.Add(time.Second)
			l.look("a", f, &c, now)
		}
	}
	expect := func(when string, want ...string) {
		t.Helper()
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		out.b.Reset()
		if len(want) == 0 {
			want = []string{""}
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d lines, want %d:\n%s", when, len(got), len(want), strings.Join(got, "\n"))
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%s: %s, want %s", when, got[i], want[i])
			}
		}
	}
	well := func() { c.Responses += 100; c.Failures[pool.ReasonCancelled]++ }
	badly := func() {
		c.Responses++
		c.Failures[pool.ReasonWaitTimeout] += 2
		c.Failures[pool.ReasonResponseTimeout] += 7
	}
	seconds(60, well)
	expect("all is well")
	seconds(1, badly)
	expect("the first second", `msg="requests fail" upstream=a failures=9 reasons="RESPONSE_TIMEOUT 7, WAIT_TIMEOUT 2" responses=1 within=1s`)
	seconds(10, badly)
	expect("ten more", `msg="requests fail, still" upstream=a failures=90 reasons="RESPONSE_TIMEOUT 70, WAIT_TIMEOUT 20" responses=10 within=10s`)
	seconds(3, badly)
	seconds(6, well)
	expect("within the pause")
	seconds(1, well)
	expect("after it", "failures=27")
	seconds(9, func() {})
	seconds(1, well)
	expect("a pause without failures", `level=INFO msg="requests succeed again" upstream=a failures=126 first=2026-11-30T03:01:01Z last=2026-11-30T03:01:14Z`)
	seconds(1, badly)
	expect("once more", "failures=9")
	seconds(3600, func() {})
	expect("nobody asks")
	seconds(10, well)
	expect("somebody does", `"requests succeed again" upstream=a failures=9`)
}

// text is a log that can be read while it is written.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}
