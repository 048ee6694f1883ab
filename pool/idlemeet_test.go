package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// meeting is a measurement: callers who come back after pauses that lie around
// the time for which a server lets connections idle, so that requests and closes
// meet, for ten minutes of the bubble's time.
type meeting struct {
	far               *far
	seed              uint64
	shortest, longest time.Duration // of a caller's pauses

	mu            sync.Mutex
	closes        int            // idle connections that the server closed
	carriedOut    map[string]int // by the path, which is of one request only
	before, after tally          // the first ten closes
}

// tally counts what callers see.
type tally struct {
	requests, posts int
	stale           int // attempts that met a connection which the server had closed
	retried         int
	lost            map[string]int // failures by method and delivery
}

const (
	meetCallers = 8 // who come together, so that every connection idles for a whole pause
	meetTime    = 10 * time.Minute
	firstCloses = 10
)

// meet plays the measurement. send carries one request out, and returns how many
// of its attempts met a closed connection.
func (m *meeting) meet(t *testing.T, send func(method, path string) (stale int, err error)) {
	t.Helper()
	m.carriedOut = make(map[string]int)
	chance := rand.New(rand.NewPCG(m.seed, 1))
	for end, n := time.Now().Add(meetTime), 0; time.Now().Before(end); n++ {
		var callers sync.WaitGroup
		for i := range meetCallers {
			method, path := "GET", fmt.Sprintf("/%d/%d", n, i)
			if chance.IntN(2) == 0 {
				method = "POST"
			}
			callers.Go(func() {
				stale, err := send(method, path)
				m.note(t, method, path, stale, err)
			})
		}
		callers.Wait()
		time.Sleep(m.shortest + time.Duration(chance.Int64N(int64(m.longest-m.shortest))))
	}
}

func (m *meeting) note(t *testing.T, method, path string, stale int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := &m.before
	if m.closes >= firstCloses {
		to = &m.after
	}
	to.requests++
	if method == "POST" {
		to.posts++
		if n := m.carriedOut[path]; n > 1 {
			t.Errorf("POST %s was carried out %d times", path, n)
		}
	}
	to.stale += stale
	if err == nil {
		return
	}
	delivery := "unknown to the client"
	if e, ok := errors.AsType[*pool.Error](err); ok {
		delivery = e.Delivery.String()
		if e.SafeToRetry() && m.carriedOut[path] > 0 {
			t.Errorf("%s %s was carried out, and is said to be %s: %v", method, path, delivery, err)
		}
	}
	if to.lost == nil {
		to.lost = make(map[string]int)
	}
	to.lost[method+" "+delivery]++
}

func (c *tally) add(o tally) {
	c.requests += o.requests
	c.posts += o.posts
	c.stale += o.stale
	for k, n := range o.lost {
		if c.lost == nil {
			c.lost = make(map[string]int)
		}
		c.lost[k] += n
	}
}

func (c tally) String() string {
	return fmt.Sprintf("%5d requests, %3d met a closed connection (%5.2f in 1000), lost %v", c.requests, c.stale, 1000*float64(c.stale)/float64(max(1, c.requests)), c.lost)
}

// closed is for the pool's observer.
func (m *meeting) closed(_ pool.ConnectionInfo, why pool.CloseReason) {
	switch why {
	case pool.ClosePeerClosedIdle, pool.ClosePeerResetIdle, pool.CloseConnectionClosed, pool.CloseConnectionReset:
		m.mu.Lock()
		m.closes++
		m.mu.Unlock()
	}
}

// meetPool measures the engine. The network in memory has no kernel to prove
// anything, so a POST that meets a close stays lost.
func (m *meeting) meetPool(t *testing.T) (report string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(pool.Options{Dial: m.far.Dial, Observer: pool.Observer{ConnectionClosed: m.closed}})
		policy := pool.DefaultPolicy("origin", "http://origin.test")
		policy.Endpoints = []netip.AddrPort{endpointOne}
		u, err := p.Add(policy)
		if err != nil {
			t.Fatal(err)
		}
		m.far.tb = t
		m.meet(t, func(method, path string) (int, error) {
			res, err := u.Do(context.Background(), &pool.Request{Method: method, Path: path, Receipt: true})
			if err == nil {
				if string(res.Body) != path {
					t.Errorf("%s was answered %q", path, res.Body)
				}
				return len(res.Receipt.Failed), nil
			}
			e, _ := errors.AsType[*pool.Error](err)
			if e.Reason != pool.ReasonConnectionClosed {
				t.Errorf("%s %s: %v", method, path, err)
			}
			return len(e.Receipt.Failed) + 1, err
		})
		s := u.Stats()
		report = fmt.Sprintf("%d closes seen, %d handshakes for %d requests, limits in the end %v", m.closes, s.Opened, s.Exchanges, s.IdleLimits)
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		m.far.tasks.Wait()
	})
	return report
}

// meetNetHTTP measures net/http's client beside it.
func (m *meeting) meetNetHTTP(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		transport := &http.Transport{DialContext: m.far.Dial, MaxIdleConnsPerHost: 100}
		m.far.tb = t
		m.meet(t, func(method, path string) (int, error) {
			r, _ := http.NewRequestWithContext(context.Background(), method, "http://"+endpointOne.String()+path, nil)
			res, err := transport.RoundTrip(r)
			if err != nil {
				return 1, err
			}
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			return 0, err
		})
		transport.CloseIdleConnections()
		m.far.tasks.Wait()
	})
}

// The server's limit is drawn anew for each pause, between 0.5 and 3 s, or is a
// timer's. Round trip 20 ms.
func TestRequestsAroundAServersIdleLimitSeldomMeetItsClose(t *testing.T) {
	for _, server := range []struct {
		name              string
		limit             func(*rand.Rand) time.Duration
		shortest, longest time.Duration
		times             int // fewer POST lost than by net/http's client
	}{
		{"between 0.5 and 3 s", func(r *rand.Rand) time.Duration {
			return 500*time.Millisecond + time.Duration(r.Int64N(int64(2500*time.Millisecond)))
		}, 300 * time.Millisecond, 3200 * time.Millisecond, 4},
		{"2 s", func(*rand.Rand) time.Duration { return 2 * time.Second }, 1800 * time.Millisecond, 2200 * time.Millisecond, 20},
		{"5 s", func(*rand.Rand) time.Duration { return 5 * time.Second }, 4 * time.Second, 6 * time.Second, 20},
	} {
		t.Run(server.name, func(t *testing.T) {
			var before, after, peer tally
			var report strings.Builder
			for seed := range uint64(2) {
				m := &meeting{seed: seed, shortest: server.shortest, longest: server.longest}
				chance := rand.New(rand.NewPCG(seed, 99))
				var mu sync.Mutex
				limit := func() time.Duration {
					mu.Lock()
					defer mu.Unlock()
					return server.limit(chance)
				}
				carriedOut := func(_, path string) {
					m.mu.Lock()
					m.carriedOut[path]++
					m.mu.Unlock()
				}
				m.far = &far{delay: 10 * time.Millisecond, serve: impatient(limit, carriedOut)}
				fmt.Fprintf(&report, "seed %d: %s\n", seed, m.meetPool(t))
				before.add(m.before)
				after.add(m.after)
				beside := &meeting{seed: seed, shortest: server.shortest, longest: server.longest, far: &far{delay: m.far.delay, serve: impatient(limit, func(string, string) {})}}
				beside.meetNetHTTP(t)
				peer.add(beside.before)
			}
			t.Logf("\n%sfirst ten closes: %v\nafter them:       %v\nnet/http, POST:   %v", &report, before, after, peer)
			all := before
			all.add(after)
			for what, n := range all.lost {
				if what != "POST UNKNOWN" {
					t.Errorf("%d x lost: %s", n, what)
				}
			}
			if lost := all.lost["POST UNKNOWN"]; peer.stale < server.times || lost*server.times > peer.stale {
				t.Errorf("%d of %d POST lost, by net/http's client %d of %d; want %d times fewer", lost, all.posts, peer.stale, peer.posts, server.times)
			}
		})
	}
}
