package pool_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/dns"
)

// names is a resolver that answers as the test says.
type names struct {
	failed atomic.Int64 // times that the pool's observer was told of a failure

	mu     sync.Mutex
	answer dns.Answer
	err    error
	hangs  bool
	asked  int
	last   dns.Query
}

func (n *names) Lookup(ctx context.Context, q dns.Query) (dns.Answer, error) {
	n.mu.Lock()
	n.asked++
	n.last = q
	answer, err, hangs := n.answer, n.err, n.hangs
	n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return dns.Answer{}, ctx.Err()
	}
	return answer, err
}

// found is an answer that holds for as long as dns.refresh says.
func found(addrs ...netip.Addr) dns.Answer { return holding(dns.Unknown, addrs...) }

func holding(ttl time.Duration, addrs ...netip.Addr) dns.Answer {
	a := dns.Answer{TTL: ttl}
	for _, addr := range addrs {
		a.Endpoints = append(a.Endpoints, dns.Endpoint{Addr: addr})
	}
	return a
}

func (n *names) set(err error, addrs ...netip.Addr) { n.sets(found(addrs...), err) }

func (n *names) sets(a dns.Answer, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer, n.err, n.hangs = a, err, false
}

func (n *names) times() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// resolved plays a test on an upstream whose host n resolves.
func resolved(t *testing.T, n *names, change func(*pool.Policy), test func(*testing.T, *rig)) {
	observer := pool.Observer{ResolveFailed: func(pool.ResolveFailure) { n.failed.Add(1) }}
	inMemoryWith(t, pool.Options{Resolver: n, Observer: observer}, func(p *pool.Policy) {
		p.Endpoints = nil
		if change != nil {
			change(p)
		}
	}, test)
}

var (
	one, two = endpointOne.Addr(), endpointTwo.Addr()
	errDNS   = &dns.Error{Kind: dns.ServerFailed, Name: "origin.test", TTL: dns.Unknown}
)

// about expects a duration of the bubble that has up to a tenth added by chance.
func about(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+want/10 {
		t.Errorf("%s after %v, want %v and up to a tenth more", what, got, want)
	}
}

func TestNewAddressesAreUsedAtOnceAndOldOnesRetireWhenTheyAreMissingTwice(t *testing.T) {
	n := &names{answer: holding(10*time.Second, one)}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		busy := r.get("/busy")
		old := r.accept()
		old.request()
		idle := r.connected(1)[0]
		n.sets(holding(10*time.Second, two), nil)
		begun := time.Now()
		time.Sleep(12 * time.Second)

		c := r.get("/idle") // what is idle is used while the address may come back
		idle.request()
		another := r.get("/new") // and what is dialed is new
		d := r.next()
		if d.address != endpointTwo.String() {
			t.Errorf("%s is dialed", d.address)
		}
		peer := d.accept()
		peer.request()
		peer.ok("new")
		another.answered("new")
		idle.ok("idle")
		c.answered("idle")

		idle.finished()
		about(t, "the old address was left", time.Since(begun), 20*time.Second)
		_ = idle.Close()
		old.ok("busy")
		busy.answered("busy")
		old.finished()
		_ = old.Close()
		r.closed(pool.CloseEndpointGone, 2)
	})
}

// An answer is asked for again when it holds no longer, within the policy's
// bounds and a little later by chance.
func TestLookupsFollowTheTTL(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		0: 5 * time.Second, time.Second: 5 * time.Second, 20 * time.Second: 20 * time.Second, time.Hour: time.Minute,
		dns.Unknown: 30 * time.Second,
	} {
		n := &names{answer: holding(ttl, one)}
		resolved(t, n, nil, func(t *testing.T, r *rig) {
			time.Sleep(time.Second)
			before := n.times()
			begun := time.Now().Add(-time.Second)
			for n.times() == before {
				time.Sleep(10 * time.Millisecond)
			}
			if got := time.Since(begun); got < want || got > want+want/10+10*time.Millisecond {
				t.Errorf("a TTL of %v: looked up again after %v, want %v and up to a tenth more", ttl, got, want)
			}
		})
	}
}

func TestTheFirstLookupIsHurriedAndWhatIsLateIsAskedForAtOnce(t *testing.T) {
	partial := holding(time.Minute, one)
	partial.Partial = true
	n := &names{answer: partial}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		synctest.Wait()
		if n.times() != 2 || n.last.Hurried {
			t.Errorf("%d lookups, the last one %+v", n.times(), n.last)
		}
		time.Sleep(50 * time.Second) // what is late for good is not asked for all the time
		if n.times() != 2 {
			t.Errorf("%d lookups", n.times())
		}
	})
}

// What an answer does not hold because a part could not be found out stays.
func TestAPartialAnswerTakesNothingAway(t *testing.T) {
	n := &names{answer: holding(5*time.Second, one, two)}
	resolved(t, n, func(p *pool.Policy) { p.MaxIdleTime = 0 }, func(t *testing.T, r *rig) {
		r.connected(2)
		partial := holding(5*time.Second, one)
		partial.Partial = true
		n.sets(partial, nil)
		time.Sleep(time.Minute)
		r.numbers(0, 2, 0, 0)
	})
}

// A server that answers with parts of a set in turn must not make connections
// come and go in its rhythm.
func TestAddressesThatComeAndGoInAnswersKeepTheirConnections(t *testing.T) {
	n := &names{answer: holding(5*time.Second, one)}
	resolved(t, n, func(p *pool.Policy) { p.MaxIdleTime, p.MaxLifetime = 0, 0 }, func(t *testing.T, r *rig) {
		r.connected(1)
		for i := range 200 {
			n.sets(holding(5*time.Second, [][]netip.Addr{{one}, {two}, {two}}[i%3]...), nil)
			time.Sleep(5500 * time.Millisecond)
			if i == 2 {
				busy := r.get("/") // makes a connection to the other
				c := r.get("/")
				peer := r.accept()
				busy.cancel()
				c.cancel()
				_ = peer
			}
		}
		synctest.Wait()
		if s := r.upstream.Stats(); s.Closed[pool.CloseEndpointGone] > 1 {
			t.Errorf("%d connections were closed because their address was gone", s.Closed[pool.CloseEndpointGone])
		}
	})
}

func TestADialThatFailsBringsTheLookupForward(t *testing.T) {
	n := &names{answer: holding(time.Minute, one)}
	resolved(t, n, func(p *pool.Policy) { p.MaxWait = time.Minute }, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		n.sets(holding(time.Minute, two), nil)
		_ = peer.Close()
		synctest.Wait()
		begun := time.Now()
		c := r.get("/")
		for {
			d := r.next()
			if d.address == endpointTwo.String() {
				go d.accept().echo()
				break
			}
			d.refuse()
		}
		c.answered("/")
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("the new address was found after %v, want dns.min_ttl, 5s, since the last lookup", took)
		}
		if n.times() != 2 {
			t.Errorf("%d lookups", n.times())
		}
	})
}

func TestFailuresAndChangesAreTold(t *testing.T) {
	var mu sync.Mutex
	var told []string
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf(format, args...))
	}
	n := &names{answer: holding(5*time.Second, one)}
	observer := pool.Observer{
		ResolveFailed: func(f pool.ResolveFailure) {
			if f.Failures < 3 {
				tell("%s failed %d: %d known", f.Upstream, f.Failures, f.Known)
			}
		},
		ResolveRecovered: func(upstream string, failures int, lasted time.Duration) {
			tell("%s recovered: %v, %v", upstream, failures > 3, lasted > 10*time.Second)
		},
		EndpointsChanged: func(c pool.EndpointChange) {
			tell("added %v, returned %v, missing %v, gone %v, %d current", c.Added, c.Returned, c.Missing, c.Gone, c.Current)
		},
	}
	inMemoryWith(t, pool.Options{Resolver: n, Observer: observer}, func(p *pool.Policy) { p.Endpoints = nil }, func(t *testing.T, _ *rig) {
		time.Sleep(time.Second)
		n.set(errDNS)
		time.Sleep(20 * time.Second)
		n.sets(holding(5*time.Second, two), nil)
		time.Sleep(time.Minute)
	})
	want := []string{
		"added [10.0.0.1:80], returned [], missing [], gone [], 1 current",
		"origin failed 1: 1 known", "origin failed 2: 1 known", "origin recovered: true, true",
		"added [10.0.0.2:80], returned [], missing [10.0.0.1:80], gone [], 1 current",
		"added [], returned [], missing [], gone [10.0.0.1:80], 1 current",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

func TestKnownAddressesStayInUseWhileTheResolverFails(t *testing.T) {
	n := &names{answer: found(one)}
	resolved(t, n, func(p *pool.Policy) { p.MaxIdleTime = 0 }, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		n.set(errDNS)
		time.Sleep(10 * time.Minute)
		if n.failed.Load() == 0 {
			t.Fatal("the resolver has not failed")
		}
		go peer.echo()
		r.serves()
		r.quiet()
		r.numbers(0, 1, 0, 0)
	})
}

func TestAnUnresolvedHostFailsAtOnceAndIsLookedUpAgain(t *testing.T) {
	n := &names{err: errDNS}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		synctest.Wait()
		c := r.get("/")
		e := c.failed(pool.ReasonDNSFailed, pool.DeliveryNotSent)
		c.after(0)
		if _, ok := errors.AsType[*dns.Error](e); !ok || !strings.Contains(e.Error(), `"origin.test"`) {
			t.Errorf("the failure is %v", e)
		}
		n.set(nil, one)
		time.Sleep(time.Second)
		r.serves()
	})
}

func TestALookupThatFailedIsToldWithItsTime(t *testing.T) {
	n := &names{err: errDNS}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		for n.times() < 3 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(5 * time.Millisecond) // the next one comes later
		s := r.upstream.Stats()
		if !strings.Contains(s.LastDialError, "origin.test") || s.SinceDialError < 5*time.Millisecond || s.SinceDialError > 6*time.Millisecond {
			t.Errorf("the last error is %q, %v ago, want 5 to 6 ms", s.LastDialError, s.SinceDialError)
		}
	})
}

func TestRequestsWaitForTheFirstLookup(t *testing.T) {
	n := &names{hangs: true}
	resolved(t, n, func(p *pool.Policy) { p.MaxWait = time.Minute }, func(t *testing.T, r *rig) {
		c := r.get("/")
		c.failed(pool.ReasonDNSFailed, pool.DeliveryNotSent)
		c.after(10 * time.Second) // a lookup takes no longer
	})
}

func TestALookupWithoutAnyAddressIsAFailure(t *testing.T) {
	n := &names{}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		synctest.Wait()
		r.get("/").failed(pool.ReasonDNSFailed, pool.DeliveryNotSent)
	})
}

// However long a host cannot be resolved, it is asked for at a steady pace.
func TestLookupsKeepTheirPaceHoweverLongTheyFail(t *testing.T) {
	n := &names{err: errDNS}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		time.Sleep(time.Hour)
		early := n.times()
		time.Sleep(time.Hour)
		if late := n.times() - early; late < 120 || late > 240 || early > 250 {
			t.Errorf("%d lookups in the first hour and %d in the second, want one each 15s to 30s", early, late)
		}
	})
}

func TestALiteralAddressIsNotLookedUp(t *testing.T) {
	n := &names{err: errDNS}
	resolved(t, n, func(p *pool.Policy) { p.URL = "http://[2001:db8::1]:8080" }, func(t *testing.T, r *rig) {
		c := r.get("/")
		d := r.next()
		if d.address != "[2001:db8::1]:8080" {
			t.Errorf("%s is dialed", d.address)
		}
		peer := d.accept()
		if req := peer.head(); req.Host != "[2001:db8::1]:8080" {
			t.Errorf("the host is %s", req.Host)
		}
		peer.ok("")
		c.answered("")
		if n.times() != 0 {
			t.Error("it was looked up")
		}
	})
}
