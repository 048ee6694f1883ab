package h1test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// End says how the client's side of a connection ended.
type End uint8

// Open has not ended. Notified is a TLS closure alert, Finished a FIN (over TLS
// one without an alert), Aborted a reset or a TLS failure. Local was ended here.
const (
	Open End = iota
	Notified
	Finished
	Aborted
	Local
)

func (e End) String() string {
	switch e {
	case Open:
		return "open"
	case Notified:
		return "closed by the client with close_notify"
	case Finished:
		return "closed by the client"
	case Aborted:
		return "reset by the client"
	case Local:
		return "closed by the origin"
	}
	return fmt.Sprintf("End(%d)", uint8(e))
}

// readAhead is how much is taken from the socket before anybody asks for it.
const readAhead = 64 << 10

// Conn is one accepted connection. A reader takes in what the client sends;
// the verbs consume it. One goroutine at a time calls the verbs.
type Conn struct {
	o    *Origin
	id   int
	raw  *net.TCPConn
	rw   net.Conn      // raw, or TLS over it
	tap  *tap          // nil on a plain connection
	done chan struct{} // closed when the reader has ended

	// Guarded by o.mu.
	buf      []byte // received and not consumed
	received int64
	sent     bool     // the script wrote to it
	request  *Request // the last one taken from buf; its body may still be coming
	bad      error    // why no further request can be taken from buf
	end      End
	closed   bool // the script has closed its side
	paused   bool // nothing is read from the socket
	greedy   bool // read-ahead has no limit
	draining bool // requests go to o.stray as they come
}

func newConn(o *Origin, id int, raw *net.TCPConn) *Conn {
	c := &Conn{o: o, id: id, raw: raw, rw: raw, done: make(chan struct{})}
	if o.tls != nil {
		c.tap = &tap{Conn: raw}
		c.rw = tls.Server(c.tap, o.tls)
	}
	return c
}

// tap notes the end of the TCP stream: crypto/tls reports a closure alert and
// an end without one as the same io.EOF.
type tap struct {
	net.Conn
	eof bool // of the reader's goroutine
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		t.eof = true
	}
	return n, err
}

func (c *Conn) read() {
	defer close(c.done)
	if t, ok := c.rw.(*tls.Conn); ok {
		if err := t.HandshakeContext(c.o.ctx); err != nil {
			c.o.log.add("c%d  TLS handshake: %v", c.id, err)
			c.ended(Aborted)
			return
		}
	}
	p := make([]byte, 32<<10)
	for {
		err := c.o.await(c.o.ctx, func() bool {
			bodyComing := c.request != nil && !c.request.Complete
			return c.end != Open || !c.paused && (c.greedy || c.draining || bodyComing || len(c.buf) < readAhead)
		})
		if err != nil {
			c.ended(Local)
			return
		}
		n, err := c.rw.Read(p)
		if n > 0 {
			c.arrived(p[:n])
		}
		if err != nil {
			c.ended(c.classify(err))
			return
		}
	}
}

func (c *Conn) classify(err error) End {
	switch {
	case errors.Is(err, net.ErrClosed):
		return Local
	case errors.Is(err, io.EOF) && c.tap != nil && !c.tap.eof:
		return Notified
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Finished
	case errors.Is(err, syscall.ECONNRESET):
		return Aborted
	}
	c.o.log.add("c%d  read: %v", c.id, err)
	return Aborted
}

func (c *Conn) ended(e End) {
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	if c.end == Open {
		c.end = e
		c.o.log.add("c%d  %v", c.id, e)
	}
	c.o.notify()
}

func (c *Conn) arrived(p []byte) {
	c.o.mu.Lock()
	c.received += int64(len(p))
	if c.paused || c.request == nil || c.request.Complete {
		c.o.log.add("c%d  < %s", c.id, quote(p))
	}
	c.buf = append(c.buf, p...)
	strays, err := c.consume()
	c.o.notify()
	c.o.mu.Unlock()
	c.handOver(strays, err)
}

// consume moves body bytes from the buffer to the request they belong to and,
// when draining, takes every further request. Called with the lock.
func (c *Conn) consume() (strays []*Request, err error) {
	for !c.paused && c.bad == nil {
		if r := c.request; r != nil && !r.Complete {
			n, err := r.feed(c.buf)
			c.buf = c.buf[n:]
			if err != nil {
				c.bad = err
				return strays, err
			}
			if !r.Complete {
				return strays, nil
			}
			c.o.log.add("c%d  < body complete, %d bytes", c.id, len(r.Body))
		}
		if !c.draining {
			return strays, nil
		}
		r, err := c.takeHead()
		if r == nil {
			return strays, err
		}
		strays = append(strays, r)
	}
	if c.bad != nil {
		c.buf = nil
	}
	return strays, nil
}

// takeHead takes the next request head, nil when there is none yet. Called with
// the lock, and only when no body is outstanding.
func (c *Conn) takeHead() (*Request, error) {
	if c.bad != nil {
		return nil, c.bad
	}
	r, n, err := parseHead(c.buf)
	if err != nil {
		c.bad = err
		return nil, err
	}
	if r == nil {
		return nil, nil
	}
	c.buf = c.buf[n:]
	c.request = r
	c.o.heads = append(c.o.heads, head{c, r.Method, r.Target})
	return r, nil
}

func (c *Conn) handOver(strays []*Request, err error) {
	if c.o.stray == nil {
		return
	}
	for _, r := range strays {
		c.o.stray(c, r, nil)
	}
	if err != nil {
		c.o.stray(c, nil, err)
	}
}

// drain hands every request from now on to the origin's stray handler.
func (c *Conn) drain() {
	c.o.mu.Lock()
	c.draining, c.paused = true, false
	strays, err := c.consume()
	c.o.notify()
	c.o.mu.Unlock()
	c.handOver(strays, err)
}

// resume takes reading up again.
func (c *Conn) resume() {
	c.o.mu.Lock()
	c.paused = false
	strays, err := c.consume()
	c.o.notify()
	c.o.mu.Unlock()
	c.handOver(strays, err)
}

// PauseReading leaves what comes in the socket, but for at most 32 KiB, until a
// reading verb is called.
func (c *Conn) PauseReading() {
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	c.paused = true
}

// hasHead says whether ReadHead can answer at once, be it with an error. Called
// with the lock.
func (c *Conn) hasHead() bool {
	if c.request != nil && !c.request.Complete {
		return c.bad != nil
	}
	if c.bad != nil {
		return true
	}
	r, _, err := parseHead(c.buf)
	return r != nil || err != nil
}

// ReadHead reads a request up to its empty line, behind the rest of the body of
// the one before, and then pauses.
func (c *Conn) ReadHead(ctx context.Context) (*Request, error) {
	c.resume()
	var r *Request
	var bad error
	err := c.o.await(ctx, func() bool {
		if c.hasHead() {
			if r, bad = c.takeHead(); r != nil {
				c.paused = true
				c.o.log.add("c%d  read request %s %s", c.id, quote(r.Method), quote(r.Target))
			}
			return true
		}
		return c.end != Open
	})
	switch {
	case bad != nil:
		return nil, fmt.Errorf("c%d: request cannot be read: %w", c.id, bad)
	case r != nil:
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("c%d: no request: %w", c.id, err)
	}
	return nil, fmt.Errorf("c%d: no request: %v", c.id, c.Ended())
}

// ReadBody reads the rest of the body of the last request.
func (c *Conn) ReadBody(ctx context.Context) error {
	c.resume()
	err := c.o.await(ctx, func() bool {
		return c.request == nil || c.request.Complete || c.bad != nil || c.end != Open
	})
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	switch {
	case c.request == nil:
		return fmt.Errorf("c%d: no request to read a body of", c.id)
	case c.request.Complete:
		return nil
	case c.bad != nil:
		return fmt.Errorf("c%d: request cannot be read: %w", c.id, c.bad)
	case err != nil:
		return fmt.Errorf("c%d: request body stops after %d bytes: %w", c.id, len(c.request.Body), err)
	}
	return fmt.Errorf("c%d: request body ends after %d bytes: %v", c.id, len(c.request.Body), c.end)
}

// ReadRequest reads a request with its body.
func (c *Conn) ReadRequest(ctx context.Context) (*Request, error) {
	r, err := c.ReadHead(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.ReadBody(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// ExpectNoData fails when a byte is there or comes before ctx ends.
func (c *Conn) ExpectNoData(ctx context.Context) error {
	c.resume()
	c.o.mu.Lock()
	before := c.received - int64(len(c.buf))
	c.o.mu.Unlock()
	var got []byte
	err := c.o.await(ctx, func() bool {
		got = c.buf
		return c.received > before
	})
	if err == nil {
		return fmt.Errorf("c%d: the client sent %s where nothing may come", c.id, quote(got))
	}
	return nil
}

// ExpectClosed waits until the client has closed.
func (c *Conn) ExpectClosed(ctx context.Context) (End, error) {
	c.resume()
	c.o.mu.Lock()
	c.greedy = true
	c.o.notify()
	c.o.mu.Unlock()
	if err := c.o.await(ctx, func() bool { return c.end != Open }); err != nil {
		return Open, fmt.Errorf("c%d: the client does not close: %w", c.id, err)
	}
	return c.Ended(), nil
}

// Ended is how the client's side has ended, Open when it has not.
func (c *Conn) Ended() End {
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	return c.end
}

// Send writes p. When ctx ends first, or the connection is closed, part of it
// may have been sent, and nothing can be sent any more.
func (c *Conn) Send(ctx context.Context, p []byte) error {
	c.o.mu.Lock()
	c.sent = true
	c.o.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = c.raw.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := c.rw.Write(p)
	if err != nil {
		c.o.log.add("c%d  > %d of %d bytes: %v", c.id, n, len(p), err)
		return fmt.Errorf("c%d: send: %w", c.id, err)
	}
	c.o.log.add("c%d  > %s", c.id, quote(p))
	return nil
}

// CloseFIN sends FIN, over TLS without a closure alert, and goes on reading.
func (c *Conn) CloseFIN() { c.closing("FIN", func() error { return c.raw.CloseWrite() }) }

// CloseNotify sends a TLS closure alert and FIN and goes on reading.
func (c *Conn) CloseNotify() {
	c.closing("close_notify, FIN", func() error {
		if t, ok := c.rw.(*tls.Conn); ok {
			if err := t.CloseWrite(); err != nil {
				c.o.log.add("c%d  close_notify: %v", c.id, err)
			}
		}
		return c.raw.CloseWrite()
	})
}

// CloseRST resets the connection. It is gone when CloseRST returns.
func (c *Conn) CloseRST() {
	c.closing("RST", func() error { return errors.Join(c.raw.SetLinger(0), c.raw.Close()) })
	<-c.done
}

func (c *Conn) closing(how string, do func() error) {
	c.o.mu.Lock()
	c.closed = true
	c.o.log.add("c%d  > %s", c.id, how)
	c.o.mu.Unlock()
	// A connection that the client has closed already needs no more.
	if err := do(); err != nil {
		c.o.log.add("c%d  close: %v", c.id, err)
	}
	c.drain()
}
