package h1test_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// habits are what can be wrong with a naive client. The zero value does what
// the cases played with it ask for.
type habits struct {
	retriesAll       bool // sends anything that failed once more
	retriesPartial   bool // sends it once more even when half the answer was read
	keepsDirty       bool // reuses a connection with bytes left over
	keepsClosing     bool // reuses whatever the answer says about persistence
	neverReuses      bool
	leaks            bool // forgets connections instead of closing them
	takesTruncated   bool // takes a body cut short for a whole one
	mergesTrailers   bool // into the headers
	hangs            bool // has no timeouts
	writesRaw        bool // writes method, path and fields as they come
	endsBodyWithCRLF bool
	swapsPipelined   bool // gives the first answer to the second call
	closesSilently   bool // over TLS without a closure alert
	keepsStale       bool // does not look at an idle connection before using it
	blamesServer     bool // calls every error malformed
	extraConnection  bool // opens a connection which it never uses
}

// naive is a small client with pipelining and one or more habits.
type naive struct {
	cfg h1test.Config
	habits

	mu    sync.Mutex
	freed sync.Cond
	conns []*naiveConn
	lost  []*naiveConn // leaked, closed with the client

	swapped h1test.Outcome // for the second call; handed over by naiveConn.last
}

type naiveConn struct {
	net.Conn
	raw  *net.TCPConn
	br   *bufio.Reader
	out  int           // calls on it
	last chan struct{} // closed when the last of them has ended
	dead bool
}

var naiveFeatures = h1test.Features{"tls": true, "pipelining": true}

func newNaive(h habits) h1test.NewClient {
	return func(cfg h1test.Config) (h1test.Client, error) {
		n := &naive{cfg: cfg, habits: h}
		n.freed.L = &n.mu
		if h.extraConnection {
			c, err := n.dial()
			if err != nil {
				return nil, err
			}
			n.lost = append(n.lost, c)
		}
		return n, nil
	}
}

func (n *naive) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range slices.Concat(n.conns, n.lost) {
		c.Close()
	}
}

func (n *naive) dial() (*naiveConn, error) {
	raw, err := net.Dial("tcp", n.cfg.Addr)
	if err != nil {
		return nil, err
	}
	c := &naiveConn{Conn: raw, raw: raw.(*net.TCPConn)}
	if n.cfg.TLS {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(n.cfg.CA)
		c.Conn = tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
	}
	c.br = bufio.NewReader(c.Conn)
	return c, nil
}

// stale looks whether anything but silence waits on an idle connection.
func (c *naiveConn) stale() bool {
	rc, err := c.raw.SyscallConn()
	if err != nil {
		return true
	}
	quiet := false
	err = rc.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err != nil || !quiet
}

// drop removes a connection from those that are used. Called with the lock.
func (n *naive) drop(c *naiveConn) {
	if c.dead {
		return
	}
	c.dead = true
	n.conns = slices.DeleteFunc(n.conns, func(o *naiveConn) bool { return o == c })
	switch {
	case n.leaks:
		n.lost = append(n.lost, c)
	case n.closesSilently:
		c.raw.Close()
	default:
		c.Close()
	}
	n.freed.Broadcast()
}

// acquire takes a place on a connection: before is closed when all calls ahead
// of it have ended, done is for the caller to close.
func (n *naive) acquire() (c *naiveConn, before, done chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		for _, c := range slices.Clone(n.conns) {
			if c.out == 0 && !n.keepsStale && !n.keepsDirty && c.stale() {
				n.drop(c)
			}
		}
		i := slices.IndexFunc(n.conns, func(c *naiveConn) bool { return c.out == 0 })
		if i < 0 && len(n.conns) < n.cfg.MaxConns {
			if c, err = n.dial(); err != nil {
				return nil, nil, nil, err
			}
			n.conns = append(n.conns, c)
			i = len(n.conns) - 1
		}
		if i < 0 {
			i = slices.IndexFunc(n.conns, func(c *naiveConn) bool { return c.out < n.cfg.Pipelining })
		}
		if i >= 0 {
			c, done = n.conns[i], make(chan struct{})
			before, c.last = c.last, done
			c.out++
			return c, before, done, nil
		}
		n.freed.Wait()
	}
}

func (n *naive) Do(ctx context.Context, call h1test.Call) h1test.Outcome { return n.Start(ctx, call)() }

func (n *naive) Start(ctx context.Context, call h1test.Call) func() h1test.Outcome {
	wait := n.attempt(ctx, call)
	return func() h1test.Outcome {
		o := wait()
		if o.Err == h1test.Closed && n.retriesAll || o.Err == h1test.Truncated && n.retriesPartial {
			o = n.attempt(ctx, call)()
		}
		if n.blamesServer && o.Err != h1test.NoError {
			o.Err = h1test.Malformed
		}
		return o
	}
}

func (n *naive) attempt(ctx context.Context, call h1test.Call) func() h1test.Outcome {
	head, err := n.head(call)
	if err != nil {
		return func() h1test.Outcome { return failure(h1test.Malformed, err) }
	}
	c, before, done, err := n.acquire()
	if err != nil {
		return func() h1test.Outcome { return failure(h1test.Closed, err) }
	}
	if !n.hangs {
		c.SetDeadline(time.Now().Add(n.cfg.HeaderTimeout))
	}
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	// A failed write shows again as the read fails.
	_, _ = c.Write(slices.Concat(head, call.Body))
	if n.endsBodyWithCRLF && len(call.Body) > 0 {
		_, _ = c.Write([]byte("\r\n"))
	}
	return func() h1test.Outcome {
		defer close(done)
		defer stop()
		if before != nil {
			<-before
		}
		var o h1test.Outcome
		keep := true
		if n.swapsPipelined && call.Path == "/2" {
			o = n.swapped
		} else {
			o, keep = n.read(c, call.Method)
		}
		if n.swapsPipelined && call.Path == "/1" {
			n.swapped = o
			o, keep = n.read(c, call.Method)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		c.out--
		if !keep {
			n.drop(c)
		}
		n.freed.Broadcast()
		return o
	}
}

// head writes a request head.
func (n *naive) head(call h1test.Call) ([]byte, error) {
	if !n.writesRaw && strings.ContainsAny(call.Path, " \r\n\x00") {
		return nil, errors.New("bad path")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", call.Method, call.Path, n.cfg.Addr)
	framed := false
	for _, h := range call.Headers {
		framing := strings.EqualFold(h[0], "Content-Length") || strings.EqualFold(h[0], "Transfer-Encoding")
		if framing && !n.writesRaw {
			continue
		}
		framed = framed || framing
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if !framed && (len(call.Body) > 0 || call.Method == "POST") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(call.Body))
	}
	b.WriteString("\r\n")
	return b.Bytes(), nil
}

func (n *naive) read(c *naiveConn, method string) (o h1test.Outcome, keep bool) {
	if _, err := c.br.Peek(1); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return failure(h1test.Timeout, err), false
		}
		return failure(h1test.Closed, err), false
	}
	var res *http.Response
	for res == nil || res.StatusCode < 200 && res.StatusCode != 101 {
		var err error
		if res, err = http.ReadResponse(c.br, &http.Request{Method: method}); err != nil {
			return failure(naiveKind(err, h1test.Malformed), err), false
		}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil && !n.takesTruncated {
		return failure(naiveKind(err, h1test.Truncated), err), false
	}
	o = h1test.Outcome{Status: res.StatusCode, Headers: pairs(res.Header), Trailers: pairs(res.Trailer), Body: body}
	if n.mergesTrailers {
		o.Headers = append(o.Headers, o.Trailers...)
	}
	left := c.br.Buffered() > 0
	c.SetDeadline(time.Time{})
	delimited := res.ContentLength >= 0 || len(res.TransferEncoding) > 0
	switch {
	case err != nil || n.neverReuses:
		return o, false
	case n.keepsClosing:
		return o, true
	}
	return o, delimited && !res.Close && (n.keepsDirty || n.cfg.Pipelining > 1 || !left)
}

func naiveKind(err error, other h1test.ErrorKind) h1test.ErrorKind {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return h1test.Timeout
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return h1test.Truncated
	}
	return other
}
