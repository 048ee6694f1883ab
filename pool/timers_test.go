package pool_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

func oneConnection(p *pool.Policy) { p.Max = 1 }

func TestARequestWaitsForMaxWaitAndIsToldThePoolsNumbers(t *testing.T) {
	inMemory(t, oneConnection, func(t *testing.T, r *rig) {
		running := r.get("/slow")
		peer := r.accept()
		peer.request()
		waiting := r.get("/waits")
		e := waiting.failed(pool.ReasonWaitTimeout, pool.DeliveryNotSent)
		waiting.after(time.Second)
		if e.State == nil || e.State.Active != 1 || e.State.Total != 1 || e.State.Max != 1 || e.State.Waited != time.Second {
			t.Errorf("the failure's numbers are %+v", e.State)
		}
		if text := e.Error(); !strings.Contains(text, `"origin"`) || !strings.Contains(text, "waited 1s; connections: 1 of 1, 1 active") {
			t.Errorf("the failure's text is %q", text)
		}
		peer.ok("done")
		running.answered("done")
	})
}

func TestAShorterDeadlineEndsTheWait(t *testing.T) {
	inMemory(t, oneConnection, func(t *testing.T, r *rig) {
		running := r.get("/slow")
		peer := r.accept()
		peer.request()
		own := r.do(&pool.Request{Timeout: 300 * time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		callers := r.doWithin(ctx, &pool.Request{})
		own.failed(pool.ReasonDeadlineExceeded, pool.DeliveryNotSent)
		own.after(300 * time.Millisecond)
		callers.failed(pool.ReasonDeadlineExceeded, pool.DeliveryNotSent)
		callers.after(400 * time.Millisecond)
		peer.ok("done")
		running.answered("done")
		r.numbers(0, 1, 0, 0)
	})
}

func TestAConnectTimeoutFailsTheRequestThatWaits(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxWait = time.Minute }, func(t *testing.T, r *rig) {
		c := r.get("/")
		e := c.failed(pool.ReasonDialTimeout, pool.DeliveryNotSent)
		c.after(2 * time.Second)
		if e.Endpoint != endpointOne || !strings.Contains(e.Error(), "timeouts.connect") {
			t.Errorf("the failure is %v at %v", e, e.Endpoint)
		}
	})
}

// Bytes of an unfinished head and interim responses do not renew the time for
// the final head.
func TestTheFinalResponseHeadHasATimeLimit(t *testing.T) {
	for name, trickle := range map[string]string{
		"silence": "", "a head that never ends": "HTTP/1.1 200 OK\r\nX: 1", "interim responses": "HTTP/1.1 103 Early Hints\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(p *pool.Policy) { p.ResponseHeadTimeout = 5 * time.Second }, func(t *testing.T, r *rig) {
				c := r.do(&pool.Request{Method: "POST"})
				peer := r.accept()
				peer.request()
				delivery := pool.DeliveryUnknown
				if trickle != "" {
					delivery = pool.DeliveryResponded
					time.Sleep(2 * time.Second)
					peer.send(trickle)
				}
				c.failed(pool.ReasonResponseTimeout, delivery)
				c.after(5 * time.Second)
				r.closed(pool.CloseResponseTimeout, 1)
				r.numbers(0, 0, 0, 0)
				r.serves()
			})
		})
	}
}

func TestEachPieceOfAResponseBodyHasItsOwnTimeLimit(t *testing.T) {
	for name, head := range map[string]string{
		"of known length": "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "that lasts until the close": "HTTP/1.1 200 OK\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(p *pool.Policy) { p.BodyIdleTimeout, p.ResponseHeadTimeout = 5*time.Second, time.Minute }, func(t *testing.T, r *rig) {
				c := r.get("/")
				peer := r.accept()
				peer.request()
				peer.send(head)
				for range 4 {
					time.Sleep(4900 * time.Millisecond)
					peer.send("piece")
				}
				c.failed(pool.ReasonBodyTimeout, pool.DeliveryResponded)
				c.after(4*4900*time.Millisecond + 5*time.Second)
				r.closed(pool.CloseBodyTimeout, 1)
				r.serves()
			})
		})
	}
}

// A peer that stops reading a request's body meets the same limit.
func TestEachPieceOfARequestBodyHasItsOwnTimeLimit(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.BodyIdleTimeout, p.ResponseHeadTimeout = 5*time.Second, time.Minute }, func(t *testing.T, r *rig) {
		c := r.do(&pool.Request{Method: "POST", Body: make([]byte, 1<<20)})
		peer := r.accept()
		req := peer.head()
		for range 2 { // a piece of what is written at once is 256 KiB
			time.Sleep(4 * time.Second)
			skip(t, req.Body, 256<<10)
		}
		c.failed(pool.ReasonBodyTimeout, pool.DeliveryUnknown)
		c.after(13 * time.Second)
		r.closed(pool.CloseBodyTimeout, 1)
		r.serves()
	})
}

func skip(t *testing.T, body io.Reader, n int64) {
	t.Helper()
	if _, err := io.CopyN(io.Discard, body, n); err != nil {
		t.Fatal(err)
	}
}

// The time for the head begins when the last of the request has left.
func TestALongUploadDoesNotUseUpTheTimeToAnswer(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.BodyIdleTimeout, p.ResponseHeadTimeout = time.Minute, 3*time.Second }, func(t *testing.T, r *rig) {
		c := r.do(&pool.Request{Method: "POST", Body: make([]byte, 1<<20)})
		peer := r.accept()
		req := peer.head()
		for range 4 {
			time.Sleep(2 * time.Second)
			skip(t, req.Body, 256<<10)
		}
		time.Sleep(2 * time.Second)
		peer.ok("all of it")
		c.answered("all of it")
		c.after(10 * time.Second)
		r.numbers(0, 1, 0, 0)
	})
}

func TestADeadlineEndsAnExchangeInEveryPhase(t *testing.T) {
	for name, play := range map[string]func(*peer){
		"before the response": func(*peer) {},
		"inside the head":     func(p *peer) { p.send("HTTP/1.1 200 OK\r\n") },
		"inside the body":     func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") },
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				c := r.do(&pool.Request{Method: "POST", Timeout: 1500 * time.Millisecond, Receipt: true})
				peer := r.accept()
				time.Sleep(time.Second)
				peer.request()
				play(peer)
				delivery := pool.DeliveryResponded
				if strings.HasPrefix(name, "before") {
					delivery = pool.DeliveryUnknown
				}
				e := c.failed(pool.ReasonDeadlineExceeded, delivery)
				c.after(1500 * time.Millisecond)
				if e.Receipt == nil || e.Receipt.Total != 1500*time.Millisecond || e.Receipt.Attempts != 1 {
					t.Errorf("the receipt is %+v", e.Receipt)
				}
				r.closed(pool.CloseDeadlineExceeded, 1)
				r.serves()
			})
		})
	}
}

func TestADeadlineEndsAStalledUpload(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		c := r.do(&pool.Request{Method: "POST", Body: make([]byte, 1<<20), Timeout: 2 * time.Second})
		r.accept().head()
		c.failed(pool.ReasonDeadlineExceeded, pool.DeliveryUnknown)
		c.after(2 * time.Second)
		r.closed(pool.CloseDeadlineExceeded, 1)
		r.serves()
	})
}

func TestAnIdleConnectionIsRetiredInGoodOrder(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxIdleTime = 10 * time.Second }, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		begun := time.Now()
		peer.finished() // FIN first, and the connection still stands
		idle := time.Since(begun)
		if idle < 9*time.Second || idle > 10*time.Second {
			t.Errorf("retired after %v, want 9s to 10s", idle)
		}
		synctest.Wait()
		if peer.gone() {
			t.Fatal("the connection was closed before the peer had a chance to close")
		}
		if list := r.upstream.Connections(); len(list) != 1 || list[0].State != "draining" {
			t.Errorf("the connections are %+v", list)
		}
		peer.send("too late") // read and dropped
		synctest.Wait()
		if peer.gone() {
			t.Fatal("the connection was closed for what the peer still sent")
		}
		_ = peer.CloseWrite()
		r.closed(pool.CloseIdleTimeout, 1)
		if !peer.gone() || time.Since(begun) != idle {
			t.Errorf("the connection is not closed although the peer has")
		}
	})
}

func TestRetirementDoesNotWaitLongForThePeer(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxIdleTime = 10 * time.Second }, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		peer.finished()
		time.Sleep(time.Second - time.Nanosecond)
		r.closed(pool.CloseIdleTimeout, 0)
		time.Sleep(time.Nanosecond)
		r.closed(pool.CloseIdleTimeout, 1)
		if !peer.gone() {
			t.Error("the connection still stands")
		}
	})
}

func TestALifetimeEndsAnIdleConnectionAndLetsAnActiveOneFinish(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxLifetime, p.MaxIdleTime = 10*time.Second, 0 }, func(t *testing.T, r *rig) {
		busy := r.connected(2)[1]
		c := r.get("/slow")
		busy.request()
		time.Sleep(11 * time.Second) // 10 s, less the jitter, and the time to drain
		r.closed(pool.CloseMaxLifetime, 1)
		busy.ok("slow")
		c.answered("slow")
		_ = busy.CloseWrite()
		r.closed(pool.CloseMaxLifetime, 2)
	})
}

func TestAKeepAliveHintRetiresAConnectionBeforeTheServerDoes(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		c := r.get("/")
		peer := r.accept()
		peer.request()
		peer.send("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=10\r\nContent-Length: 0\r\n\r\n")
		c.answered("")
		begun := time.Now()
		peer.finished()
		if idle := time.Since(begun); idle >= 10*time.Second || idle < 8*time.Second {
			t.Errorf("retired after %v, want a little less than 10s", idle)
		}
	})
}

func TestABodyThatWaitsForLeaveIsSentAfterAWhile(t *testing.T) {
	expect := &pool.Request{Method: "POST", Fields: []h1.Field{{Name: "Expect", Value: "100-continue"}}, Body: []byte("body")}
	inMemory(t, func(p *pool.Policy) { p.ExpectContinue = 700 * time.Millisecond }, func(t *testing.T, r *rig) {
		c := r.do(expect)
		peer := r.accept()
		req := peer.head()
		if body := peer.body(req); body != "body" || time.Since(c.begun) != 700*time.Millisecond {
			t.Errorf("the body %q came after %v, want 700ms", body, time.Since(c.begun))
		}
		peer.ok("late")
		c.answered("late")

		c = r.do(expect)
		req = peer.head()
		peer.send("HTTP/1.1 100 Continue\r\n\r\n")
		peer.body(req)
		peer.ok("at once")
		c.answered("at once")
		c.after(0)

		c = r.do(expect)
		peer.head()
		peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
		c.answered("no")
		c.after(0)
		r.closed(pool.CloseUnsentBody, 1) // the peer cannot know whether the body still comes
		r.serves()
	})
}
