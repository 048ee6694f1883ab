package e2e

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

var idleTime = flag.Duration("idle", 12*time.Second, "for how long requests are sent around the servers' idle limits")

// idler is a server that ends idle connections after a time of its own.
type idler struct {
	name              string
	program, pack     string // what it needs, and the Debian package that brings that
	start             func(t *testing.T) (addr string)
	shortest, longest time.Duration // of the pauses between requests
	limit             time.Duration // around which half of the pauses are drawn closely; 0: it has none
}

var idlers = []idler{
	{
		name: "nginx, keepalive_timeout 2s", program: "nginx", pack: "nginx-light",
		shortest: 1600 * time.Millisecond, longest: 2400 * time.Millisecond, limit: 2 * time.Second,
		start: func(t *testing.T) string {
			certs := makeCertificates(t)
			return loopback(startNginx(t, startApp(t, certs), certs, nginxSettings{keepaliveTimeout: "2s", keepaliveRequests: "1000000"}).plain)
		},
	},
	{
		name: "Node, default (5 s, which it says)", program: "node", pack: "nodejs",
		shortest: 3500 * time.Millisecond, longest: 6500 * time.Millisecond, limit: 5 * time.Second,
		start: func(t *testing.T) string { return startNodeServer(t) },
	},
	{
		name: "Node, 5 s, not said", program: "node", pack: "nodejs",
		shortest: 4500 * time.Millisecond, longest: 6500 * time.Millisecond, limit: 5 * time.Second,
		start: func(t *testing.T) string { return startNodeServer(t, "mute") },
	},
	{
		name: "Apache, KeepAliveTimeout 5", program: "apache2", pack: "apache2",
		shortest: 4500 * time.Millisecond, longest: 6500 * time.Millisecond, limit: 5 * time.Second,
		start: func(t *testing.T) string { return loopback(startApache(t, 5*time.Second).port) },
	},
	{
		name: "a new limit each time, 0.5 to 3 s", shortest: 300 * time.Millisecond, longest: 3200 * time.Millisecond,
		start: startFickle,
	},
}

// learners is how many requests are sent together, so that so many connections are idle for as long.
const learners = 16

// Servers close what has been idle for a while, and callers come back after about as long. For a request that crosses
// the close there is the kernel's proof and, if it is idempotent, the second attempt; and once a few closes have shown
// when they come, connections that old are not used. net/http's client is beside it, under the same load.
func TestCallersWhoComeBackWhenTheServerClosesLoseNothing(t *testing.T) {
	t.Parallel()
	reports := make([][2]*learned, len(idlers))
	var runs sync.WaitGroup
	for i := range idlers {
		server := &idlers[i]
		t.Run(server.name, func(only *testing.T) {
			if server.program != "" {
				program(only, server.program, server.pack)
			}
			addr := server.start(t)
			both := [2]*learned{newLearned(), newLearned()}
			runs.Go(func() { both[0].withPool(t, server, addr) })
			runs.Go(func() { both[1].withNetHTTP(t, server, addr) })
			reports[i] = both
		})
	}
	runs.Wait()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tclosed\tlearned\tuntil then:\tmet a close\tof 1000\tafter:\tmet a close\tof 1000\tsaved by proof\tGET lost\tPOST lost\tnet/http:\tmet a close\tof 1000\t")
	for i := range idlers {
		if reports[i][0] == nil {
			continue
		}
		reports[i][0].judge(t, &idlers[i])
		reports[i][0].row(w, idlers[i].name, &reports[i][1].before)
	}
	_ = w.Flush()
	t.Logf("requests around the servers' idle limits for %v, %d at a time, every second one a POST\n%s", *idleTime, learners, &text)
}

// learned is what callers saw of one server.
type learned struct {
	mu            sync.Mutex
	closes        int           // of idle connections, by the server
	limit         time.Duration // that the pool has learned; 0: none yet
	before, after meetings      // it had learned
}

// meetings counts requests and what became of those that met a close.
type meetings struct {
	requests int
	stale    int            // attempts that met a connection which the server had closed
	proven   int            // of these, those that provably did not arrive
	lost     map[string]int // by method
	provably int            // of these, those that provably did not arrive
}

func newLearned() *learned {
	return &learned{before: meetings{lost: make(map[string]int)}, after: meetings{lost: make(map[string]int)}}
}

func (m *meetings) columns() string {
	if m.requests == 0 {
		return "0\t-\t-"
	}
	return fmt.Sprintf("%d\t%d\t%.2f", m.requests, m.stale, 1000*float64(m.stale)/float64(m.requests))
}

func (l *learned) row(w io.Writer, name string, peer *meetings) {
	limit := "-"
	if l.limit > 0 {
		limit = l.limit.Round(10 * time.Millisecond).String()
	}
	fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t\n", name, l.closes, limit, l.before.columns(), l.after.columns(),
		l.before.proven+l.after.proven, l.before.lost["GET"]+l.after.lost["GET"], l.before.lost["POST"]+l.after.lost["POST"], peer.columns())
}

// come lets callers come back together, again and again; round is called when all have been answered.
func (l *learned) come(t *testing.T, server *idler, send func(method, path string) (stale, proven int, err error), round func()) {
	for end := time.Now().Add(*idleTime); time.Now().Before(end); {
		var callers sync.WaitGroup
		for i := range learners {
			method := []string{"GET", "POST"}[i%2]
			callers.Go(func() {
				stale, proven, err := send(method, fmt.Sprintf("/own/echo?n=%d", serial.Add(1)))
				l.note(method, stale, proven, err)
			})
		}
		callers.Wait()
		round()
		pause := server.shortest + rand.N(server.longest-server.shortest)
		if server.limit > 0 && rand.IntN(2) == 0 {
			pause = server.limit - 2*time.Millisecond + rand.N(5*time.Millisecond)
		}
		select {
		case <-time.After(pause):
		case <-t.Context().Done():
			return
		}
	}
}

func (l *learned) note(method string, stale, proven int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.before
	if l.limit > 0 {
		m = &l.after
	}
	m.requests++
	m.stale += stale
	m.proven += proven
	if err != nil {
		m.lost[method]++
		if e, ok := errors.AsType[*pool.Error](err); ok && e.SafeToRetry() {
			m.provably++
		}
	}
}

func (l *learned) withPool(t *testing.T, server *idler, addr string) {
	policy := pool.DefaultPolicy("origin", "http://"+addr)
	policy.MinRetries = learners // callers that come together may all have to be sent again
	p, u := inProcess(t, pool.Observer{ConnectionClosed: func(_ pool.ConnectionInfo, why pool.CloseReason) {
		switch why {
		case pool.ClosePeerClosedIdle, pool.ClosePeerResetIdle, pool.CloseConnectionClosed, pool.CloseConnectionReset:
			l.mu.Lock()
			l.closes++
			l.mu.Unlock()
		}
	}}, policy)
	l.come(t, server, func(method, path string) (stale, proven int, err error) {
		r := &pool.Request{Method: method, Path: path, Receipt: true}
		if method == "POST" {
			r.Body = []byte("ok")
		}
		response, err := u.Do(t.Context(), r)
		var receipt *pool.Receipt
		if err == nil {
			receipt = response.Receipt
			if response.Status != http.StatusOK {
				t.Errorf("%s %s: status %d", method, path, response.Status)
			}
		} else if e, ok := errors.AsType[*pool.Error](err); ok {
			t.Logf("%s %s: %v, %v: %v", method, path, e.Reason, e.Delivery, e)
			receipt, stale = e.Receipt, 1
		}
		for _, a := range receipt.Failed {
			if stale++; a.Delivery == pool.DeliveryNotReceived || a.Delivery == pool.DeliveryNotSent {
				proven++
			}
		}
		return stale, proven, err
	}, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, limit := range u.Stats().IdleLimits {
			l.limit = limit.Limit
		}
	})
	closePool(t, p)
}

func (l *learned) withNetHTTP(t *testing.T, server *idler, addr string) {
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * learners}
	defer transport.CloseIdleConnections()
	l.come(t, server, func(method, path string) (stale, proven int, err error) {
		var body io.Reader
		if method == "POST" {
			body = strings.NewReader("ok")
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, body)
		if err != nil {
			return 0, 0, err
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			return 1, 0, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		return 0, 0, errors.Join(err, response.Body.Close())
	}, func() {})
}

func (l *learned) judge(t *testing.T, server *idler) {
	t.Helper()
	if n := l.before.lost["GET"] + l.after.lost["GET"]; n > 0 {
		t.Errorf("%s: %d GET were lost, want none", server.name, n)
	}
	if n := l.before.provably + l.after.provably; n > 0 {
		t.Errorf("%s: %d requests failed that provably did not arrive, want none", server.name, n)
	}
}

// startNodeServer runs Node's own HTTP server with its default settings; mute, it does not tell its limit.
func startNodeServer(t *testing.T, args ...string) string {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command(program(t, "node", "nodejs"), append([]string{filepath.Join("testdata", "server.js"), fmt.Sprint(port)}, args...)...)
	p := start(t, "node", cmd)
	if err := p.accepts(context.Background(), loopback(port)); err != nil {
		t.Fatal(err)
	}
	return loopback(port)
}

// startFickle serves connections in this process, each of which may be idle for a time that is drawn anew after each
// answer.
func startFickle(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { fickle(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

func fickle(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(500*time.Millisecond + rand.N(2500*time.Millisecond)))
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_ = c.SetReadDeadline(time.Time{})
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}
