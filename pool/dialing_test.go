package pool_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

func TestAnUpstreamThatIsDownFailsAtOnceWithTheAddressTried(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		c := r.do(&pool.Request{Method: "POST"})
		r.next().refuse()
		e := c.failed(pool.ReasonDialRefused, pool.DeliveryNotSent)
		c.after(0)
		if e.Endpoint != endpointOne || e.Attempts != 0 || !strings.Contains(e.Error(), "connection refused") {
			t.Errorf("%d attempts, at %v: %v", e.Attempts, e.Endpoint, e)
		}
		if s := r.upstream.Stats(); s.LastDialError == "" || s.SinceDialError <= 0 || s.DialsFailed != 1 || s.Refused[pool.ReasonDialRefused] != 1 {
			t.Errorf("the numbers are %+v", s)
		}
		time.Sleep(25 * time.Millisecond)
		r.serves()
	})
}

func TestARestartCostsWaitingRequestsTimeAndNotAnError(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		_ = peer.Close()
		synctest.Wait()
		c := r.do(&pool.Request{Method: "POST"})
		for range 4 {
			r.next().refuse()
		}
		again := r.accept()
		again.request()
		again.ok("back")
		c.answered("back")
		if c.took == 0 || c.took > 400*time.Millisecond {
			t.Errorf("it took %v, want a few short pauses", c.took)
		}
	})
}

func TestTheOtherAddressIsDialedWhenOneRefuses(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Endpoints = []netip.AddrPort{endpointOne, endpointTwo} }, func(t *testing.T, r *rig) {
		c := r.get("/")
		first := r.next()
		first.refuse()
		second := r.next()
		if first.address == second.address {
			t.Errorf("%s is dialed again", first.address)
		}
		peer := second.accept()
		peer.request()
		peer.ok("")
		c.answered("")
		c.after(0)
	})
}

func TestTheWarmFloorIsDialedAndKeptWithoutAnyRequest(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Warm, p.MaxDialing, p.MaxLifetime = 3, 2, 0 }, func(t *testing.T, r *rig) {
		synctest.Wait()
		if len(r.dials) != 2 {
			t.Fatalf("%d dials are under way, want 2", len(r.dials))
		}
		peers := []*peer{r.accept(), r.accept(), r.accept()}
		r.numbers(0, 3, 0, 0)
		_ = peers[0].Close()
		r.closed(pool.ClosePeerClosedIdle, 1)
		time.Sleep(25 * time.Millisecond)
		r.accept()
		r.numbers(0, 3, 0, 0)
		for i := range 3 { // requests use what is there
			c := r.get("/")
			synctest.Wait()
			r.quiet()
			c.cancel()
			c.failed(pool.ReasonCancelled, pool.DeliveryUnknown)
			r.accept()
			r.numbers(0, 3, 0, 0)
			_ = i
		}
	})
}

func TestARequestWithoutConnectionCausesNoMoreThanMaxDialing(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxDialing = 2 }, func(t *testing.T, r *rig) {
		calls := make([]*call, 5)
		for i := range calls {
			calls[i] = r.get("/")
		}
		r.numbers(0, 0, 2, 5)
		for len(r.dials) > 0 {
			go r.accept().echo()
			synctest.Wait()
		}
		for _, c := range calls {
			c.answered("/")
		}
		r.quiet()
	})
}

// An address that accepts and closes before a request could be sent does not
// keep a request for ever, and is not stormed.
func TestAnAddressThatAcceptsAndClosesFailsTheRequest(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxWait = time.Minute }, func(t *testing.T, r *rig) {
		c := r.do(&pool.Request{Method: "POST"})
		dials := 0
		for c.running() {
			if len(r.dials) > 0 {
				d := r.next()
				d.peer.reset()
				d.accept()
				dials++
			} else {
				time.Sleep(time.Millisecond)
			}
		}
		<-c.over
		if e := c.err.(*pool.Error); e.Reason != pool.ReasonConnectionClosed && e.Reason != pool.ReasonConnectionReset {
			t.Errorf("failed for %v: %v", e.Reason, e)
		}
		if dials > 6 {
			t.Errorf("%d connections were made for one request", dials)
		}
		r.numbers(0, 0, 0, 0)
	})
}

func TestAWarmFloorTowardsSuchAnAddressIsPaced(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Warm = 4 }, func(t *testing.T, r *rig) {
		begun, dials := time.Now(), 0
		for time.Since(begun) < time.Minute {
			d := r.next()
			_ = d.peer.Close()
			d.accept()
			dials++
		}
		if dials > 180 { // two for each pause, which is 1 s on average once it has grown: 135, give or take 10
			t.Errorf("%d connections were made in a minute", dials)
		}
	})
}
