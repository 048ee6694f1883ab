package pool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

func TestAClosedIdleConnectionIsNoticedAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		why  pool.CloseReason
		play func(*peer)
	}{
		"closed":        {pool.ClosePeerClosedIdle, func(p *peer) { _ = p.Close() }},
		"half-closed":   {pool.ClosePeerClosedIdle, func(p *peer) { _ = p.CloseWrite() }},
		"reset":         {pool.ClosePeerResetIdle, func(p *peer) { p.reset() }},
		"a stray byte":  {pool.CloseUnsolicitedData, func(p *peer) { p.send("x") }},
		"a whole reply": {pool.CloseUnsolicitedData, func(p *peer) { p.ok("for nobody") }},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				peer := r.connected(1)[0]
				test.play(peer)
				r.closed(test.why, 1)
				r.numbers(0, 0, 0, 0)
				if !peer.gone() {
					t.Error("the connection still stands")
				}
				r.serves()
				if s := r.upstream.Stats(); s.Retries != 0 {
					t.Errorf("%d retries", s.Retries)
				}
			})
		})
	}
}

func TestAnIdempotentRequestIsSentAgainOnANewConnectionOnce(t *testing.T) {
	for name, req := range map[string]*pool.Request{
		"by method":          {Method: "PUT", Path: "/again", Body: []byte("body"), Receipt: true},
		"by the caller":      {Method: "POST", Path: "/again", Body: []byte("body"), Idempotent: true, Receipt: true},
		"by Idempotency-Key": {Method: "POST", Path: "/again", Body: []byte("body"), Receipt: true, Fields: []h1.Field{{Name: "idempotency-key", Value: "1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				peers := r.connected(2) // a second idle one is not trusted either
				c := r.do(req)
				peers[1].request()
				_ = peers[1].Close()
				peer := r.accept()
				head := peer.head()
				if body := peer.body(head); head.URL.Path != "/again" || body != "body" {
					t.Errorf("sent again as %s %q", head.URL.Path, body)
				}
				peer.ok("second")
				if res := c.answered("second"); res.Receipt.Attempts != 2 {
					t.Errorf("%d attempts", res.Receipt.Attempts)
				}

				c = r.do(req)
				peer.request()
				_ = peer.Close()
				peer = r.accept()
				peer.request()
				_ = peer.Close()
				e := c.failed(pool.ReasonConnectionClosed, pool.DeliveryUnknown)
				if e.Attempts != 2 || e.Receipt.Attempts != 2 {
					t.Errorf("%d attempts, %d on the receipt", e.Attempts, e.Receipt.Attempts)
				}
				r.quiet()
				if s := r.upstream.Stats(); s.Retries != 2 {
					t.Errorf("%d retries", s.Retries)
				}
			})
		})
	}
}

func TestWhatMayHaveArrivedIsNotSentAgain(t *testing.T) {
	for name, test := range map[string]struct {
		req      *pool.Request
		reason   pool.Reason
		delivery pool.Delivery
		play     func(*peer)
	}{
		"not idempotent": {&pool.Request{Method: "POST"}, pool.ReasonConnectionClosed, pool.DeliveryUnknown, func(p *peer) { _ = p.Close() }},
		"reset":          {&pool.Request{Method: "POST"}, pool.ReasonConnectionReset, pool.DeliveryUnknown, func(p *peer) { p.reset() }},
		"a byte of the response came": {&pool.Request{}, pool.ReasonResponseTruncated, pool.DeliveryResponded, func(p *peer) {
			p.send("H")
			_ = p.Close()
		}},
		"an interim response came": {&pool.Request{}, pool.ReasonResponseTruncated, pool.DeliveryResponded, func(p *peer) {
			p.send("HTTP/1.1 103 Early Hints\r\n\r\n")
			_ = p.Close()
		}},
		"malformed": {&pool.Request{}, pool.ReasonMalformedResponse, pool.DeliveryResponded, func(p *peer) { p.send("SSH-2.0-x\r\n") }},
		"truncated": {&pool.Request{}, pool.ReasonResponseTruncated, pool.DeliveryResponded, func(p *peer) {
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			_ = p.Close()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				peer := r.connected(1)[0]
				c := r.do(test.req)
				peer.request()
				test.play(peer)
				if e := c.failed(test.reason, test.delivery); e.Attempts != 1 {
					t.Errorf("%d attempts", e.Attempts)
				}
				r.quiet()
				r.numbers(0, 0, 0, 0)
				r.serves()
			})
		})
	}
}

func TestARetryEndsWithTheDeadline(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		c := r.do(&pool.Request{Timeout: time.Second})
		peer.request()
		time.Sleep(900 * time.Millisecond)
		_ = peer.Close()
		r.next()
		c.failed(pool.ReasonDeadlineExceeded, pool.DeliveryUnknown)
		c.after(time.Second)
	})
}

func TestRetriesKeepToTheirBudget(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MinRetries, p.RetryBudget = 1, 0 }, func(t *testing.T, r *rig) {
		peers := r.connected(2)
		first, second := r.get("/1"), r.get("/2")
		for _, p := range peers {
			p.request()
			_ = p.Close()
			synctest.Wait()
		}
		again := r.accept() // for one of them
		again.request()
		r.quiet()
		again.ok("again")
		synctest.Wait()
		failed, answered := first, second
		if first.err == nil {
			failed, answered = second, first
		}
		answered.answered("again")
		failed.failed(pool.ReasonConnectionClosed, pool.DeliveryUnknown)
		if s := r.upstream.Stats(); s.Retries != 1 || s.RetriesRefused != 1 {
			t.Errorf("%d retries, %d refused", s.Retries, s.RetriesRefused)
		}
	})
}

// A connection that came free and died before the next request was written to
// it is not an attempt: the request keeps its turn and goes elsewhere.
func TestAConnectionThatDiesBetweenTwoRequestsIsNotAnAttempt(t *testing.T) {
	for range 100 {
		inMemory(t, oneConnection, func(t *testing.T, r *rig) {
			first := r.get("/first")
			peer := r.accept()
			peer.request()
			next := r.do(&pool.Request{Method: "POST", Path: "/next", Receipt: true})
			peer.ok("first")
			_ = peer.Close()
			first.answered("first")
			synctest.Wait()
			if len(r.dials) > 0 {
				go r.accept().echo()
			}
			<-next.over
			if next.err == nil { // the end was seen in time
				if next.answered("/next").Receipt.Attempts != 1 {
					t.Errorf("%d attempts", next.res.Receipt.Attempts)
				}
			} else {
				next.failed(pool.ReasonConnectionClosed, pool.DeliveryUnknown)
			}
			r.numbers(0, min(1, len(r.upstream.Connections())), 0, 0)
		})
	}
}
