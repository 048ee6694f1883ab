package pool_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// smallRequest and smallReply are the exchange that allocations and time are
// measured with.
var (
	smallRequest = pool.Request{Path: "/items/42?full=1", Fields: []h1.Field{
		{Name: "Accept", Value: "application/json"}, {Name: "X-Request-Id", Value: "0123456789abcdef"},
	}}
	smallReply = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: 0123456789abcdef\r\n" +
		"Content-Length: 128\r\n\r\n" + string(bytes.Repeat([]byte("x"), 128)))
)

// replies answers every request head that comes with smallReply, and allocates
// nothing in between. Request heads must come whole, which they do from the
// pool on loopback and in memory.
func replies(c net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		for range bytes.Count(buf[:n], []byte("\r\n\r\n")) {
			if _, err := c.Write(smallReply); err != nil {
				return
			}
		}
		if err != nil {
			_ = c.Close()
			return
		}
	}
}

func loopback(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { replies(c) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

func fixed(p *pool.Policy) { p.Endpoints = []netip.AddrPort{endpointOne} }

// BenchmarkDo is the engine's hit path: a small request on a warm connection.
// On loopback the peer's and the kernel's time is included, in memory neither.
func BenchmarkDo(b *testing.B) {
	for _, conns := range []int{1, 64} {
		warm := func(p *pool.Policy) { p.Max, p.MaxDialing, p.Warm = conns, conns, conns }
		b.Run(fmt.Sprintf("peer=loopback/conns=%d", conns), func(b *testing.B) {
			benchmarkDo(b, open(b, loopback(b), warm), conns)
		})
		b.Run(fmt.Sprintf("peer=memory/conns=%d", conns), func(b *testing.B) {
			benchmarkDo(b, openWith(b, pool.Options{Dial: dialShortcut}, "http://origin.test", func(p *pool.Policy) {
				fixed(p)
				warm(p)
			}), conns)
		})
	}
}

func benchmarkDo(b *testing.B, u *pool.Upstream, callers int) {
	b.Helper()
	for range 100 { // everything that is kept has been made
		if _, err := u.Do(b.Context(), &smallRequest); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(smallReply)))
	if callers == 1 {
		for b.Loop() {
			if _, err := u.Do(b.Context(), &smallRequest); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := u.Do(b.Context(), &smallRequest); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
}

// shortcut is a connection in memory whose peer answers within Write, so that
// nothing but the engine costs time.
type shortcut struct {
	mu      sync.Mutex
	changed sync.Cond
	owed    int    // replies of which nothing was read
	left    []byte // of the reply being read
	closed  bool
}

func dialShortcut(context.Context, string, string) (net.Conn, error) {
	s := &shortcut{}
	s.changed.L = &s.mu
	return s, nil
}

func (s *shortcut) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	s.owed += bytes.Count(p, []byte("\r\n\r\n"))
	s.changed.Signal()
	return len(p), nil
}

func (s *shortcut) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.left) == 0 && s.owed == 0 && !s.closed {
		s.changed.Wait()
	}
	switch {
	case len(s.left) > 0:
	case s.owed > 0:
		s.owed--
		s.left = smallReply
	default:
		return 0, io.EOF
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

func (s *shortcut) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.changed.Signal()
	return nil
}

func (s *shortcut) LocalAddr() net.Addr              { return nil }
func (s *shortcut) RemoteAddr() net.Addr             { return nil }
func (s *shortcut) SetDeadline(time.Time) error      { return nil }
func (s *shortcut) SetReadDeadline(time.Time) error  { return nil }
func (s *shortcut) SetWriteDeadline(time.Time) error { return nil }
