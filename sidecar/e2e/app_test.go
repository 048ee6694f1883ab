package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// app is go-httpbin on two ports, plain and TLS, with a few routes below /own/ for what it does not offer.
type app struct {
	plain, tls *origin
	gates      gates
}

// origin is one of the app's ports.
type origin struct {
	addr string
	// Connections open now and at most, as net/http reports them.
	open, most atomic.Int64
}

func (o *origin) track(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		now := o.open.Add(1)
		for most := o.most.Load(); now > most && !o.most.CompareAndSwap(most, now); most = o.most.Load() {
		}
	case http.StateClosed, http.StateHijacked:
		o.open.Add(-1)
	}
}

func startApp(t *testing.T, certs certificates) *app {
	t.Helper()
	a := new(app)
	mux := http.NewServeMux()
	mux.Handle("/", httpbin.New(httpbin.WithMaxBodySize(16<<20), httpbin.WithHostname("e2e")))
	mux.HandleFunc("/own/echo", echo)
	mux.HandleFunc("/own/bytes", someBytes)
	mux.HandleFunc("/own/fields", fields)
	mux.HandleFunc("/own/reflect", reflect)
	mux.HandleFunc("/own/large-head", largeHead)
	mux.HandleFunc("/own/gate/{name}", a.gates.pass)
	a.plain = serveApp(t, mux, nil)
	a.tls = serveApp(t, mux, &tls.Config{Certificates: []tls.Certificate{certs.pair}})
	t.Cleanup(a.gates.openAll) // before the servers are shut down, which waits for what runs
	return a
}

func serveApp(t *testing.T, handler http.Handler, config *tls.Config) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{addr: l.Addr().String()}
	server := &http.Server{
		Handler: handler, TLSConfig: config, ConnState: o.track, MaxHeaderBytes: 1 << 20,
		ErrorLog: log.New(io.Discard, "", 0), // clients that go away are what some tests are about
	}
	ended := make(chan error, 1)
	go func() {
		if config != nil {
			ended <- server.ServeTLS(l, "", "")
		} else {
			ended <- server.Serve(l)
		}
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("app: %v", err)
			_ = server.Close()
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("app: %v", err)
		}
	})
	return o
}

// pattern is n bytes in which no two places look alike, binary on purpose.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// write sends body with a Content-Length, or chunked when the query asks for that.
func write(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.FormValue("chunked") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
		return
	}
	w.WriteHeader(http.StatusOK)
	for piece := 1; len(body) > 0; piece = min(2*piece, 64<<10) {
		n := min(piece, len(body))
		_, _ = w.Write(body[:n])
		w.(http.Flusher).Flush()
		body = body[n:]
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	write(w, r, body)
}

func someBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	write(w, r, pattern(n))
}

// interleaved is a response that net/http would not write as it stands: repeated names between others, a value that is
// no UTF-8.
const interleaved = "HTTP/1.1 200 OK\r\n" +
	"X-Bee: one\r\n" +
	"Set-Cookie: b=1; Path=/; HttpOnly\r\n" +
	"X-Ant: two\r\n" +
	"Set-Cookie: a=2; Expires=Wed, 21 Oct 2099 07:28:00 GMT\r\n" +
	"X-Bee: three\r\n" +
	"Set-Cookie: c=\r\n" +
	"X-Latin: caf\xe9\r\n" +
	"Content-Length: 2\r\n" +
	"Connection: close\r\n" +
	"\r\n" +
	"ok"

func fields(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(conn, interleaved)
	_ = conn.Close()
}

// reflect answers with the values of the request's fields that the query names, one a line, as bytes in hexadecimal.
func reflect(w http.ResponseWriter, r *http.Request) {
	for _, name := range r.URL.Query()["field"] {
		for _, value := range r.Header.Values(name) {
			fmt.Fprintf(w, "%s %x\n", name, value)
		}
	}
}

// largeHead answers with a head of more than n bytes, in fields of a KiB each.
func largeHead(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for i := range (n + 1023) / 1024 {
		w.Header().Set(fmt.Sprintf("X-Large-%04d", i), strings.Repeat("v", 1024))
	}
	w.WriteHeader(http.StatusOK)
}

// gates hold requests back until a test lets them go.
type gates struct {
	mu    sync.Mutex
	named map[string]*gate
	all   bool // every gate is open
}

type gate struct {
	entered chan struct{} // receives one value for each request that has come
	open    chan struct{} // closed when they may go on
	once    sync.Once
}

// at finds the gate of that name, closed unless it was opened.
func (g *gates) at(name string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.named == nil {
		g.named = make(map[string]*gate)
	}
	if g.named[name] == nil {
		g.named[name] = &gate{entered: make(chan struct{}, 10_000), open: make(chan struct{})}
		if g.all {
			g.named[name].release()
		}
	}
	return g.named[name]
}

func (g *gates) openAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = true
	for _, gate := range g.named {
		gate.release()
	}
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// pass answers with the gate's name once it is open.
func (g *gates) pass(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	gate := g.at(name)
	gate.entered <- struct{}{}
	select {
	case <-gate.open:
		fmt.Fprint(w, name)
	case <-r.Context().Done():
	}
}
