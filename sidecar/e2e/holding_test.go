package e2e

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"

	"github.com/warmpool-dev/warmpool/pool"
)

// holding is a server in this process that holds requests until they are let go, and closes its connections only when
// it is told to.
type holding struct {
	addr netip.AddrPort

	mu      sync.Mutex
	changed sync.Cond
	held    int
	free    bool
	last    int // requests that said Connection: close
	from    map[netip.Addr]int
}

func startHolding(t *testing.T) *holding {
	t.Helper()
	l, err := net.Listen("tcp", loopback(freePort(t))) // not one of the ports that are counted
	if err != nil {
		t.Fatal(err)
	}
	h := &holding{addr: netip.MustParseAddrPort(l.Addr().String()), from: make(map[netip.Addr]int)}
	h.changed.L = &h.mu
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		h.let(true)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return h
}

func (h *holding) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held++
	h.from[netip.MustParseAddrPort(r.RemoteAddr).Addr()]++
	if r.Close {
		h.last++
	}
	h.changed.Broadcast()
	for !h.free {
		h.changed.Wait()
	}
	h.held--
	h.changed.Broadcast()
	_, _ = io.WriteString(w, "held")
}

// let opens the gate, or shuts it.
func (h *holding) let(free bool) {
	h.mu.Lock()
	h.free = free
	h.mu.Unlock()
	h.changed.Broadcast()
}

// holds waits until n requests are held.
func (h *holding) holds(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	defer context.AfterFunc(ctx, h.changed.Broadcast)()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.held != n {
		if ctx.Err() != nil {
			t.Fatalf("%v holds %d requests, want %d", h.addr, h.held, n)
		}
		h.changed.Wait()
	}
}

// inProcess makes a pool in this process, with one upstream, where what matters is told to an observer and not to a log.
func inProcess(t *testing.T, o pool.Observer, policy pool.Policy) (*pool.Pool, *pool.Upstream) {
	t.Helper()
	p := pool.New(pool.Options{Observer: o})
	u, err := p.Add(policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePool(t, p) })
	return p, u
}

func closePool(t *testing.T, p *pool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
}

// requests sends n at once and returns a channel with the outcome of each, nil for an answer.
func requests(t *testing.T, u *pool.Upstream, n int) <-chan error {
	t.Helper()
	over := make(chan error, n)
	for range n {
		go func() {
			_, err := u.Do(t.Context(), &pool.Request{})
			over <- err
		}()
	}
	return over
}
