package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(peerVariable); socket != "" {
		if err := beSidecar(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// shortDir is a folder whose name leaves room for a socket's path.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wp") //nolint:usetesting // t.TempDir's names contain the test's, which is a sentence
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// house is a sidecar that runs in this process, on a socket in dir.
type house struct {
	*sidecar.Sidecar

	socket string
	stop   context.CancelFunc
	done   chan error
}

// start runs a sidecar on the socket in dir until the test ends, or it is stopped.
func start(t testing.TB, dir string, upstreams ...*warmpoolv1.Upstream) *house {
	t.Helper()
	return startWith(t, config.WithDefaults(&warmpoolv1.Config{
		Listen: []string{"unix://" + filepath.Join(dir, "s")}, Control: []string{"off"}, Admin: "off", Upstreams: upstreams,
	}))
}

func startWith(t testing.TB, cfg *warmpoolv1.Config) *house {
	t.Helper()
	s, err := sidecar.New(cfg, sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &house{Sidecar: s, socket: s.Addrs().Data[0], stop: stop, done: make(chan error, 1)}
	go func() {
		h.done <- s.Serve(ctx)
		close(h.done)
	}()
	t.Cleanup(func() { h.end(t) })
	return h
}

// end stops the sidecar and waits until it is gone.
func (h *house) end(t testing.TB) {
	t.Helper()
	h.stop()
	if err := receive(t, h.done, "the sidecar's end"); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// receive waits for a value. A channel that is closed gives the zero value.
func receive[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no sign of %s", what)
		panic("unreachable")
	}
}

// web is an upstream named web, by net/http.
func web(t testing.TB, h http.HandlerFunc) *warmpoolv1.Upstream {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return at(s.URL)
}

// at is an upstream named web at a URL.
func at(url string) *warmpoolv1.Upstream { return &warmpoolv1.Upstream{Name: "web", Url: url} }

// dial makes a client that lives as long as the test.
func dial(t testing.TB, target string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// request is a request to the upstream named web.
func request(t testing.TB, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, "http://web"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// body reads a response's body to its end.
func body(t testing.TB, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("the body: %v", err)
	}
	return string(b)
}
