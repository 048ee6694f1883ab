package pool_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// saying answers 200 without a body, with more fields.
func (p *peer) saying(fields string) {
	p.tb.Helper()
	p.send("HTTP/1.1 200 OK\r\n" + fields + "Content-Length: 0\r\n\r\n")
}

// idlesFor makes a connection whose first answer has the fields given, and
// returns for how long the engine lets it idle.
func (r *rig) idlesFor(fields string) time.Duration {
	r.tb.Helper()
	c := r.get("/")
	peer := r.accept()
	peer.request()
	peer.saying(fields)
	c.answered("")
	begun := time.Now()
	peer.finished()
	_ = peer.Close()
	return time.Since(begun)
}

// The hint's margin is one second, because the network in memory has no round
// trip; the policy's own limit is 20 s. RFC 2068, 19.7.1 gives the field its
// form, RFC 9110, 7.6.1 makes it count only with its connection option.
func TestAKeepAliveHintLowersTheIdleTimeAndGarbageChangesNothing(t *testing.T) {
	const policy = 20 * time.Second
	for _, hint := range []struct {
		fields string
		idle   time.Duration
	}{
		{"Connection: keep-alive\r\nKeep-Alive: timeout=10\r\n", 9 * time.Second},
		{"Connection: Keep-Alive\r\nKeep-Alive: timeout=5, max=100\r\n", 4 * time.Second},
		{"Connection: keep-alive\r\nKeep-Alive: timeout=10\r\nKeep-Alive: timeout=3\r\n", 2 * time.Second},
		{"Connection: keep-alive\r\nKeep-Alive: timeout=3600\r\n", policy},
		{"Connection: keep-alive\r\nKeep-Alive: timeout=99999999999999999999\r\n", policy},
		{"Connection: keep-alive\r\nKeep-Alive: max=5\r\n", policy},
		{"Connection: keep-alive\r\nKeep-Alive: timeout=-1, max=-1\r\n", policy},
		{"Connection: keep-alive\r\nKeep-Alive: timeout=5s\r\n", policy},
		{"Connection: keep-alive\r\nKeep-Alive: timeout\r\n", policy},
		{"Connection: keep-alive\r\nKeep-Alive: , ;=,\x80=\r\n", policy},
		{"Connection: keep-alive\r\nKeep-Alive:\r\n", policy},
		{"Keep-Alive: timeout=5, max=0\r\n", policy},
		{"Connection: keep-alive\r\nProxy-Connection: close\r\n", policy},
		{"Proxy-Connection: close\r\n", policy},
		{"", policy},
	} {
		t.Run(hint.fields, func(t *testing.T) {
			inMemory(t, func(p *pool.Policy) { p.MaxIdleTime = policy }, func(t *testing.T, r *rig) {
				least := hint.idle
				if least == policy { // less up to a tenth, by chance
					least -= policy / 10
				}
				if idle := r.idlesFor(hint.fields); idle < least || idle > hint.idle {
					t.Errorf("retired after %v, want %v", idle, hint.idle)
				}
			})
		})
	}
}

func TestAHintOfNothingLeftEndsTheConnectionWithItsAnswer(t *testing.T) {
	for _, hint := range []string{"timeout=0", "max=0", "timeout=0, max=0", "timeout=5, max=0", "timeout=1"} {
		t.Run(hint, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *rig) {
				if idle := r.idlesFor("Connection: keep-alive\r\nKeep-Alive: " + hint + "\r\n"); idle != 0 {
					t.Errorf("ended after %v, want at once", idle)
				}
				r.closed(pool.CloseMaxRequests, 1)
				r.serves()
			})
		})
	}
}

// The exchange that uses up what the server allows says so, and so the server
// closes first.
func TestTheLastExchangeThatTheServerAllowsSaysThatItIsTheLast(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		c := r.get("/1")
		peer := r.accept()
		if options := peer.options(); len(options) > 0 {
			t.Errorf("the first request says Connection: %q", options)
		}
		peer.saying("Connection: keep-alive\r\nKeep-Alive: timeout=60, max=2\r\n")
		c.answered("")
		for left := 1; left >= 0; left-- {
			c = r.get("/more")
			options := peer.options()
			if last := len(options) == 1 && options[0] == "close"; last != (left == 0) || len(options) > 1 {
				t.Errorf("with %d more allowed the request says Connection: %q", left, options)
			}
			peer.saying("Connection: keep-alive\r\nKeep-Alive: timeout=60, max=" + itoa(left) + "\r\n")
			c.answered("")
		}
		_ = peer.Close()
		r.closed(pool.CloseMaxRequests, 1)
		r.serves()
	})
}

// options reads a request and returns what it says in Connection.
func (p *peer) options() []string {
	p.tb.Helper()
	r := p.head()
	p.body(r)
	// net/http takes the field away and notes what it said.
	if r.Close {
		return []string{"close"}
	}
	return r.Header.Values("Connection")
}

func TestTheOwnLimitOfExchangesIsAnnouncedToo(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxRequests = 3 }, func(t *testing.T, r *rig) {
		var peer *peer
		for n := 1; n <= 3; n++ {
			c := r.get("/")
			if peer == nil {
				peer = r.accept()
			}
			if options := peer.options(); (len(options) == 1) != (n == 3) {
				t.Errorf("request %d of 3 says Connection: %q", n, options)
			}
			peer.ok("ok")
			c.answered("ok")
		}
		peer.finishedBy(t, pool.CloseMaxRequests, r)
		r.serves()
	})
}

func TestAConnectionThatACallerWantsClosedIsSaidToBeRequested(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		c := r.do(&pool.Request{Fields: []h1.Field{{Name: "Connection", Value: "close"}}})
		peer := r.accept()
		if options := peer.options(); len(options) != 1 || options[0] != "close" {
			t.Errorf("the request says Connection: %q", options)
		}
		peer.ok("ok")
		c.answered("ok")
		peer.finishedBy(t, pool.CloseRequested, r)
	})
}

// finishedBy lets the peer close first, as one that was told to does, and
// expects the reason that the pool notes.
func (p *peer) finishedBy(t *testing.T, why pool.CloseReason, r *rig) {
	t.Helper()
	synctest.Wait()
	if p.gone() {
		t.Error("the connection was closed before the peer had a chance to")
	}
	_ = p.CloseWrite()
	r.closed(why, 1)
	if !p.gone() {
		t.Error("the connection was not closed after the peer had closed")
	}
}

// No request carries an option of its caller's for the connection, and none
// asks for a connection to be kept: HTTP/1.1 keeps it anyway, and a proxy that
// forwards the field without understanding it would keep the upstream waiting
// (RFC 9112, C.2.2).
func TestNoRequestAsksForAConnectionToBeKept(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		var peer *peer
		for _, fields := range [][]h1.Field{
			nil,
			{{Name: "Connection", Value: "keep-alive"}},
			{{Name: "connection", Value: "Keep-Alive"}, {Name: "Keep-Alive", Value: "timeout=5"}},
			{{Name: "Proxy-Connection", Value: "keep-alive"}},
			{{Name: "PROXY-CONNECTION", Value: "close"}, {Name: "Connection", Value: "X-Mine, keep-alive"}, {Name: "X-Mine", Value: "1"}},
		} {
			c := r.do(&pool.Request{Fields: fields})
			if peer == nil {
				peer = r.accept()
			}
			head := peer.head()
			for _, name := range []string{"Connection", "Proxy-Connection", "Keep-Alive", "X-Mine"} {
				if values := head.Header[http.CanonicalHeaderKey(name)]; values != nil {
					t.Errorf("with %v the request says %s: %q", fields, name, values)
				}
			}
			if head.Close {
				t.Errorf("with %v the request says Connection: close", fields)
			}
			peer.ok("ok")
			c.answered("ok")
		}
	})
}
