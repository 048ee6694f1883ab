package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warmpool-dev/warmpool/pool"
)

// shortPackets lets windows count for something on loopback, where a packet takes 64 KiB otherwise.
func shortPackets(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint32(1500)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, lo); err != nil {
		t.Fatalf("the MTU of lo: %v", err)
	}
}

// windowed is an upstream whose server takes bodies, and holds back the answers for /held until it is told.
func windowed(t *testing.T, congestion string) (u *pool.Upstream, held chan struct{}) {
	t.Helper()
	shortPackets(t)
	held = make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/held" {
			held <- struct{}{} // it is here
			<-held
		}
	}))
	t.Cleanup(s.Close)
	p := pool.New(pool.Options{})
	t.Cleanup(func() { _ = p.Close(t.Context()) })
	policy := pool.DefaultPolicy("windowed", s.URL)
	policy.TCP.Congestion = congestion
	policy.Preconnect, policy.PeakMemory = 1, 0 // no connection but those that are asked for
	u, err := p.Add(policy)
	if err != nil {
		t.Fatal(err)
	}
	return u, held
}

// post sends so many bytes and names the connection that took them.
func post(t *testing.T, u *pool.Upstream, path string, bytes int) *pool.Receipt {
	t.Helper()
	res, err := u.Do(t.Context(), &pool.Request{Method: "POST", Path: path, Body: []byte(strings.Repeat("x", bytes)), Receipt: true})
	if err != nil {
		t.Fatal(err)
	}
	return res.Receipt
}

// window is a connection's, in segments: as the kernel shows it, and as something sent now would meet it.
func window(t *testing.T, u *pool.Upstream, id uint64) (shown, effective int64) {
	t.Helper()
	for _, c := range u.Connections() {
		if c.ID == id {
			return c.TCP.Window / int64(c.TCP.MSS), c.TCP.EffectiveWindow / int64(c.TCP.MSS)
		}
	}
	t.Fatalf("connection %d is gone", id)
	return 0, 0
}

// widened is how many bytes are sent to widen a window.
const widened = 4_000_000

func TestTheWindowIsForetoldThatTheKernelSendsWithAfterIdleness(t *testing.T) {
	inNamespace(t, map[string]string{"tcp_slow_start_after_idle": "1"}, func(t *testing.T) {
		u, _ := windowed(t, "reno")
		id := post(t, u, "/", widened).Connection
		before, _ := window(t, u, id)
		if before < 100 {
			t.Fatalf("after %d bytes the window is %d segments", widened, before)
		}
		time.Sleep(900 * time.Millisecond) // the kernel's clock is what idleness is counted by: four timeouts of 204 ms
		shown, foretold := window(t, u, id)
		if shown != before || foretold >= before/4 || foretold < 10 {
			t.Errorf("before it was idle the window was %d segments; %d are shown now, %d foretold", before, shown, foretold)
		}
		post(t, u, "/", 1)
		met, _ := window(t, u, id)
		if met != foretold && met != max(10, foretold/2) { // another timeout may have passed between the two
			t.Errorf("%d segments were foretold, the kernel has made it %d", foretold, met)
		}
		t.Logf("%d segments, after 0.9 s %d foretold, %d met", before, foretold, met)
	})
}

func TestAWindowThatTheSystemKeepsIsForetoldAsItIs(t *testing.T) {
	inNamespace(t, map[string]string{"tcp_slow_start_after_idle": "0"}, func(t *testing.T) {
		u, _ := windowed(t, "reno")
		id := post(t, u, "/", widened).Connection
		before, _ := window(t, u, id)
		time.Sleep(900 * time.Millisecond)
		_, foretold := window(t, u, id)
		post(t, u, "/", 1)
		if met, _ := window(t, u, id); foretold != before || met != before || before < 100 {
			t.Errorf("%d segments before, %d foretold, %d met", before, foretold, met)
		}
	})
}

// Two connections: the window of one was widened more, but longer ago. Which one is wider for a large request depends on
// what the system does to idle windows; the one used last is always the other.
func TestALargeRequestTakesTheConnectionWhoseWindowIsWiderNow(t *testing.T) {
	for name, c := range map[string]struct {
		setting string
		earlier bool // the one that was widened earlier is chosen
	}{"lowered": {"1", false}, "kept": {"0", true}} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t, map[string]string{"tcp_slow_start_after_idle": c.setting}, func(t *testing.T) {
				u, held := windowed(t, "reno")
				earlier := post(t, u, "/", widened).Connection
				time.Sleep(1500 * time.Millisecond) // seven timeouts
				over := make(chan uint64)
				go func() { over <- post(t, u, "/held", 1).Connection }()
				<-held
				later := post(t, u, "/", widened/20) // by the only other way: a new connection
				held <- struct{}{}
				if got := <-over; got != earlier || later.Connection == earlier {
					t.Fatalf("connection %d is to be held, %d is, and %d beside it", earlier, got, later.Connection)
				}
				large := post(t, u, "/", 1_000_000)
				if got := large.Connection; (got == earlier) != c.earlier {
					t.Errorf("connection %d was taken; %d was widened earlier, %d later", got, earlier, later.Connection)
				}
				if !large.Reused || large.Rounds < 1 {
					t.Errorf("the receipt says: reused %v, %d round trips of slow start spared", large.Reused, large.Rounds)
				}
				if later.Rounds >= 0 || u.Stats().RoundsSaved < uint64(large.Rounds) {
					t.Errorf("a new connection spared %d round trips; all together %d", later.Rounds, u.Stats().RoundsSaved)
				}
				if small := post(t, u, "/", 1); small.Connection != large.Connection {
					t.Errorf("a small request took connection %d, not the one used last, %d", small.Connection, large.Connection)
				}
			})
		})
	}
}
