package pool_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// onSockets is an upstream at a scripted origin. The channel is told of every
// connection that has ended; the function closes the pool.
func onSockets(t *testing.T, transport h1test.Transport, change func(*pool.Policy)) (*h1test.Script, *pool.Upstream, <-chan pool.CloseReason, func()) {
	t.Helper()
	origin := h1test.Start(t, transport)
	ends := make(chan pool.CloseReason, 100)
	p := pool.New(pool.Options{Observer: pool.Observer{ConnectionClosed: func(_ pool.ConnectionInfo, why pool.CloseReason) { ends <- why }}})
	policy := pool.DefaultPolicy("origin", "http://"+origin.Addr())
	policy.PeakMemory = 0 // connections are dialed for requests alone
	if transport == h1test.TLS {
		policy.URL = "https://" + origin.Addr()
		policy.TLS.RootCAs = x509.NewCertPool()
		policy.TLS.RootCAs.AppendCertsFromPEM(origin.CA())
	}
	if change != nil {
		change(&policy)
	}
	u, err := p.Add(policy)
	if err != nil {
		t.Fatal(err)
	}
	closing := func() {
		if err := p.Close(ended()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(closing)
	return origin, u, ends, closing
}

// exchange sends one request, which the peer answers; without a peer the next
// one is accepted.
func exchange(t *testing.T, origin *h1test.Script, u *pool.Upstream, peer *h1test.Peer) *h1test.Peer {
	t.Helper()
	over := make(chan error, 1)
	go func() {
		_, err := u.Do(context.Background(), &pool.Request{})
		over <- err
	}()
	if peer == nil {
		peer = origin.Accept()
	}
	peer.ReadRequest()
	peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	return peer
}

// The peer sees an end, not a reset, even when it has just sent something; over
// TLS the closure alert comes first (RFC 9112, 9.8).
func TestRetirementIsAnEndAndNotAReset(t *testing.T) {
	for _, test := range []struct {
		name      string
		transport h1test.Transport
		want      h1test.End
		late      string // what the peer still sends after it
	}{
		{"plain", h1test.Plain, h1test.Finished, ""},
		{"plain, with late bytes", h1test.Plain, h1test.Finished, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"},
		{"TLS", h1test.TLS, h1test.Notified, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			origin, u, ends, _ := onSockets(t, test.transport, func(p *pool.Policy) { p.MaxIdleTime = 50 * time.Millisecond })
			peer := exchange(t, origin, u, nil)
			if end := peer.ExpectClosed(); end != test.want {
				t.Errorf("%v, want %v", end, test.want)
			}
			if test.late != "" {
				peer.Send(test.late)
			}
			peer.CloseNotify() // on a plain connection FIN
			if why := <-ends; why != pool.CloseIdleTimeout {
				t.Errorf("closed for %v", why)
			}
			if end := peer.Ended(); end != test.want {
				t.Errorf("after the peer had closed, too: %v, want %v", end, test.want)
			}
		})
	}
}

// Whose FIN was first holds the port for a minute, whoever closes afterwards.
func TestTheOwnFINIsCountedAsTimeWait(t *testing.T) {
	timeWait := func(u *pool.Upstream) (n int) {
		for _, use := range u.Stats().Ports {
			n += use.TimeWait
		}
		return n
	}
	t.Run("retired", func(t *testing.T) {
		origin, u, ends, finish := onSockets(t, h1test.Plain, func(p *pool.Policy) { p.MaxIdleTime = 50 * time.Millisecond })
		peer := exchange(t, origin, u, nil)
		peer.ExpectClosed()
		peer.CloseFIN()
		<-ends
		finish()
		if n := timeWait(u); n != 1 {
			t.Errorf("%d ports are counted as held, want 1", n)
		}
	})
	t.Run("closed by the peer", func(t *testing.T) {
		origin, u, ends, finish := onSockets(t, h1test.Plain, nil)
		peer := exchange(t, origin, u, nil)
		peer.CloseFIN()
		<-ends
		finish()
		if n := timeWait(u); n != 0 {
			t.Errorf("%d ports are counted as held, want none", n)
		}
	})
	t.Run("closed by the peer that was asked to", func(t *testing.T) {
		origin, u, ends, finish := onSockets(t, h1test.Plain, func(p *pool.Policy) { p.MaxRequests = 2 })
		peer := exchange(t, origin, u, exchange(t, origin, u, nil))
		peer.CloseFIN()
		<-ends
		finish()
		if n := timeWait(u); n != 0 {
			t.Errorf("%d ports are counted as held, want none", n)
		}
	})
}

// On drain every connection that still carries requests tells the peer which one
// is its last, as long as requests wait for it.
func TestTheLastRequestOfEachConnectionSaysSoOnDrain(t *testing.T) {
	const connections, waiting = 4, 8
	inMemory(t, func(p *pool.Policy) { p.Max, p.MaxWait = connections, time.Minute }, func(t *testing.T, r *rig) {
		peers := r.connected(connections)
		var calls []*call
		for range connections + waiting {
			calls = append(calls, r.get("/"))
		}
		r.numbers(connections, 0, 0, waiting)
		r.pool.Drain()
		var served, last atomic.Int32
		for _, p := range peers {
			go func() {
				for {
					head, err := http.ReadRequest(p.r)
					if err != nil {
						return
					}
					served.Add(1)
					time.Sleep(time.Second) // all at once, so that the connections keep step
					p.ok("ok")
					if head.Close {
						last.Add(1)
						_ = p.Close()
						return
					}
				}
			}()
		}
		for _, c := range calls {
			c.answered("ok")
		}
		if served.Load() != connections+waiting || last.Load() != connections {
			t.Errorf("%d requests came, %d connections were told of their last; want %d and %d", served.Load(), last.Load(), connections+waiting, connections)
		}
		r.numbers(0, 0, 0, 0)
		r.closed(pool.CloseShutdown, connections)

		// One that comes later has a connection for itself.
		c := r.get("/late")
		peer := r.accept()
		if options := peer.options(); len(options) != 1 {
			t.Errorf("a late request says Connection: %q, want close", options)
		}
		peer.ok("late")
		c.answered("late")
		_ = peer.Close()
		r.closed(pool.CloseShutdown, connections+1)
	})
}

// A connection that only waits for its peer to close as well does not keep a
// request waiting that could have another in its place.
func TestARetiringConnectionGivesUpItsPlaceToWhoWaits(t *testing.T) {
	for name, retire := range map[string]func(*testing.T, *rig){
		"by the server's word": func(_ *testing.T, r *rig) {
			c := r.get("/")
			peer := r.accept()
			peer.request()
			peer.saying("Connection: keep-alive\r\nKeep-Alive: max=0\r\n")
			c.answered("")
		},
		"after its time": func(_ *testing.T, r *rig) {
			r.connected(1)
			time.Sleep(10 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(p *pool.Policy) { p.Max, p.MaxIdleTime = 1, 10*time.Second }, func(t *testing.T, r *rig) {
				retire(t, r)
				synctest.Wait()
				c := r.get("/next")
				r.accept().echo()
				c.answered("/next")
				c.after(0)
			})
		})
	}
}
