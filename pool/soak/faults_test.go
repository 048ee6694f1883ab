package soak_test

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

const (
	callersEach     = 24  // per upstream
	connectionsEach = 8   // per upstream, of which there are four
	callsPerRound   = 400 // between two halts
)

// soak is the fault soak: callers, a pool of four upstreams and their origins.
type soak struct {
	ledger  *ledger
	pool    *pool.Pool
	origins []*origin
	roots   *identity

	// A call holds it for reading. Whoever holds it for writing has a pool with
	// nothing under way.
	gate  sync.RWMutex
	calls atomic.Uint64

	stopped  atomic.Bool // an upstream is no longer persistent: it is to be made anew
	counters []pool.Counters
}

// TestFaults plays every fault that a server can show on 32 connections, under
// concurrent callers, and compares what the servers saw with what the callers
// were told.
func TestFaults(t *testing.T) {
	const warmUp = 200 // requests before what is left behind is measured
	seed := drawSeed(t)
	n := max(*requestCount, 2*warmUp)
	before := takeStock(t)

	l := newLedger(seed, n)
	s := newSoak(t, l)
	begun := time.Now()
	s.play(t, warmUp)
	atRest := heapInUse()
	s.play(t, n)
	afterLoad := heapInUse()
	took := time.Since(begun)
	s.close(t)

	l.settle()
	l.report(t)
	s.table(t, took)
	before.compare(t)
	t.Logf("heap in use: %d KiB after %d requests, %d KiB after %d", atRest>>10, warmUp, afterLoad>>10, n)
	if afterLoad > atRest+heapSlack {
		t.Errorf("the heap grew from %d KiB to %d KiB between request %d and %d", atRest>>10, afterLoad>>10, warmUp, n)
	}
	s.coverage(t, n)
}

// heapSlack is what the heap may differ by between two moments of rest: the
// buffers of connections that are open at one of them and not at the other.
const heapSlack = 4 << 20

func newSoak(t *testing.T, l *ledger) *soak {
	t.Helper()
	s := &soak{ledger: l, roots: newIdentity(t)}
	s.pool = pool.New(pool.Options{Observer: pool.Observer{
		PrivilegeChanged: func(c pool.PrivilegeChange) {
			if c.Lost && c.Privilege == pool.PrivilegeReuse {
				s.stopped.Store(true)
			}
		},
	}})
	for i, name := range []string{"plain", "tls", "plain, pipelined", "tls, pipelined"} {
		var secured *tls.Config
		if i%2 == 1 {
			secured = s.roots.server()
		}
		o, err := startOrigin(name, uint64(i), l, secured, i >= 2)
		if err != nil {
			t.Fatal(err)
		}
		s.origins = append(s.origins, o)
		s.add(t, o)
	}
	return s
}

func (s *soak) add(t *testing.T, o *origin) {
	t.Helper()
	scheme := "http"
	if o.secured != nil {
		scheme = "https"
	}
	policy := pool.DefaultPolicy(o.name, scheme+"://"+o.address)
	policy.Max = connectionsEach
	policy.Warm = 2
	if o.pipelined {
		policy.PipelineDepth = 4
	}
	policy.TLS.RootCAs = s.roots.pool
	policy.MaxLifetime = 2 * time.Second
	policy.MaxRequests = 500
	policy.ResponseHeadTimeout = 150 * time.Millisecond
	policy.BodyIdleTimeout = 150 * time.Millisecond
	policy.ExpectContinue = 10 * time.Millisecond
	if _, err := s.pool.Add(policy); err != nil {
		t.Fatal(err)
	}
}

// play lets the callers send requests until the one with the given number. In
// between it halts them, again and again, for what can only be done to a pool at
// rest.
func (s *soak) play(t *testing.T, until int) {
	t.Helper()
	var callers sync.WaitGroup
	for _, o := range s.origins {
		for range callersEach {
			callers.Go(func() { s.caller(t, o, uint64(until)) })
		}
	}
	r := chance(s.ledger.seed, forRestarts, uint64(until))
	rounds := make(chan struct{})
	go func() {
		callers.Wait()
		close(rounds)
	}()
	for next := s.calls.Load() + callsPerRound; ; {
		select {
		case <-rounds:
			return
		case <-time.After(2 * time.Millisecond):
		}
		if s.calls.Load() < next {
			continue
		}
		next = s.calls.Load() + callsPerRound
		s.halt(t, r)
		if r.IntN(6) == 0 {
			if err := s.origins[r.IntN(len(s.origins))].restart([]fault{restartClose, restartReset}[r.IntN(2)]); err != nil {
				t.Error(err)
			}
		}
	}
}

// caller sends one request after the other to an origin.
func (s *soak) caller(t *testing.T, o *origin, until uint64) {
	for s.call(t, o, until) {
	}
}

func (s *soak) call(t *testing.T, o *origin, until uint64) bool {
	s.gate.RLock()
	defer s.gate.RUnlock()
	id := s.calls.Add(1)
	if id > until {
		s.calls.Add(^uint64(0))
		return false
	}
	u, err := s.pool.Upstream(o.name)
	if err != nil {
		t.Error(err)
		return false
	}
	script := scriptOf(s.ledger.seed, id)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if script.cancel > 0 {
		defer time.AfterFunc(script.cancel, cancel).Stop()
	}
	if script.deadline > 0 {
		ctx, cancel = context.WithTimeout(ctx, script.deadline)
		defer cancel()
	}
	res, err := u.Do(ctx, script.request())
	switch {
	case err == nil && res != nil:
		s.ledger.answer(&script, res)
	case res != nil:
		s.ledger.violation("answer and error", "%v; %s", err, s.ledger.history(id))
	default:
		failure, ok := errors.AsType[*pool.Error](err)
		if !ok {
			s.ledger.violation("untyped error", "%T %v; %s", err, err, s.ledger.history(id))
			return true
		}
		s.ledger.failure(&script, failure)
	}
	return true
}

// halt waits until nothing is under way, sends stray bytes on some of the idle
// connections, and makes those upstreams anew that have learned to keep out of
// the faults' way: from what the origins do they conclude that connections are
// not to be reused, or that requests are not to be pipelined.
func (s *soak) halt(t *testing.T, r *rand.Rand) {
	t.Helper()
	s.gate.Lock()
	defer s.gate.Unlock()
	for _, o := range s.origins {
		if err := o.stray(r, 0.2); err != nil {
			t.Error(err)
		}
	}
	stopped := s.stopped.Swap(false)
	for _, o := range s.origins {
		u, err := s.pool.Upstream(o.name)
		if err != nil {
			t.Error(err)
			continue
		}
		if stats := u.Stats(); stopped || o.pipelined || len(stats.IdleLimits) > 0 {
			if stats.Active > 0 || stats.Waiting > 0 {
				t.Errorf("%s: nothing is under way, but %d connections are active and %d requests wait", o.name, stats.Active, stats.Waiting)
			}
			s.remove(t, o.name)
			s.add(t, o)
		}
	}
}

// remove closes an upstream, keeping its counters.
func (s *soak) remove(t *testing.T, name string) {
	t.Helper()
	u, err := s.pool.Upstream(name)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.pool.Remove(ctx, name); err != nil {
		t.Error(err)
	}
	s.counters = append(s.counters, u.Stats().Counters)
}

// close closes everything; what is still open then is a violation.
func (s *soak) close(t *testing.T) {
	t.Helper()
	for _, o := range s.origins {
		s.remove(t, o.name)
	}
	if err := s.pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, o := range s.origins {
		if err := o.close(10 * time.Second); err != nil {
			t.Error(err)
		}
	}
}

// coverage expects a long run to have played every fault.
func (s *soak) coverage(t *testing.T, n int) {
	t.Helper()
	var missing []string
	for f := range faultCount {
		total := uint64(0)
		for _, o := range s.origins {
			total += o.did[f].Load()
		}
		if total == 0 {
			missing = append(missing, f.String())
		}
	}
	if len(missing) > 0 && n >= 50_000 {
		t.Errorf("%d requests, and these faults were never played: %q", n, missing)
	}
	if !s.pipelines() {
		t.Error("no request was pipelined")
	}
}

func (s *soak) pipelines() bool {
	total := uint64(0)
	for _, o := range s.origins {
		total += o.behind.Load()
	}
	return total > 0
}
