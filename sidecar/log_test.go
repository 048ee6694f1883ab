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
