package pool_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

func TestEveryExchangeIsCountedOnceByItsEnd(t *testing.T) {
	var refused, retried []pool.Reason
	o := pool.Options{Observer: pool.Observer{
		Refused: func(_ string, why pool.Reason, _ netip.AddrPort, _ error) { refused = append(refused, why) },
		Retried: func(_ string, why pool.Reason, _ netip.AddrPort, _ error) { retried = append(retried, why) },
	}}
	inMemoryWith(t, o, func(p *pool.Policy) { p.Max, p.MaxWaiting, p.MaxWait = 1, 1, time.Minute }, func(t *testing.T, r *rig) {
		a := r.get("/a")
		time.Sleep(time.Millisecond)
		one := r.accept()
		one.request()
		b := r.get("/b")
		time.Sleep(2 * time.Second)
		if s := r.upstream.Stats(); s.OldestWait != 2*time.Second {
			t.Errorf("the oldest wait is %v", s.OldestWait)
		}
		r.get("/c").failed(pool.ReasonQueueFull, pool.DeliveryNotSent)
		one.ok("a")
		a.answered("a")
		one.request()
		_ = one.Close() // without an answer: it is sent again
		two := r.accept()
		two.request()
		two.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nb")
		b.answered("b")
		_ = two.Close()
		r.do(&pool.Request{Path: "no path"}).failed(pool.ReasonInvalidRequest, pool.DeliveryNotSent)
		r.numbers(0, 0, 0, 0)
		s := r.upstream.Stats()
		if s.Responses != 2 || s.Failures[pool.ReasonQueueFull] != 1 || s.Failures[pool.ReasonInvalidRequest] != 1 {
			t.Errorf("%d responses, failures %v", s.Responses, s.Failures)
		}
		if s.Exchanges != 3 || s.Reused != 1 || s.Stood != 1 || s.Stale != 1 || s.Retries != 1 || s.RetriesAfter[pool.ReasonConnectionClosed] != 1 {
			t.Errorf("%d attempts, %d reused, %d stale, %d retries: %v", s.Exchanges, s.Reused, s.Stale, s.Retries, s.RetriesAfter)
		}
		if s.Waits != 3 || s.WaitTime != 2*time.Second+time.Millisecond { // for the two dials, and b in the queue
			t.Errorf("%d waits of %v", s.Waits, s.WaitTime)
		}
		if len(refused) != 2 || len(retried) != 1 || retried[0] != pool.ReasonConnectionClosed {
			t.Errorf("told of refusals %v and retries %v", refused, retried)
		}
		if len(s.Addresses) != 1 || s.Addresses[0].Endpoint != endpointOne || s.Addresses[0].IdleLimitSource != pool.IdleByPolicy {
			t.Errorf("addresses: %+v", s.Addresses)
		}
	})
}
