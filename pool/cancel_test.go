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

// Those before and behind it on its connection are no part of that: they have their
// answers from another one, and one whose answer had begun is not told that its own
// caller gave up.
func TestACallerThatGivesUpTakesNoOtherWithIt(t *testing.T) {
	for name, giveUp := range map[string]func(*rig, string) (*call, pool.Reason){
		"by cancelling": func(r *rig, path string) (*call, pool.Reason) { return r.get(path), pool.ReasonCancelled },
		"by its deadline": func(r *rig, path string) (*call, pool.Reason) {
			return r.do(&pool.Request{Path: path, Timeout: time.Second}), pool.ReasonDeadlineExceeded
		},
	} {
		for _, begun := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", unanswered", true: ", behind an answer that has begun"}[begun], func(t *testing.T) {
				inMemory(t, func(p *pool.Policy) { p.Max, p.PipelineDepth = 1, 4 }, func(t *testing.T, r *rig) {
					peer := r.connected(1)[0]
					before := r.get("/before")
					gone, reason := giveUp(r, "/gone")
					behind := r.get("/behind")
					for range 3 {
						peer.request()
					}
					if begun {
						peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
						synctest.Wait()
					}
					if reason == pool.ReasonCancelled {
						gone.cancel()
					}
					gone.failed(reason, pool.DeliveryUnknown)
					if begun {
						before.failed(pool.ReasonResponseTruncated, pool.DeliveryResponded)
					}
					peer = r.accept()
					for _, c := range []*call{before, behind} {
						if c == before && begun {
							continue
						}
						path := peer.request()
						if peer.pending() {
							t.Error("another request follows at once, though the connection before it failed (RFC 9112, 9.3.2)")
						}
						peer.ok(path)
						c.answered(map[*call]string{before: "/before", behind: "/behind"}[c])
					}
				})
			})
		}
	}
}
