package pool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// dies reads a request and resets the connection, as a peer does that has
// forgotten it.
func (p *peer) dies() {
	p.tb.Helper()
	p.request()
	p.reset()
}

// However many dead connections the pool holds, one request meets one of them,
// and its second attempt is on a new connection.
func TestARequestNeverWalksThroughAStalePool(t *testing.T) {
	const dead = 32
	for name, end := range map[string]func(*peer){
		"that closes": func(p *peer) { p.request(); _ = p.Close() },
		"that resets": (*peer).dies,
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				peers := r.connected(dead)
				met := make(chan struct{}, dead)
				for _, p := range peers {
					go func() {
						if _, err := p.r.Peek(1); err == nil {
							end(p)
							met <- struct{}{}
						}
					}()
				}
				for n := 1; n <= 5; n++ {
					c := r.do(&pool.Request{Receipt: true})
					<-met
					p := r.accept()
					p.request()
					p.ok("alive")
					if res := c.answered("alive"); res.Receipt.Attempts != 2 || res.Receipt.Exchanges != 0 {
						t.Errorf("%d attempts, the last one on a connection with %d exchanges; want 2 and a new one", res.Receipt.Attempts, res.Receipt.Exchanges)
					}
					_ = p.Close() // so that the next request meets a dead one again
					synctest.Wait()
					if s := r.upstream.Stats(); s.Retries != uint64(n) || s.Idle != dead-n {
						t.Fatalf("after %d requests %d retries and %d idle connections", n, s.Retries, s.Idle)
					}
					r.quiet()
				}
			})
		})
	}
}

// A peer that has started anew without a word resets what it does not know. One
// such connection is enough to know of the others.
func TestTheSiblingsOfAForgottenConnectionAreEvicted(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Max = 64 }, func(t *testing.T, r *rig) {
		old := r.connected(8)
		time.Sleep(5 * time.Second)
		young := r.get("/young")
		old[7].request()
		old[7].ok("young")
		young.answered("young") // old[7] has proved that it lives
		both := []*call{r.get("/1"), r.get("/2")}
		old[7].request()
		old[6].dies()
		fresh := r.accept()
		fresh.request()
		fresh.ok("answer")
		old[7].ok("answer")
		for _, c := range both {
			c.answered("answer")
		}
		for _, p := range old[:6] {
			p.finished()
			_ = p.Close()
		}
		r.closed(pool.CloseIdleLimit, 6)
		r.numbers(0, 2, 0, 0)

		// What must not be sent twice is safe now.
		c := r.do(&pool.Request{Method: "POST"})
		select {
		case <-after(fresh, old[7]):
		case <-time.After(time.Second):
			t.Fatal("the POST came on neither of the connections that live")
		}
		c.answered("ok")
	})
}

// after lets whichever peer reads a request answer it.
func after(peers ...*peer) <-chan struct{} {
	answered := make(chan struct{}, len(peers))
	for _, p := range peers {
		go func() {
			if _, err := p.r.Peek(1); err != nil {
				return
			}
			p.request()
			p.ok("ok")
			answered <- struct{}{}
		}()
	}
	return answered
}

// A request that makes the upstream break its connection says nothing of others.
func TestAResetOfABusyConnectionEvictsNobody(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peers := r.connected(8)
		time.Sleep(1800 * time.Millisecond)             // longer, and the POST would have a new one
		for _, p := range []*peer{peers[7], peers[7]} { // the first one is answered
			c := r.do(&pool.Request{Method: "POST"})
			p.request()
			p.ok("alive")
			c.answered("alive")
		}
		c := r.do(&pool.Request{Method: "POST"})
		peers[7].dies()
		c.failed(pool.ReasonConnectionReset, pool.DeliveryUnknown)
		r.numbers(0, 7, 0, 0)
	})
}

// A restart that is told closes every idle connection; each is noticed by
// itself, and nothing is learned of how long connections may idle.
func TestARestartThatIsToldCostsNothing(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		for range 4 {
			peers := r.connected(16)
			time.Sleep(3 * time.Second)
			for _, p := range peers {
				_ = p.Close()
			}
			r.numbers(0, 0, 0, 0)
			c := r.do(&pool.Request{Method: "POST"})
			p := r.accept()
			p.request()
			p.ok("alive")
			c.answered("alive")
			_ = p.Close()
			synctest.Wait()
		}
		if s := r.upstream.Stats(); s.Retries != 0 {
			t.Errorf("%d retries", s.Retries)
		}
	})
}
