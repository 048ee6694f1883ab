package pool_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// A caller that gives up leaves no trace: nothing of its request goes on, and
// the next request is answered rightly.

func TestACallerThatGivesUpWaitingLeavesNoTrace(t *testing.T) {
	inMemory(t, oneConnection, func(t *testing.T, r *rig) {
		running := r.get("/running")
		peer := r.accept()
		peer.request()
		gone := r.get("/gone")
		next := r.get("/next")
		r.numbers(1, 0, 0, 2)
		gone.cancel()
		gone.failed(pool.ReasonCancelled, pool.DeliveryNotSent)
		r.numbers(1, 0, 0, 1)
		peer.ok("running")
		running.answered("running")
		if path := peer.request(); path != "/next" {
			t.Errorf("the connection was given to %s", path)
		}
		peer.ok("next")
		next.answered("next")
		r.numbers(0, 1, 0, 0)
		r.quiet()
	})
}

func TestADialOutlivesTheCallerThatCausedIt(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		gone := r.get("/gone")
		d := r.next()
		gone.cancel()
		gone.failed(pool.ReasonCancelled, pool.DeliveryNotSent)
		r.numbers(0, 0, 1, 0)
		peer := d.accept()
		r.numbers(0, 1, 0, 0)
		next := r.get("/next")
		if path := peer.request(); path != "/next" {
			t.Errorf("the new connection carries %s", path)
		}
		peer.ok("next")
		next.answered("next")
		r.quiet()
	})
}

func TestADialThatItsCallerGaveUpServesAnother(t *testing.T) {
	inMemory(t, oneConnection, func(t *testing.T, r *rig) {
		gone := r.get("/gone")
		d := r.next()
		next := r.get("/next")
		synctest.Wait()
		gone.cancel()
		gone.failed(pool.ReasonCancelled, pool.DeliveryNotSent)
		peer := d.accept()
		if path := peer.request(); path != "/next" {
			t.Errorf("the new connection carries %s", path)
		}
		peer.ok("next")
		next.answered("next")
	})
}

func TestACallerThatGivesUpDuringItsExchangeCostsTheConnection(t *testing.T) {
	for name, test := range map[string]struct {
		delivery pool.Delivery
		play     func(*peer)
	}{
		"before the response": {pool.DeliveryUnknown, func(*peer) {}},
		"inside the head":     {pool.DeliveryResponded, func(p *peer) { p.send("HTTP/1.1 200 OK\r\nX: y") }},
		"behind an interim":   {pool.DeliveryResponded, func(p *peer) { p.send("HTTP/1.1 103 Early Hints\r\n\r\n") }},
		"inside the body":     {pool.DeliveryResponded, func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") }},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, oneConnection, func(t *testing.T, r *rig) {
				gone := r.get("/gone")
				next := r.get("/next")
				peer := r.accept()
				peer.request()
				test.play(peer)
				synctest.Wait()
				gone.cancel()
				gone.failed(pool.ReasonCancelled, test.delivery)
				gone.after(0)
				r.closed(pool.CloseCancelled, 1)
				if !peer.gone() {
					t.Error("the connection still stands")
				}
				peer = r.accept()
				if path := peer.request(); path != "/next" {
					t.Errorf("the new connection carries %s", path)
				}
				peer.ok("next")
				next.answered("next")
			})
		})
	}
}

func TestACallerThatGivesUpWhileItsBodyIsWrittenCostsTheConnection(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		gone := r.do(&pool.Request{Method: "PUT", Body: make([]byte, 1<<20)})
		r.accept().head()
		synctest.Wait()
		gone.cancel()
		gone.failed(pool.ReasonCancelled, pool.DeliveryUnknown)
		gone.after(0)
		r.closed(pool.CloseCancelled, 1)
		r.serves()
	})
}

func TestACallerThatIsGoneBeforeItAsksSendsNothing(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		r.doWithin(ended(), &pool.Request{Path: "/gone"}).failed(pool.ReasonCancelled, pool.DeliveryNotSent)
		synctest.Wait()
		if peer.pending() {
			t.Errorf("the peer was sent %s", peer.request())
		}
		go peer.echo()
		r.serves()
		r.numbers(0, 1, 0, 0)
	})
}

func TestACancelledRetryIsNotSentAgain(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		c := r.get("/gone")
		peer.request()
		_ = peer.Close() // an idempotent request goes to a new connection
		second := r.next()
		c.cancel()
		c.failed(pool.ReasonCancelled, pool.DeliveryUnknown) // the first attempt may have arrived
		go second.accept().echo()
		r.numbers(0, 1, 0, 0)
		r.serves()
	})
}

func TestTheCausesOfAContextAreTold(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		r.doWithin(ctx, &pool.Request{}).failed(pool.ReasonDeadlineExceeded, pool.DeliveryNotSent)
	})
}
