package pool_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// network is a network in memory, for tests inside a synctest bubble: nothing
// of it waits for anything but the test and the engine. A dial waits until the
// test has decided about it, and what then stands is a pair of bounded streams
// whose other end, a peer, does what the test says.
type network struct {
	tb    testing.TB
	dials chan *dial
}

func newNetwork(tb testing.TB) *network { return &network{tb: tb, dials: make(chan *dial, 1000)} }

// dial is one attempt to connect.
type dial struct {
	n       *network
	address string
	outcome chan error // nil: the connection stands
	conn    *end
	peer    *peer
}

// Dial is for pool.Options.
func (n *network) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	there, back := newStream(), newStream()
	addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
	d := &dial{n: n, address: address, outcome: make(chan error, 1)}
	d.conn = &end{in: back, out: there, remote: addr}
	d.peer = newPeer(n.tb, &end{in: there, out: back, remote: addr})
	n.dials <- d
	select {
	case err := <-d.outcome:
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: err}
		}
		return d.conn, nil
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: ctx.Err()}
	}
}

// next waits for a dial.
func (n *network) next() *dial { return <-n.dials }

// accept waits for a dial and lets it succeed.
func (n *network) accept() *peer { return n.next().accept() }

// quiet fails the test when a dial is waiting.
func (n *network) quiet() {
	n.tb.Helper()
	select {
	case d := <-n.dials:
		n.tb.Errorf("%s is dialed", d.address)
	default:
	}
}

func (d *dial) accept() *peer {
	d.outcome <- nil
	return d.peer
}

func (d *dial) refuse() { d.outcome <- os.NewSyscallError("connect", syscall.ECONNREFUSED) }

// streamRoom is how much a stream holds that nobody has read.
const streamRoom = 64 << 10

// stream is one direction of a connection.
type stream struct {
	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte
	finished bool  // the writer sends no more
	broken   error // reset: what both sides are told
	unread   bool  // the reader is gone: what is written vanishes
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

func (s *stream) change(f func()) {
	s.mu.Lock()
	f()
	s.mu.Unlock()
	s.changed.Broadcast()
}

// end is one side of a connection.
type end struct {
	in, out *stream
	remote  net.Addr
	closed  bool // guarded by in.mu
}

func (e *end) Read(p []byte) (int, error) {
	s := e.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, net.ErrClosed
		case s.broken != nil:
			return 0, s.broken
		case len(s.buf) > 0:
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			s.changed.Broadcast()
			return n, nil
		case s.finished:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (e *end) Write(p []byte) (int, error) {
	s := e.out
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for {
		switch {
		case s.broken != nil:
			return written, s.broken
		case s.finished:
			return written, net.ErrClosed
		case s.unread:
			return len(p), nil
		case written == len(p):
			return written, nil
		}
		if room := min(streamRoom-len(s.buf), len(p)-written); room > 0 {
			s.buf = append(s.buf, p[written:written+room]...)
			written += room
			s.changed.Broadcast()
			continue
		}
		s.changed.Wait()
	}
}

// CloseWrite sends FIN.
func (e *end) CloseWrite() error {
	e.out.change(func() { e.out.finished = true })
	return nil
}

func (e *end) Close() error {
	_ = e.CloseWrite()
	e.in.change(func() { e.closed, e.in.unread = true, true })
	return nil
}

// reset ends both directions at once, what is on the way included.
func (e *end) reset() {
	for _, s := range []*stream{e.in, e.out} {
		s.change(func() { s.broken, s.buf = os.NewSyscallError("read", syscall.ECONNRESET), nil })
	}
}

func (e *end) LocalAddr() net.Addr              { return e.remote }
func (e *end) RemoteAddr() net.Addr             { return e.remote }
func (e *end) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (e *end) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (e *end) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// peer is the server's side of a connection. Every verb waits for the engine
// as long as it takes: a test in which it never comes ends with synctest's
// report of what waits for what.
type peer struct {
	*end
	tb testing.TB
	r  *bufio.Reader
}

func newPeer(tb testing.TB, e *end) *peer { return &peer{end: e, tb: tb, r: bufio.NewReader(e)} }

// head reads a request up to its body.
func (p *peer) head() *http.Request {
	p.tb.Helper()
	r, err := http.ReadRequest(p.r)
	if err != nil {
		p.tb.Fatalf("the peer read no request: %v", err)
	}
	return r
}

// body reads the body of a request.
func (p *peer) body(r *http.Request) string {
	p.tb.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		p.tb.Fatalf("the peer read %d bytes of a body: %v", len(b), err)
	}
	return string(b)
}

// request reads a request and returns its path.
func (p *peer) request() string {
	p.tb.Helper()
	r := p.head()
	p.body(r)
	return r.URL.Path
}

func (p *peer) send(text string) {
	p.tb.Helper()
	if _, err := p.Write([]byte(text)); err != nil {
		p.tb.Fatalf("the peer could not send %q: %v", text, err)
	}
}

// ok answers 200 with a body.
func (p *peer) ok(body string) {
	p.tb.Helper()
	p.send("HTTP/1.1 200 OK\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body)
}

// echo reads requests and answers each with its path, until the connection ends.
func (p *peer) echo() {
	for {
		r, err := http.ReadRequest(p.r)
		if err != nil {
			_ = p.Close()
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if _, err := p.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: " + itoa(len(r.URL.Path)) + "\r\n\r\n" + r.URL.Path)); err != nil {
			return
		}
	}
}

// finished waits until the engine sends no more.
func (p *peer) finished() {
	p.tb.Helper()
	if b, err := io.ReadAll(p.r); err != nil || len(b) > 0 {
		p.tb.Fatalf("the peer waited for the end and got %q, %v", b, err)
	}
}

// pending reports whether the engine has sent what was not read yet.
func (p *peer) pending() bool {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	return len(p.in.buf) > 0
}

// gone reports whether the engine has closed the connection altogether.
func (p *peer) gone() bool {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.unread
}
