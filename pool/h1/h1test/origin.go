package h1test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
)

// Transport is what an origin speaks below HTTP.
type Transport uint8

// Plain is TCP, TLS is TLS 1.2 or 1.3 over it with a certificate made in process.
const (
	Plain Transport = iota
	TLS
)

// receiveBuffer is the kernel's receive buffer of a connection. With the
// default, several MiB of a request vanish into it and a client never notices
// that nobody reads.
const receiveBuffer = 65536

// Origin accepts connections on 127.0.0.1 and leaves everything else to its
// user. Accepted connections wait, in order, until they are taken.
type Origin struct {
	log      *Transcript
	listener net.Listener
	tls      *tls.Config // nil for plain TCP
	ca       []byte
	stop     context.CancelFunc
	ctx      context.Context // ends with Close
	running  sync.WaitGroup  // the accept loop and one reader per connection

	// stray is called, without the lock, from a connection's reader for each
	// request that comes in while the connection is draining. Set before the
	// first connection.
	stray func(*Conn, *Request, error)

	mu       sync.Mutex // guards what follows and the state of every Conn
	changed  chan struct{}
	conns    []*Conn // all, in the order of accept
	waiting  []*Conn // accepted, not taken
	heads    []head  // every request head, in the order of arrival
	draining bool    // connections accepted from now on drain
}

// head is one request head that came in.
type head struct {
	conn           *Conn
	method, target string
}

// Listen opens an origin.
func Listen(t Transport) (*Origin, error) {
	o := &Origin{log: newTranscript(), changed: make(chan struct{})}
	if t == TLS {
		id, err := ownIdentity()
		if err != nil {
			return nil, err
		}
		o.ca = id.pem
		o.tls = &tls.Config{Certificates: []tls.Certificate{id.cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var opt error
		err := rc.Control(func(fd uintptr) {
			opt = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
		})
		return errors.Join(err, opt)
	}}
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("h1test: origin: %w", err)
	}
	o.listener = l
	o.ctx, o.stop = context.WithCancel(context.Background())
	o.running.Go(o.accept)
	return o, nil
}

// Addr is 127.0.0.1:port.
func (o *Origin) Addr() string { return o.listener.Addr().String() }

// CA is the PEM of the certificate to trust, nil on a plain origin.
func (o *Origin) CA() []byte { return o.ca }

// Transcript is what has happened so far.
func (o *Origin) Transcript() *Transcript { return o.log }

// Close ends every connection and returns when nothing runs any more.
func (o *Origin) Close() {
	o.stop()
	_ = o.listener.Close()
	o.mu.Lock()
	conns := slices.Clone(o.conns)
	o.mu.Unlock()
	for _, c := range conns {
		_ = c.raw.Close()
	}
	o.running.Wait()
}

func (o *Origin) accept() {
	for {
		nc, err := o.listener.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		c := newConn(o, len(o.conns), nc.(*net.TCPConn))
		c.draining = o.draining
		o.conns = append(o.conns, c)
		o.waiting = append(o.waiting, c)
		o.log.add("c%d  open", c.id)
		o.notify()
		o.mu.Unlock()
		if o.ctx.Err() != nil {
			_ = nc.Close() // accepted while Close was collecting
		}
		o.running.Go(c.read)
	}
}

// notify wakes every await. Called with the lock.
func (o *Origin) notify() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// await returns nil as soon as cond, called with the lock, holds; or why ctx
// ended. A condition that holds wins over a context that has ended.
func (o *Origin) await(ctx context.Context, cond func() bool) error {
	for {
		o.mu.Lock()
		ok, changed := cond(), o.changed
		o.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Accept takes the next connection.
func (o *Origin) Accept(ctx context.Context) (*Conn, error) {
	var c *Conn
	err := o.await(ctx, func() bool {
		if len(o.waiting) == 0 {
			return false
		}
		c = o.waiting[0]
		o.waiting = o.waiting[1:]
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("no new connection: %w", err)
	}
	return c, nil
}

// Opened is the number of connections accepted so far.
func (o *Origin) Opened() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

// take removes a connection from those that wait. Called with the lock.
func (o *Origin) take(c *Conn) {
	o.waiting = slices.DeleteFunc(o.waiting, func(w *Conn) bool { return w == c })
}

// seen counts the requests with that method and target.
func (o *Origin) seen(method, target string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seenLocked(method, target)
}

func (o *Origin) seenLocked(method, target string) int {
	n := 0
	for _, h := range o.heads {
		if h.method == method && h.target == target {
			n++
		}
	}
	return n
}
