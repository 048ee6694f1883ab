package pool_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// patience bounds what never takes long. It is no measurement.
const patience = 10 * time.Second

// open makes a pool with one upstream on real sockets. It is closed when the
// test ends, and must then end in good time.
func open(tb testing.TB, url string, change func(*pool.Policy)) *pool.Upstream {
	tb.Helper()
	return openWith(tb, pool.Options{}, url, change)
}

func openWith(tb testing.TB, o pool.Options, url string, change func(*pool.Policy)) *pool.Upstream {
	tb.Helper()
	p := pool.New(o)
	policy := pool.DefaultPolicy("origin", url)
	policy.PeakMemory = 0 // connections are dialed for requests and the floor alone
	if change != nil {
		change(&policy)
	}
	u, err := p.Add(policy)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			tb.Errorf("closing: %v", err)
		}
	})
	return u
}

// origins opens a scripted origin and an upstream towards it.
func origins(t *testing.T, transport h1test.Transport, change func(*pool.Policy)) (*h1test.Script, *pool.Upstream) {
	t.Helper()
	origin := h1test.Start(t, transport)
	scheme := "http://"
	if transport == h1test.TLS {
		scheme = "https://"
	}
	u := open(t, scheme+origin.Addr(), func(p *pool.Policy) {
		p.TLS.RootCAs = x509.NewCertPool()
		p.TLS.RootCAs.AppendCertsFromPEM(origin.CA())
		if change != nil {
			change(p)
		}
	})
	t.Cleanup(origin.Close) // before the pool, which would wait for the origin to close
	return origin, u
}

// answer is what Do returned.
type answer struct {
	res *pool.Response
	err error
}

// ask sends a request in the background.
func ask(t *testing.T, u *pool.Upstream, req *pool.Request) <-chan answer {
	t.Helper()
	done := make(chan answer, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	go func() {
		defer cancel()
		res, err := u.Do(ctx, req)
		done <- answer{res, err}
	}()
	return done
}

func (a answer) mustBe(t *testing.T, body string) *pool.Response {
	t.Helper()
	if a.err != nil {
		t.Fatal(a.err)
	}
	if string(a.res.Body) != body {
		t.Fatalf("the response is %d %q, want %q", a.res.Status, a.res.Body, body)
	}
	return a.res
}

func (a answer) mustFail(t *testing.T, reason pool.Reason, delivery pool.Delivery) *pool.Error {
	t.Helper()
	e, ok := errors.AsType[*pool.Error](a.err)
	if !ok || e.Reason != reason || e.Delivery != delivery {
		t.Fatalf("got %+v, %v; want %v, %v", a.res, a.err, reason, delivery)
	}
	return e
}

const reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// transports plays a test on TCP and on TLS.
func transports(t *testing.T, test func(*testing.T, h1test.Transport)) {
	t.Run("tcp", func(t *testing.T) { test(t, h1test.Plain) })
	t.Run("tls", func(t *testing.T) { test(t, h1test.TLS) })
}

// The peer's end is in the socket when the request comes: whether the reader
// or the look before writing sees it first, nothing is written there, and not
// even a POST suffers.
func TestAnEndSeenBeforeWritingIsNotAnAttempt(t *testing.T) {
	ends := map[string]func(*h1test.Peer){
		"fin": func(p *h1test.Peer) { p.CloseFIN() },
		"rst": func(p *h1test.Peer) { p.CloseRST() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			transports(t, func(t *testing.T, transport h1test.Transport) {
				origin, u := origins(t, transport, nil)
				done := ask(t, u, &pool.Request{})
				for range 50 {
					peer := origin.Accept()
					peer.ReadRequest()
					peer.Send(reply)
					if res := (<-done).mustBe(t, "ok"); res.Receipt != nil && res.Receipt.Attempts != 1 {
						t.Fatalf("%d attempts", res.Receipt.Attempts)
					}
					end(peer)
					done = ask(t, u, &pool.Request{Method: "POST", Receipt: true})
				}
				peer := origin.Accept()
				peer.ReadRequest()
				peer.Send(reply)
				(<-done).mustBe(t, "ok")
				if s := u.Stats(); s.Retries != 0 {
					t.Errorf("%d retries", s.Retries)
				}
			})
		})
	}
}

func TestAStrayByteClosesAnIdleConnectionAtOnce(t *testing.T) {
	transports(t, func(t *testing.T, transport h1test.Transport) {
		origin, u := origins(t, transport, nil)
		done := ask(t, u, &pool.Request{})
		peer := origin.Accept()
		peer.ReadRequest()
		peer.Send(reply)
		(<-done).mustBe(t, "ok")
		peer.Send("x")
		peer.ExpectClosed()
		if n := u.Stats().Closed[pool.CloseUnsolicitedData]; n != 1 {
			t.Errorf("%d connections were closed for unsolicited data", n)
		}
	})
}

// A response may come, and end, before the request has been sent in full.
func TestAnEarlyResponseIsDeliveredWhileTheBodyIsWritten(t *testing.T) {
	for name, head := range map[string]string{
		"that closes":     "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
		"that stays open": "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig",
	} {
		t.Run(name, func(t *testing.T) {
			transports(t, func(t *testing.T, transport h1test.Transport) {
				origin, u := origins(t, transport, func(p *pool.Policy) { p.MaxBufferedBody = 64 << 20 })
				done := ask(t, u, &pool.Request{Method: "POST", Body: make([]byte, 32<<20)})
				peer := origin.Accept()
				peer.ReadHead()
				peer.Send(head)
				if res := (<-done).mustBe(t, "big"); res.Status != 413 {
					t.Errorf("status %d", res.Status)
				}
				peer.ExpectClosed() // what was not sent cannot be made up for

				done = ask(t, u, &pool.Request{})
				peer = origin.Accept()
				peer.ReadRequest()
				peer.Send(reply)
				(<-done).mustBe(t, "ok")
			})
		})
	}
}

// When the response's end and the request's nearly meet, either may be first;
// the connection is used again, and rightly.
func TestAResponseThatOvertakesTheEndOfItsRequestLeavesAGoodConnection(t *testing.T) {
	origin, u := origins(t, h1test.Plain, nil)
	body := make([]byte, 300<<10)
	var peer *h1test.Peer
	for range 30 {
		done := ask(t, u, &pool.Request{Method: "PUT", Body: body, Receipt: true})
		if peer == nil {
			peer = origin.Accept()
		}
		peer.ReadHead()
		peer.ReadBody()
		peer.Send(reply)
		(<-done).mustBe(t, "ok")
	}
	if n := origin.Opened(); n != 1 {
		t.Errorf("%d connections for 30 requests in a row\n%v", n, u.Stats().Closed)
	}
}

// silent accepts connections and does the same to each.
func silent(t *testing.T, with func(net.Conn)) (addr string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { with(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func TestAnUpstreamThatAcceptsAndClosesFailsTheRequest(t *testing.T) {
	addr := silent(t, func(c net.Conn) { _ = c.Close() })
	u := open(t, "http://"+addr, nil)
	for range 20 {
		a := <-ask(t, u, &pool.Request{Method: "POST"})
		e, ok := errors.AsType[*pool.Error](a.err)
		if !ok || e.Reason != pool.ReasonConnectionClosed && e.Reason != pool.ReasonConnectionReset {
			t.Fatalf("got %+v, %v", a.res, a.err)
		}
	}
	if s := u.Stats(); s.Active != 0 || s.Waiting != 0 {
		t.Errorf("left over: %d active, %d waiting", s.Active, s.Waiting)
	}
}

func TestAnUpstreamThatSpeaksFirstFailsTheRequest(t *testing.T) {
	addr := silent(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "220 mail.example ESMTP\r\n")
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	})
	u := open(t, "http://"+addr, nil)
	for range 20 {
		a := <-ask(t, u, &pool.Request{Method: "POST"})
		e, ok := errors.AsType[*pool.Error](a.err)
		if !ok || e.Reason != pool.ReasonMalformedResponse {
			t.Fatalf("got %+v, %v", a.res, a.err)
		}
	}
}

func TestAClosedPortIsRefusedWithItsAddress(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	e := (<-ask(t, open(t, "http://"+addr, nil), &pool.Request{})).mustFail(t, pool.ReasonDialRefused, pool.DeliveryNotSent)
	if e.Endpoint.String() != addr || !strings.Contains(e.Error(), addr) {
		t.Errorf("the failure is %v, at %v", e, e.Endpoint)
	}
}
