package h1test

import (
	"context"
	"testing"
	"time"
)

// verbLimit bounds every verb of a [Script] and [Peer] that waits.
const verbLimit = 5 * time.Second

// Script drives an origin for one test: every verb that fails ends the test
// with what the origin saw and did so far. Its verbs and those of its peers are
// called from the test's own goroutine.
type Script struct {
	*Origin
	tb testing.TB
}

// Start opens an origin that is closed when the test ends.
func Start(tb testing.TB, t Transport) *Script {
	tb.Helper()
	o, err := Listen(t)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(o.Close)
	return &Script{Origin: o, tb: tb}
}

func (s *Script) must(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatalf("%v\n%v", err, s.Transcript())
	}
}

func limit() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), verbLimit)
}

// Accept takes the next connection.
func (s *Script) Accept() *Peer {
	s.tb.Helper()
	ctx, cancel := limit()
	defer cancel()
	c, err := s.Origin.Accept(ctx)
	s.must(err)
	return &Peer{Conn: c, s: s}
}

// Peer is one connection of a [Script].
type Peer struct {
	*Conn
	s *Script
}

// ReadRequest reads a request with its body.
func (p *Peer) ReadRequest() *Request {
	p.s.tb.Helper()
	ctx, cancel := limit()
	defer cancel()
	r, err := p.Conn.ReadRequest(ctx)
	p.s.must(err)
	return r
}

// ReadHead reads a request up to its empty line and then leaves the rest in the
// socket.
func (p *Peer) ReadHead() *Request {
	p.s.tb.Helper()
	ctx, cancel := limit()
	defer cancel()
	r, err := p.Conn.ReadHead(ctx)
	p.s.must(err)
	return r
}

// ReadBody reads the rest of the request's body.
func (p *Peer) ReadBody() {
	p.s.tb.Helper()
	ctx, cancel := limit()
	defer cancel()
	p.s.must(p.Conn.ReadBody(ctx))
}

// Send writes text, which the client may lose by closing.
func (p *Peer) Send(text string) {
	p.s.tb.Helper()
	ctx, cancel := limit()
	defer cancel()
	p.s.must(p.Conn.Send(ctx, []byte(text)))
}

// ExpectClosed waits until the client has closed, and says how.
func (p *Peer) ExpectClosed() End {
	p.s.tb.Helper()
	ctx, cancel := limit()
	defer cancel()
	end, err := p.Conn.ExpectClosed(ctx)
	p.s.must(err)
	return end
}

// ExpectNoData fails the test when a byte is there or comes within d.
func (p *Peer) ExpectNoData(d time.Duration) {
	p.s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	p.s.must(p.Conn.ExpectNoData(ctx))
}
