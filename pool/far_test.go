package pool_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// far is a network in memory, for tests inside a synctest bubble, on which
// everything takes its time: what one side sends, FIN included, arrives delay
// later at the other, so that a close and a request can pass each other.
type far struct {
	delay time.Duration // one way
	serve func(*peer)   // the server's side of each connection
	tb    testing.TB
	tasks sync.WaitGroup
}

// Dial is for pool.Options and http.Transport. It takes one round trip.
func (f *far) Dial(_ context.Context, _, address string) (net.Conn, error) {
	time.Sleep(2 * f.delay)
	streams := [4]*stream{newStream(), newStream(), newStream(), newStream()}
	addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
	f.carry(streams[0], streams[1])
	f.carry(streams[2], streams[3])
	p := newPeer(f.tb, &end{in: streams[1], out: streams[2], remote: addr})
	f.tasks.Go(func() { f.serve(p) })
	return &end{in: streams[3], out: streams[0], remote: addr}, nil
}

// carry brings what is written to one stream to the other, delay later.
func (f *far) carry(from, to *stream) {
	type piece struct {
		arrives time.Time
		bytes   []byte // none: FIN
	}
	under := make(chan piece, 100)
	f.tasks.Go(func() {
		defer close(under)
		in := &end{in: from}
		for {
			buf := make([]byte, 4<<10)
			n, err := in.Read(buf)
			if n > 0 {
				under <- piece{time.Now().Add(f.delay), buf[:n]}
			}
			if err != nil {
				under <- piece{arrives: time.Now().Add(f.delay)}
				return
			}
		}
	})
	f.tasks.Go(func() {
		out := &end{out: to}
		for p := range under {
			time.Sleep(time.Until(p.arrives))
			if p.bytes == nil {
				_ = out.CloseWrite()
			} else {
				_, _ = out.Write(p.bytes) // to a socket that is closed it vanishes
			}
		}
	})
}

// impatient serves echoes until a connection has been idle for as long as limit
// says, which it asks anew before each request. carriedOut is told the method
// and the path of each request that is read in time.
func impatient(limit func() time.Duration, carriedOut func(method, path string)) func(*peer) {
	return func(p *peer) {
		defer p.Close()
		p.r = bufio.NewReader(p)
		for {
			tired := time.AfterFunc(limit(), func() { _ = p.Close() })
			r, err := http.ReadRequest(p.r)
			if !tired.Stop() || err != nil {
				tired.Stop()
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			carriedOut(r.Method, r.URL.Path)
			p.ok(r.URL.Path)
		}
	}
}
