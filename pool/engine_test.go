package pool_test

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/warmpool-dev/warmpool/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func itoa(n int) string { return strconv.Itoa(n) }

var (
	endpointOne = netip.MustParseAddrPort("10.0.0.1:80")
	endpointTwo = netip.MustParseAddrPort("10.0.0.2:80")
)

// rig is a pool with one upstream on a network in memory.
type rig struct {
	*network
	pool     *pool.Pool
	upstream *pool.Upstream
}

// inMemory plays a test inside a bubble, on one upstream whose policy is the
// default, less what is dialed for demand, but for what change changes. What is left when the test ends is cut;
// the bubble proves that nothing goes on running.
func inMemory(t *testing.T, change func(*pool.Policy), test func(*testing.T, *rig)) {
	inMemoryWith(t, pool.Options{}, change, test)
}

func inMemoryWith(t *testing.T, o pool.Options, change func(*pool.Policy), test func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		o.Dial = n.Dial
		r := &rig{network: n, pool: pool.New(o)}
		policy := pool.DefaultPolicy("origin", "http://origin.test")
		policy.Endpoints = []netip.AddrPort{endpointOne}
		policy.PeakMemory, policy.Preconnect = 0, 1 // connections are dialed for requests and the floor alone
		if change != nil {
			change(&policy)
		}
		t.Cleanup(func() { _ = r.pool.Close(ended()) })
		u, err := r.pool.Add(policy)
		if err != nil {
			t.Fatal(err)
		}
		r.upstream = u
		test(t, r)
	})
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// call is a request under way.
type call struct {
	tb     testing.TB
	cancel context.CancelFunc
	begun  time.Time
	took   time.Duration
	over   chan struct{}
	res    *pool.Response
	err    error
}

func (r *rig) do(req *pool.Request) *call { return r.doWithin(context.Background(), req) }

func (r *rig) doWithin(ctx context.Context, req *pool.Request) *call {
	ctx, cancel := context.WithCancel(ctx)
	c := &call{tb: r.tb, cancel: cancel, begun: time.Now(), over: make(chan struct{})}
	go func() {
		c.res, c.err = r.upstream.Do(ctx, req)
		c.took = time.Since(c.begun)
		cancel()
		close(c.over)
	}()
	synctest.Wait() // so that calls come in the order in which the test makes them
	return c
}

func (r *rig) get(path string) *call { return r.do(&pool.Request{Path: path}) }

// running reports whether the call has not ended when everything has come to a halt.
func (c *call) running() bool {
	synctest.Wait()
	select {
	case <-c.over:
		return false
	default:
		return true
	}
}

// answered waits for the response and compares its body.
func (c *call) answered(body string) *pool.Response {
	c.tb.Helper()
	<-c.over
	switch {
	case c.err != nil:
		c.tb.Fatalf("the request failed: %v", c.err)
	case string(c.res.Body) != body:
		c.tb.Fatalf("the response is %d %q, want %q", c.res.Status, c.res.Body, body)
	}
	return c.res
}

// failed waits for the failure and compares its reason and delivery.
func (c *call) failed(reason pool.Reason, delivery pool.Delivery) *pool.Error {
	c.tb.Helper()
	<-c.over
	if c.err == nil {
		c.tb.Fatalf("the response is %d %q, want %v", c.res.Status, c.res.Body, reason)
	}
	e, ok := errors.AsType[*pool.Error](c.err)
	if !ok {
		c.tb.Fatalf("the error is a %T, want a *pool.Error: %v", c.err, c.err)
	}
	if e.Reason != reason || e.Delivery != delivery {
		c.tb.Errorf("failed for %v, %v; want %v, %v: %v", e.Reason, e.Delivery, reason, delivery, e)
	}
	return e
}

// after expects that the call took exactly d of the bubble's time.
func (c *call) after(d time.Duration) {
	c.tb.Helper()
	<-c.over
	if c.took != d {
		c.tb.Errorf("it took %v, want %v", c.took, d)
	}
}

// connected makes n connections, which are then idle, the last one used last.
func (r *rig) connected(n int) []*peer {
	r.tb.Helper()
	peers := make([]*peer, n)
	calls := make([]*call, n)
	for i := range n {
		calls[i] = r.get("/first")
		peers[i] = r.accept()
		peers[i].request()
	}
	for i := range n {
		peers[i].ok("first")
		calls[i].answered("first")
		synctest.Wait()
	}
	return peers
}

// numbers expects the upstream to have so many connections of each kind, and
// so many requests waiting, when everything has come to a halt.
func (r *rig) numbers(active, idle, dialing, waiting int) {
	r.tb.Helper()
	synctest.Wait()
	s := r.upstream.Stats()
	if s.Active != active || s.Idle != idle || s.Dialing != dialing || s.Waiting != waiting {
		r.tb.Errorf("%d active, %d idle, %d dialing, %d waiting; want %d, %d, %d, %d",
			s.Active, s.Idle, s.Dialing, s.Waiting, active, idle, dialing, waiting)
	}
}

// closed expects that so many connections have been closed for a reason.
func (r *rig) closed(why pool.CloseReason, n uint64) {
	r.tb.Helper()
	synctest.Wait()
	if got := r.upstream.Stats().Closed[why]; got != n {
		var all []string
		for _, reason := range pool.CloseReasons() {
			if k := r.upstream.Stats().Closed[reason]; k > 0 {
				all = append(all, reason.String()+" "+strconv.FormatUint(k, 10))
			}
		}
		r.tb.Errorf("%d connections were closed for %v, want %d; closed: %s", got, why, n, strings.Join(all, ", "))
	}
}

// serves shows that the upstream still answers requests rightly, on a
// connection that is there or a new one.
func (r *rig) serves() {
	r.tb.Helper()
	c := r.get("/after")
	synctest.Wait()
	select {
	case d := <-r.dials:
		go d.accept().echo()
	default:
	}
	c.answered("/after")
}
