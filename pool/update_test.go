package pool_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// changed exchanges the upstream's policy.
func (r *rig) changed(change func(*pool.Policy)) {
	r.tb.Helper()
	policy := r.upstream.Policy()
	change(&policy)
	if err := r.upstream.Update(policy); err != nil {
		r.tb.Fatal(err)
	}
}

func TestAPolicyHoldsForOpenConnectionsAndWaitingRequestsAtOnce(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Max = 1 }, func(t *testing.T, r *rig) {
		a := r.get("/a")
		one := r.accept()
		one.request()
		b := r.get("/b")
		r.numbers(1, 0, 0, 1)

		r.changed(func(p *pool.Policy) { p.Max = 2 })
		two := r.accept()
		two.request()
		two.ok("b")
		b.answered("b")
		one.ok("a")
		a.answered("a")
		r.numbers(0, 2, 0, 0)

		r.changed(func(p *pool.Policy) { p.Max = 1 })
		two.finished() // the one that was used last stays
		_ = two.Close()
		r.closed(pool.CloseSurplus, 1)
		r.numbers(0, 1, 0, 0)
	})
}

func TestAnExchangeUnderWayKeepsItsTimeLimit(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.ResponseHeadTimeout = 10 * time.Second }, func(t *testing.T, r *rig) {
		a := r.get("/a")
		one := r.accept()
		one.request()
		r.changed(func(p *pool.Policy) { p.ResponseHeadTimeout = time.Second })
		b := r.get("/b")
		r.accept().request()
		b.failed(pool.ReasonResponseTimeout, pool.DeliveryUnknown)
		b.after(time.Second)
		time.Sleep(8 * time.Second)
		one.ok("a")
		a.answered("a")
	})
}

func TestAnUpdateThatIsNotAllowedChangesNothing(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		for _, bad := range []struct {
			change func(*pool.Policy)
			says   string
		}{
			{func(p *pool.Policy) { p.Max = 0 }, "max is 0"},
			{func(p *pool.Policy) { p.Name = "other" }, "name cannot be changed"},
		} {
			policy := r.upstream.Policy()
			policy.MaxWaiting = 1
			bad.change(&policy)
			if err := r.upstream.Update(policy); err == nil || !strings.Contains(err.Error(), bad.says) {
				t.Errorf("the error is %v, want one that says %q", err, bad.says)
			}
			if got := r.upstream.Policy().MaxWaiting; got != 1024 {
				t.Errorf("max_waiting is %d after an update that failed", got)
			}
		}
		synctest.Wait()
	})
}
