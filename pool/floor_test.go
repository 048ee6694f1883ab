package pool_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// watchedFloor holds an upstream to its warm floor whenever a connection opens or
// closes: from when it was first reached, but for the time in which nobody could
// know better. That ends when the server is known and the floor, broken by what
// made it known, stands again.
type watchedFloor struct {
	t     *testing.T
	floor int
	known func(pool.Stats) bool // enough of what the server does

	mu       sync.Mutex
	upstream *pool.Upstream // nil: not watched
	holds    bool
	exempt   int // events below the floor, after it was first reached and before it has to hold
	reached  bool
	opened   []time.Time // while it has to hold
}

func (w *watchedFloor) watch(u *pool.Upstream) {
	w.mu.Lock()
	w.upstream = u
	w.mu.Unlock()
	w.event()
}

// event is told of whatever opens or closes.
func (w *watchedFloor) event() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.upstream == nil {
		return
	}
	s := w.upstream.Stats()
	stands := s.Idle+s.Active >= w.floor
	switch {
	case w.holds && !stands:
		w.t.Errorf("%d connections are established, the floor is %d; %d were closed by the server idle, of limits %v are known",
			s.Idle+s.Active, w.floor, s.Closed[pool.ClosePeerClosedIdle], s.IdleLimits)
	case w.reached && !stands:
		w.exempt++
	case stands:
		w.reached = true
		w.holds = w.holds || w.known(s)
	}
}

func (w *watchedFloor) observer() pool.Observer {
	return pool.Observer{
		ConnectionOpened: func(pool.ConnectionInfo) {
			w.mu.Lock()
			if w.holds {
				w.opened = append(w.opened, time.Now())
			}
			w.mu.Unlock()
			w.event()
		},
		ConnectionClosed: func(pool.ConnectionInfo, pool.CloseReason) { w.event() },
	}
}

// together is the most connections that opened within a span of time.
func (w *watchedFloor) together(span time.Duration) int {
	most, first := 0, 0
	for i, at := range w.opened {
		for at.Sub(w.opened[first]) > span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// tired closes a connection that has not been used for as long as limit says, in
// the way that end does it.
func tired(limit func() time.Duration, end func(*peer)) func(*peer) {
	return func(p *peer) {
		defer p.Close()
		after := time.AfterFunc(limit(), func() { end(p) })
		defer after.Stop()
		_, _ = bufio.NewReader(p).ReadByte() // nothing comes but the end
	}
}

func closes(p *peer) { _ = p.Close() }

func refuses408(p *peer) {
	_, _ = p.Write([]byte(timeout408))
	_ = p.Close()
}

// TestTheWarmFloorStandsAtEveryMomentOfAnIdleHour: whatever a server does to idle
// connections, none of the floor is missing when something opens or closes. What
// is exempt is said with each server: what it does must be seen a few times first.
func TestTheWarmFloorStandsAtEveryMomentOfAnIdleHour(t *testing.T) {
	atOnce := func(pool.Stats) bool { return true }
	learned := func(s pool.Stats) bool { return len(s.IdleLimits) > 0 }
	always := func(d time.Duration) func() time.Duration { return func() time.Duration { return d } }
	var chance sync.Mutex
	random := rand.New(rand.NewPCG(1, 5))
	between := func(least, most time.Duration) func() time.Duration {
		return func() time.Duration {
			chance.Lock()
			defer chance.Unlock()
			return least + time.Duration(random.Int64N(int64(most-least)))
		}
	}
	for _, server := range []struct {
		name      string
		serve     func(*peer)
		policy    func(*pool.Policy)
		known     func(pool.Stats) bool
		handshake int // in the hour, for each connection of the floor, at most
		together  int // connections made within 100 ms, at most
	}{
		{"that never closes", tired(always(24*time.Hour), closes), nil, atOnce, 80, 8},
		{"that closes after 60 s", tired(always(time.Minute), closes), nil, atOnce, 80, 8},
		// Three closes, which is three rounds where all that were dialed together are closed together.
		{"that closes after 5 s", tired(always(5*time.Second), closes), nil, learned, 1000, 16},
		// Those that are of the age which the third close tells go together.
		{"that closes after 60 s, before max_idle_time does", tired(always(time.Minute), closes), func(p *pool.Policy) { p.MaxIdleTime = 0 }, learned, 90, 24},
		{"that says 408 after 10 s", tired(always(10*time.Second), refuses408), nil, learned, 500, 16},
		// What has no rule must be seen more often: forty closes tell the shortest time.
		// When it proves shorter than was thought, those that are older go together.
		{"that closes after 5 to 40 s, at random", tired(between(5*time.Second, 40*time.Second), closes), nil, func(s pool.Stats) bool { return s.Closed[pool.ClosePeerClosedIdle] >= 40 }, 2500, 32},
	} {
		for _, floor := range []int{1, 4, 16} {
			t.Run(fmt.Sprintf("%s, floor %d", server.name, floor), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					network := &far{delay: 10 * time.Millisecond, serve: server.serve, tb: t}
					w := &watchedFloor{t: t, floor: floor, known: server.known}
					p := pool.New(pool.Options{Dial: network.Dial, Observer: w.observer()})
					policy := pool.DefaultPolicy("origin", "http://origin.test")
					policy.Endpoints = []netip.AddrPort{endpointOne}
					policy.Warm = floor
					if server.policy != nil {
						server.policy(&policy)
					}
					u, err := p.Add(policy)
					if err != nil {
						t.Fatal(err)
					}
					w.watch(u)
					if err := u.AwaitWarm(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Hour)
					s := u.Stats()
					if most := server.handshake * floor; s.Opened > uint64(most) {
						t.Errorf("%d handshakes in an hour, want %d at most", s.Opened, most)
					}
					if n := w.together(100 * time.Millisecond); n > server.together {
						t.Errorf("%d connections were made within 100 ms", n)
					}
					t.Logf("%d handshakes (%d for the floor, %d to replace), %d within 100 ms; %d events below the floor before the server was known; limits %v",
						s.Opened, s.Dials[pool.DialFloor], s.Dials[pool.DialReplacement], w.together(100*time.Millisecond), w.exempt, s.IdleLimits)
					if !w.holds {
						t.Error("the server was never known")
					}
					w.watch(nil)
					_ = p.Close(ended())
					network.tasks.Wait()
				})
			})
		}
	}
}

// returning is a network whose server goes down and returns, and what was dialed
// on it.
type returning struct {
	far
	mu       sync.Mutex
	up       context.Context // ends when the server goes down; nil: it is down
	ends     context.CancelFunc
	inFlight int
	most     int // in flight at once
	attempts []time.Time
}

func (r *returning) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	r.mu.Lock()
	r.attempts = append(r.attempts, time.Now())
	r.inFlight++
	r.most = max(r.most, r.inFlight)
	up := r.up != nil
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.inFlight--
		r.mu.Unlock()
	}()
	if !up {
		time.Sleep(2 * r.delay)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return r.far.Dial(ctx, network, address)
}

// within counts the attempts from one moment to another.
func (r *returning) within(from, to time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range r.attempts {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

func (r *returning) returns() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up, r.ends = context.WithCancel(context.Background())
	return time.Now()
}

func (r *returning) goesDown() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends()
	r.up = nil
	return time.Now()
}

// down ends when the server goes down; nil: it is.
func (r *returning) down() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up
}

// An upstream with 64 callers who wait and a floor of 16 is down for ten seconds
// and returns.
func TestAnUpstreamThatReturnsIsNotStormed(t *testing.T) {
	const callers, floor = 64, 16
	synctest.Test(t, func(t *testing.T) {
		network := &returning{far: far{delay: 10 * time.Millisecond, tb: t}}
		answers := impatient(func() time.Duration { return time.Hour }, func(string, string) { time.Sleep(50 * time.Millisecond) })
		network.serve = func(p *peer) {
			defer p.Close()
			if down := network.down(); down != nil {
				defer context.AfterFunc(down, func() { _ = p.Close() })()
				answers(p)
			}
		}
		network.returns()
		p := pool.New(pool.Options{Dial: network.Dial})
		policy := pool.DefaultPolicy("origin", "http://origin.test")
		policy.Endpoints = []netip.AddrPort{endpointOne}
		policy.Warm, policy.Max, policy.MaxWait = floor, 256, time.Minute
		u, err := p.Add(policy)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.AwaitWarm(t.Context()); err != nil {
			t.Fatal(err)
		}

		time.Sleep(2 * time.Second) // connections that end sooner count as failed dials
		down := network.goesDown()
		time.Sleep(2 * network.delay) // until that is known
		var waiting sync.WaitGroup
		for range callers {
			waiting.Go(func() {
				if _, err := u.Do(context.Background(), &pool.Request{Path: "/"}); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(10 * time.Second)
		back := network.returns()
		waiting.Wait()
		answered := time.Since(back)
		if err := u.AwaitWarm(t.Context()); err != nil {
			t.Fatal(err)
		}

		t.Logf("attempts in each second while it was down: %v", network.histogram(down, time.Second, 10))
		t.Logf("attempts in each 20 ms from the first that succeeded: %v; %d in flight at most; all were answered %v after its return",
			network.histogram(network.first(back), 20*time.Millisecond, 12), network.most, answered)
		if n := network.within(down, back); n < 5 || n > 60 {
			t.Errorf("%d attempts in ten seconds", n)
		}
		if n := network.within(down.Add(5*time.Second), back); n > 25 { // a second's pause on average by then
			t.Errorf("%d attempts in the last five seconds", n)
		}
		if network.most > policy.MaxDialing {
			t.Errorf("%d handshakes in flight, max_dialing is %d", network.most, policy.MaxDialing)
		}
		// One, and twice as many with each round trip.
		begin := network.first(back)
		for round, most := 1, 1; round <= 3; round++ {
			if n := network.within(begin, begin.Add(time.Duration(round)*20*time.Millisecond)); n > most {
				t.Errorf("%d attempts in the first %d round trips, want %d at most", n, round, most)
			}
			most = 2*most + 1
		}
		if n := network.within(back, time.Now()); n > callers+floor {
			t.Errorf("%d connections for %d callers and a floor of %d", n, callers, floor)
		}
		_ = p.Close(ended())
		network.tasks.Wait()
	})
}

// first is the first attempt from a moment on.
func (r *returning) first(from time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range r.attempts {
		if !at.Before(from) {
			return at
		}
	}
	return time.Time{}
}

func (r *returning) histogram(from time.Time, step time.Duration, n int) []int {
	h := make([]int, n)
	for i := range h {
		h[i] = r.within(from.Add(time.Duration(i)*step), from.Add(time.Duration(i+1)*step))
	}
	return h
}

// Twenty upstreams return at once.
func TestHandshakesAreBoundedOverAllUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &returning{far: far{delay: 50 * time.Millisecond, serve: tired(func() time.Duration { return time.Hour }, closes), tb: t}}
		network.returns()
		p := pool.New(pool.Options{Dial: network.Dial, MaxDialing: 10})
		for i := range 20 {
			policy := pool.DefaultPolicy(fmt.Sprint("origin", i), "http://origin.test")
			policy.Endpoints = []netip.AddrPort{endpointOne}
			policy.Warm = 8
			if _, err := p.Add(policy); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		for _, name := range p.Names() {
			u, _ := p.Upstream(name)
			if err := u.AwaitWarm(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 1600*time.Millisecond {
			t.Errorf("160 handshakes of 100 ms took %v, want 1.6s: ten at a time", took)
		}
		if network.most != 10 {
			t.Errorf("%d handshakes were in flight at once, want 10", network.most)
		}
		if short := p.Shortfalls(); len(short) > 0 {
			t.Errorf("below their floor: %v", short)
		}
		_ = p.Close(ended())
		network.tasks.Wait()
	})
}

// On real sockets, over TLS, with connections that are replaced five times a second.
func TestTheWarmFloorStandsOnRealSockets(t *testing.T) {
	const floor = 4
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer server.Close()
	w := &watchedFloor{t: t, floor: floor, known: func(pool.Stats) bool { return true }}
	u := openWith(t, pool.Options{Observer: w.observer()}, server.URL, func(p *pool.Policy) {
		p.TLS.RootCAs = x509.NewCertPool()
		p.TLS.RootCAs.AddCert(server.Certificate())
		p.Warm, p.MaxIdleTime = floor, 200*time.Millisecond
	})
	w.watch(u)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := u.AwaitWarm(ctx); err != nil {
		t.Fatal(err)
	}
	for u.Stats().Closed[pool.CloseIdleTimeout] < 5*floor {
		time.Sleep(10 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatalf("too little was replaced: %+v", u.Stats())
		}
	}
	if res, err := u.Do(ctx, &pool.Request{Path: "/", Receipt: true}); err != nil || string(res.Body) != "ok" || !res.Receipt.Reused {
		t.Errorf("a request on it: %+v, %v", res, err)
	}
	w.watch(nil)
}
