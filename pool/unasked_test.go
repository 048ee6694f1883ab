package pool_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

const timeout408 = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 5\r\n\r\ntired"

// A server that gives up waiting says so before it closes (RFC 9110, 15.5.9).
// Nobody has asked, so nobody is answered.
func TestA408OnAnIdleConnectionAnswersNobody(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				peer := r.connected(1)[0]
				peer.send(timeout408)
				_ = peer.Close()
				r.numbers(0, 0, 0, 0)
				c := r.do(&pool.Request{Method: method, Receipt: true})
				fresh := r.accept()
				fresh.request()
				fresh.ok("its own")
				if res := c.answered("its own"); res.Receipt.Attempts != 1 {
					t.Errorf("%d attempts, want 1: what was dead before is none", res.Receipt.Attempts)
				}
				r.closed(pool.CloseUnsolicitedData, 1)
			})
		})
	}
}

// One that crosses the request on the way looks like its answer, and is what a
// caller may act upon; the connection carries nothing more.
func TestA408ThatCrossesARequestIsDeliveredAndNothingFollowsIt(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				peer := r.connected(1)[0]
				c := r.do(&pool.Request{Method: method})
				peer.request()
				peer.send(timeout408)
				_ = peer.Close()
				if res := c.answered("tired"); res.Status != 408 {
					t.Errorf("status %d", res.Status)
				}
				r.closed(pool.CloseByPeer, 1)
				r.serves()
				if s := r.upstream.Stats(); s.Retries != 0 {
					t.Errorf("%d retries", s.Retries)
				}
			})
		})
	}
}

// An upstream that switches protocols without being asked would make a tunnel of
// a connection that others share (RFC 9110, 7.8).
func TestAnUnasked101FailsAndEndsTheConnection(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		c := r.get("/")
		peer.request()
		peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello")
		c.failed(pool.ReasonMalformedResponse, pool.DeliveryResponded)
		r.numbers(0, 0, 0, 0)
		if !peer.gone() {
			t.Error("the connection still stands")
		}
		r.serves()
	})
}

func TestAnUpgradeIsRefusedBeforeAnythingIsSent(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		e := r.do(&pool.Request{Fields: []h1.Field{
			{Name: "Connection", Value: "Upgrade"}, {Name: "Upgrade", Value: "websocket"},
		}}).failed(pool.ReasonUnsupported, pool.DeliveryNotSent)
		if !strings.Contains(e.Error(), "websocket") {
			t.Errorf("the failure is %v", e)
		}
		r.quiet()
	})
}

// An offer to upgrade is an ordinary answer's field.
func TestAnAdvertisedUpgradeChangesNothing(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		c := r.get("/")
		peer.request()
		peer.send("HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok")
		c.answered("ok")
		r.numbers(0, 1, 0, 0)
	})
}

// Early answers: what has arrived is the caller's, and a connection on which the
// rest of a request was not sent is never used again (RFC 9112, 9.3 and 9.5).
func TestAnEarlyAnswerIsDelivered(t *testing.T) {
	const refusal = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
	for name, play := range map[string]struct {
		act func(*peer)
		why pool.CloseReason // CloseNone: one of two, by what the kernel still took
	}{
		"and the rest is not read":          {func(p *peer) { p.send(refusal) }, pool.CloseUnsentBody},
		"with close, and the rest not read": {func(p *peer) { p.send(strings.Replace(refusal, "\r\n", "\r\nConnection: close\r\n", 1)) }, pool.CloseByPeer},
		"and then the connection is closed": {func(p *peer) { p.send(refusal); _ = p.Close() }, pool.CloseNone},
		"and then half-closed":              {func(p *peer) { p.send(refusal); _ = p.CloseWrite() }, pool.CloseUnsentBody},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				peer := r.connected(1)[0]
				c := r.do(&pool.Request{Method: "POST", Body: make([]byte, 1<<20)})
				peer.head()
				play.act(peer)
				if res := c.answered("big"); res.Status != 413 {
					t.Errorf("status %d", res.Status)
				}
				if c.took > time.Second {
					t.Errorf("it took %v", c.took)
				}
				time.Sleep(time.Second)
				r.numbers(0, 0, 0, 0)
				if !peer.gone() {
					t.Error("the connection still stands")
				}
				if play.why != pool.CloseNone {
					r.closed(play.why, 1)
				}
				r.serves()
			})
		})
	}
}

// Where the peer reads on, the request is complete after all, and the connection
// as good as any.
func TestAConnectionWhoseRequestIsReadToTheEndSurvivesAnEarlyAnswer(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		c := r.do(&pool.Request{Method: "POST", Body: make([]byte, 1<<20)})
		head := peer.head()
		peer.ok("early")
		if body := peer.body(head); len(body) != 1<<20 {
			t.Errorf("the peer got %d bytes", len(body))
		}
		c.answered("early")
		r.numbers(0, 1, 0, 0)
		c = r.get("/next")
		if path := peer.request(); path != "/next" {
			t.Errorf("the peer reads %q", path)
		}
		peer.ok("next")
		c.answered("next")
	})
}

// The same without a word: whatever came before the end, and was not a complete
// answer, is no answer.
func TestAnEarlyResetIsAFailureThatIsNotSentAgain(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		c := r.do(&pool.Request{Method: "POST", Body: make([]byte, 1<<20)})
		peer.head()
		peer.reset()
		c.failed(pool.ReasonConnectionReset, pool.DeliveryUnknown)
		r.quiet()
		r.serves()
	})
}

// What follows an answer that ended the connection is nobody's.
func TestAnAnswerBehindCloseReachesNobody(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		c := r.get("/")
		peer.request()
		peer.send("HTTP/1.1 200 OK\r\nConnection: CLOSE\r\nContent-Length: 4\r\n\r\nlast" + timeout408)
		c.answered("last")
		peer.send(timeout408)
		synctest.Wait()
		r.serves()
		time.Sleep(time.Second)
		r.closed(pool.CloseByPeer, 1)
		if !peer.gone() {
			t.Error("the connection still stands")
		}
	})
}
