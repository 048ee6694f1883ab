package pool_test

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// dualStack plays a test on a host with two addresses of each family, those of
// IPv6 without any answer, whose server closes each connection after one exchange,
// so that every request needs a new one. The second argument counts dials to IPv6.
func dualStack(t *testing.T, change func(*pool.Policy), test func(*testing.T, *rig, *atomic.Int64)) {
	inMemory(t, func(p *pool.Policy) {
		p.Endpoints = []netip.AddrPort{
			endpointOne, endpointTwo, netip.MustParseAddrPort("[2001:db8::1]:80"), netip.MustParseAddrPort("[2001:db8::2]:80"),
		}
		p.MaxRequests = 1
		if change != nil {
			change(p)
		}
	}, func(t *testing.T, r *rig) {
		var dead atomic.Int64
		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case d := <-r.dials:
					if strings.HasPrefix(d.address, "[") {
						dead.Add(1)
					} else {
						go d.accept().echo()
					}
				case <-done:
					return
				}
			}
		}()
		test(t, r, &dead)
	})
}

// burst sends n requests at once and returns the longest time that one took.
func (r *rig) burst(n int) time.Duration {
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = r.get("/")
	}
	longest := time.Duration(0)
	for _, c := range calls {
		c.answered("/")
		longest = max(longest, c.took)
	}
	return longest
}

func TestADeadFamilyCostsTheAttemptDelayAtMostAndOnce(t *testing.T) {
	for name, change := range map[string]func(*pool.Policy){
		"room":     nil,
		"one dial": func(p *pool.Policy) { p.MaxDialing = 1 },
		"few":      func(p *pool.Policy) { p.Max, p.MaxDialing = 3, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			dualStack(t, change, func(t *testing.T, r *rig, dead *atomic.Int64) {
				most := 250 * time.Millisecond
				if took := r.burst(32); took > 4*most { // each of the two, given up, and once more each where there is one place
					t.Errorf("a request of the first burst took %v", took)
				}
				time.Sleep(3 * time.Second) // for the dials to fail
				before := dead.Load()
				slow := 0
				for range 300 {
					if took := r.burst(4); took > 0 {
						slow++
					}
					time.Sleep(200 * time.Millisecond)
				}
				if slow > 0 {
					t.Errorf("%d of 300 bursts waited for a family known to be dead", slow)
				}
				if n := dead.Load() - before; n == 0 || n > 30 {
					t.Errorf("%d dials to the dead family in a minute, want a few", n)
				}
			})
		})
	}
}

// A floor stands at the addresses that answer.
func TestAWarmFloorStandsDespiteADeadFamily(t *testing.T) {
	dualStack(t, func(p *pool.Policy) { p.Warm, p.MaxRequests = 8, 0 }, func(t *testing.T, r *rig, _ *atomic.Int64) {
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := r.upstream.Stats(); s.Idle < 8 {
			t.Errorf("%d connections are idle, want 8", s.Idle)
		}
	})
}

// A connection that came late is as good as any.
func TestALateDialIsNotWasted(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Endpoints = []netip.AddrPort{endpointOne, endpointTwo} }, func(t *testing.T, r *rig) {
		c := r.get("/a")
		late := r.next()
		first := r.next()
		if c.begun.Add(250*time.Millisecond) != time.Now() || late.address == first.address {
			t.Errorf("%s is dialed %v after %s", first.address, time.Since(c.begun), late.address)
		}
		go first.accept().echo()
		c.answered("/a")
		go late.accept().echo()
		r.numbers(0, 2, 0, 0)
		r.serves()
	})
}
