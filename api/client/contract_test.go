package client_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/api/client"
)

// What net/http's client, and the programs above it, may expect of an
// http.RoundTripper stands in tables of promises (contract_*_test.go). Each is put
// to http.Transport, so that nothing is promised here that it does not keep, and
// to ours: as it chooses by itself, and with Streams only.

// promise is one behaviour.
type promise struct {
	name string
	keep func(t *testing.T, to opener)
}

// opener starts a server, and gives the way to it.
type opener func(http.HandlerFunc) *there

// there is a server, and the transport that is put to the test.
type there struct {
	*testing.T

	transport http.RoundTripper
	url       string
}

var ways = []struct {
	name string
	open func(t *testing.T, url string) http.RoundTripper
}{
	{"http.Transport", func(t *testing.T, _ string) http.RoundTripper {
		// An Expect is waited for as long as the sidecar does.
		transport := &http.Transport{ExpectContinueTimeout: time.Second}
		t.Cleanup(transport.CloseIdleConnections)
		return transport
	}},
	{"client", func(t *testing.T, url string) http.RoundTripper { return through(t, url).Transport() }},
	{"client, streaming", func(t *testing.T, url string) http.RoundTripper {
		return through(t, url, client.Streaming()).Transport()
	}},
}

// through is a client of a sidecar with one upstream, to which its origin is mapped.
func through(t *testing.T, origin string, options ...client.Option) *client.Client {
	t.Helper()
	h := start(t, shortDir(t), at(origin))
	return dial(t, h.socket, append(options, client.Upstreams(map[string]string{origin: "web"}))...)
}

func keepAll(t *testing.T, promises []promise) {
	t.Helper()
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			for _, p := range promises {
				t.Run(p.name, func(t *testing.T) {
					p.keep(t, func(h http.HandlerFunc) *there {
						s := httptest.NewUnstartedServer(h)
						s.Config.DisableGeneralOptionsHandler = true
						s.Start()
						t.Cleanup(s.Close)
						return &there{t, way.open(t, s.URL), s.URL}
					})
				})
			}
		})
	}
}

// request is a request to the server.
func (to *there) request(method, path string, body io.Reader) *http.Request {
	to.Helper()
	r, err := http.NewRequestWithContext(to.Context(), method, to.url+path, body)
	if err != nil {
		to.Fatal(err)
	}
	return r
}

// do carries out a request that must get a response. It is closed with the test.
func (to *there) do(r *http.Request) *http.Response {
	to.Helper()
	response, err := to.transport.RoundTrip(r)
	if err != nil {
		to.Fatalf("RoundTrip: %v", err)
	}
	to.Cleanup(func() { response.Body.Close() })
	return response
}

// get is the body of a GET's response.
func (to *there) get(path string) string {
	to.Helper()
	return body(to, to.do(to.request("GET", path, nil)))
}

// fails carries out a request that must not get a response.
func (to *there) fails(r *http.Request) error {
	to.Helper()
	response, err := to.transport.RoundTrip(r)
	if err == nil {
		response.Body.Close()
		to.Fatalf("got a response, %s, want an error", response.Status)
	}
	if response != nil {
		to.Error("got a response and an error: RoundTripper says one of the two")
	}
	return err
}

// refuses checks that a request is refused, that its body is closed then, and that
// nothing reaches the server.
func refuses(spoil func(*http.Request)) func(*testing.T, opener) {
	return func(t *testing.T, open opener) {
		var reached atomic.Int32
		to := open(func(http.ResponseWriter, *http.Request) { reached.Add(1) })
		b := newWatched("body")
		r := to.request("POST", "/", b)
		spoil(r)
		err := to.fails(r)
		receive(t, b.closed, "the body's Close")
		if n := reached.Load(); n != 0 {
			t.Errorf("the server was asked %d times, though the request failed: %v", n, err)
		}
	}
}

// watched is a body that tells of its end.
type watched struct {
	io.Reader

	closed chan struct{}
	times  atomic.Int32
}

func newWatched(text string) *watched { return watch(strings.NewReader(text)) }

func watch(r io.Reader) *watched { return &watched{Reader: r, closed: make(chan struct{})} }

func (w *watched) Close() error {
	if w.times.Add(1) == 1 {
		close(w.closed)
	}
	if c, ok := w.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// failing is a reader that gives text and then fails.
type failing struct {
	text string
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.text == "" {
		return 0, f.err
	}
	n := copy(p, f.text)
	f.text = f.text[n:]
	return n, nil
}

// hijack takes over the server's side of a connection and writes bytes to it.
func hijack(w http.ResponseWriter, text string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, text)
}

// wantHeader compares the values of a field.
func wantHeader(t testing.TB, h http.Header, name string, want ...string) {
	t.Helper()
	if got := h[name]; !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

// cancelled is a context and its end.
func cancelled(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
