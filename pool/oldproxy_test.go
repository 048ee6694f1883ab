package pool_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// stops collects what the engine says of endpoints whose connections it stops
// to use again, and of those that it uses again.
type stops struct {
	sync.Mutex // by the upstream's timer too

	all []string
}

func (s *stops) observer() pool.Observer {
	return pool.Observer{PrivilegeChanged: func(c pool.PrivilegeChange) {
		text := c.Because
		if !c.Lost {
			text = c.Privilege.String() + " again: " + text
		}
		s.Lock()
		defer s.Unlock()
		s.all = append(s.all, c.Upstream+" "+c.Endpoint.String()+": "+text)
	}}
}

func (s *stops) told(t *testing.T, words ...string) {
	t.Helper()
	synctest.Wait()
	s.Lock()
	defer s.Unlock()
	if len(s.all) != len(words) {
		t.Fatalf("told %q, want %d", s.all, len(words))
	}
	for i, word := range words {
		if !strings.HasPrefix(s.all[i], "origin 10.0.0.1:80: ") || !strings.Contains(s.all[i], word) {
			t.Errorf("told %q, want it to name origin, 10.0.0.1:80 and %q", s.all[i], word)
		}
	}
}

// penalty is for how long an endpoint gets requests on connections of their own.
const penalty = 10 * time.Minute

// onceEach expects the next requests to come on connections of their own, each
// saying that it is the last, and the answers to reach their callers.
func (r *rig) onceEach(n int) {
	r.tb.Helper()
	for range n {
		c := r.get("/once")
		peer := r.accept()
		if options := peer.options(); len(options) != 1 || options[0] != "close" {
			r.tb.Fatalf("a request says Connection: %q, want close", options)
		}
		peer.send("HTTP/1.0 200 OK\r\n\r\nonce") // ends with the connection, as such proxies like it
		_ = peer.CloseWrite()
		c.answered("once")
		synctest.Wait()
		if !peer.gone() {
			r.tb.Fatal("the connection was not closed with its only answer")
		}
	}
}

// reuses expects two requests on one new connection, neither of which says
// anything about it.
func (r *rig) reuses() {
	r.tb.Helper()
	var peer *peer
	for range 2 {
		c := r.get("/again")
		if peer == nil {
			peer = r.accept()
		}
		if options := peer.options(); len(options) > 0 {
			r.tb.Errorf("a request says Connection: %q, want nothing", options)
		}
		peer.ok("again")
		c.answered("again")
	}
	r.quiet()
}

func TestAnOldIntermediaryEndsReuseForAWhile(t *testing.T) {
	for name, answer := range map[string]string{
		"in an answer that could be followed by another": "HTTP/1.1 200 OK\r\nVia: 1.0 fred\r\nContent-Length: 5\r\n\r\nfirst",
		"in an answer of HTTP/1.0":                       "HTTP/1.0 200 OK\r\nVia: 1.1 ann, 1.0 fred\r\nContent-Length: 5\r\n\r\nfirst",
		"in an answer that says close":                   "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: HTTP/1.0 fred (old, 1.1)\r\nContent-Length: 5\r\n\r\nfirst",
	} {
		t.Run(name, func(t *testing.T) {
			var told stops
			inMemoryWith(t, pool.Options{Observer: told.observer()}, nil, func(t *testing.T, r *rig) {
				c := r.get("/")
				peer := r.accept()
				peer.request()
				peer.send(answer)
				c.answered("first")
				told.told(t, "HTTP/1.0 intermediary")
				// What stands is used up: by one exchange, which says so.
				if synctest.Wait(); !strings.HasPrefix(name, "in an answer that could") {
					_ = peer.CloseWrite()
				} else {
					c = r.get("/rest")
					if options := peer.options(); len(options) != 1 || options[0] != "close" {
						t.Errorf("a request on the connection that stands says Connection: %q, want close", options)
					}
					peer.ok("rest")
					c.answered("rest")
					_ = peer.CloseWrite()
				}
				r.onceEach(5)
				told.told(t, "HTTP/1.0 intermediary")
				time.Sleep(penalty)
				r.reuses()
				told.told(t, "HTTP/1.0 intermediary", "reuse again")
			})
		})
	}
}

func TestANewIntermediaryChangesNothing(t *testing.T) {
	var told stops
	inMemoryWith(t, pool.Options{Observer: told.observer()}, nil, func(t *testing.T, r *rig) {
		c := r.get("/")
		peer := r.accept()
		peer.request()
		peer.send("HTTP/1.1 200 OK\r\nVia: 1.1 fred (speaks 1.0, too), 2 ann, HTTPS/1.3 bob\r\nContent-Length: 5\r\n\r\nfirst")
		c.answered("first")
		c = r.get("/2")
		if options := peer.options(); len(options) > 0 {
			t.Errorf("a request says Connection: %q, want nothing", options)
		}
		peer.ok("second")
		c.answered("second")
		told.told(t)
	})
}

// A proxy that forwards Connection without understanding it waits for the
// upstream to close, and so the end of its own answer never comes.
func TestAnAnswerWhoseEndNeverComesEndsReuseForAWhile(t *testing.T) {
	for name, limit := range map[string]func(*pool.Policy, *pool.Request){
		"by the limit for a body that stands still": func(p *pool.Policy, _ *pool.Request) { p.BodyIdleTimeout = 5 * time.Second },
		"by the caller's own deadline":              func(_ *pool.Policy, r *pool.Request) { r.Timeout = 5 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			var told stops
			req := &pool.Request{}
			inMemoryWith(t, pool.Options{Observer: told.observer()}, func(p *pool.Policy) { limit(p, req) }, func(t *testing.T, r *rig) {
				calls := []*call{r.do(req), r.do(req), r.do(req)}
				for range calls {
					peer := r.accept()
					peer.request()
					peer.send("HTTP/1.0 200 OK\r\n\r\nthe whole answer, but who knows")
				}
				for _, c := range calls {
					<-c.over
					if c.err == nil {
						t.Errorf("answered %q, which may have been cut", c.res.Body)
					}
					c.after(5 * time.Second)
				}
				told.told(t, "left a connection open")
				r.onceEach(5)
				time.Sleep(penalty)
				r.reuses()
				told.told(t, "left a connection open", "reuse again")
			})
		})
	}
}

// Of an endpoint whose answers end in good order, one that stands still is an
// accident of its own.
func TestABodyOfKnownLengthThatStandsStillDoesNotEndReuse(t *testing.T) {
	var told stops
	inMemoryWith(t, pool.Options{Observer: told.observer()}, func(p *pool.Policy) { p.BodyIdleTimeout = 5 * time.Second }, func(t *testing.T, r *rig) {
		c := r.get("/")
		peer := r.accept()
		peer.request()
		peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		c.failed(pool.ReasonBodyTimeout, pool.DeliveryResponded)
		told.told(t)
		r.reuses()
	})
}

// One that understands persistent connections only in so far as it keeps the
// first answer's open answers no second request.
func TestASecondRequestThatIsNeverAnsweredEndsReuseInTheEnd(t *testing.T) {
	var told stops
	inMemoryWith(t, pool.Options{Observer: told.observer()}, nil, func(t *testing.T, r *rig) {
		for range 3 {
			told.told(t)
			c := r.get("/first")
			peer := r.accept()
			peer.request()
			peer.ok("first")
			c.answered("first")
			r.do(&pool.Request{Timeout: 2 * time.Second}).failed(pool.ReasonDeadlineExceeded, pool.DeliveryUnknown)
		}
		told.told(t, "never its second")
		r.onceEach(5)
		time.Sleep(penalty)
		r.reuses()
		told.told(t, "never its second", "reuse again")
	})
}

func TestASlowUpstreamIsNotTakenForAnOldProxy(t *testing.T) {
	late := &pool.Request{Timeout: 2 * time.Second}
	for name, play := range map[string]func(*testing.T, *rig){
		"that has answered a second request before": func(_ *testing.T, r *rig) {
			r.reuses()
			r.get("/late").cancelAfter(2 * time.Second)
			for range 10 {
				r.connected(1)
				r.get("/late").cancelAfter(2 * time.Second)
			}
		},
		"that is slow with first requests, too": func(_ *testing.T, r *rig) {
			for range 5 {
				r.connected(1)
				r.do(late).failed(pool.ReasonDeadlineExceeded, pool.DeliveryUnknown)
				c := r.do(late)
				r.accept()
				c.failed(pool.ReasonDeadlineExceeded, pool.DeliveryUnknown)
			}
		},
		"whose callers are hasty": func(_ *testing.T, r *rig) {
			for range 10 {
				r.connected(1)
				r.get("/hasty").cancelAfter(900 * time.Millisecond)
			}
		},
		"whose long answers end in good order": func(_ *testing.T, r *rig) {
			for range 5 {
				for range 2 {
					c := r.do(late)
					peer := r.accept()
					peer.request()
					peer.send("HTTP/1.1 200 OK\r\n\r\na long")
					c.failed(pool.ReasonDeadlineExceeded, pool.DeliveryResponded)
				}
				c := r.get("/")
				peer := r.accept()
				peer.request()
				peer.send("HTTP/1.1 200 OK\r\n\r\nall of it")
				_ = peer.CloseWrite()
				c.answered("all of it")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var told stops
			inMemoryWith(t, pool.Options{Observer: told.observer()}, nil, func(t *testing.T, r *rig) {
				play(t, r)
				told.told(t)
				r.reuses()
			})
		})
	}
}

// cancelAfter lets the caller give up after d.
func (c *call) cancelAfter(d time.Duration) {
	c.tb.Helper()
	time.Sleep(d)
	c.cancel()
	c.failed(pool.ReasonCancelled, pool.DeliveryUnknown)
}

// A client that has said close sends nothing more on that connection (RFC 9112, 9.6).
func TestNothingIsPipelinedBehindARequestThatSaysClose(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.PipelineDepth, p.Max = 4, 2 }, func(t *testing.T, r *rig) {
		c := r.get("/")
		peer := r.accept()
		peer.request()
		peer.send("HTTP/1.1 200 OK\r\nVia: 1.0 fred\r\nContent-Length: 5\r\n\r\nfirst")
		c.answered("first")
		one := r.get("/one")
		if options := peer.options(); len(options) != 1 {
			t.Errorf("the request says Connection: %q, want close", options)
		}
		two := r.get("/two")
		other := r.accept() // instead of following
		if peer.pending() {
			t.Error("a request follows one that says close")
		}
		peer.ok("one")
		one.answered("one")
		other.request()
		other.ok("two")
		two.answered("two")
	})
}
