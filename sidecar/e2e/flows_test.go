package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
)

// flowsApp is the upstream of testdata/flows.js.
type flowsApp struct {
	*httptest.Server

	holding atomic.Int64  // requests that are held
	held    chan struct{} // receives once for each of them
	release chan struct{} // receives once for each that may go on
	written atomic.Int64  // bytes of the download's body
}

func startFlowsApp(t *testing.T) *flowsApp {
	t.Helper()
	a := &flowsApp{held: make(chan struct{}, 16), release: make(chan struct{}, 16)}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Write(body)
	})
	mux.HandleFunc("/hold", func(_ http.ResponseWriter, r *http.Request) {
		a.holding.Add(1)
		defer a.holding.Add(-1)
		a.held <- struct{}{}
		select {
		case <-a.release:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/holding", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, a.holding.Load()) })
	mux.HandleFunc("/release", func(http.ResponseWriter, *http.Request) { a.release <- struct{}{} })
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Got")
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
		w.Header().Set("X-Got", r.Trailer.Get("X-Sum"))
	})
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.FormValue("n"), 10, 64)
		a.written.Store(0)
		for block := make([]byte, 64<<10); n > 0; n -= int64(len(block)) {
			if _, err := w.Write(block); err != nil {
				return
			}
			a.written.Add(int64(len(block)))
		}
	})
	mux.HandleFunc("/written", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, a.written.Load()) })
	mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
		<-a.release
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// flow starts a scenario of testdata/flows.js. The result waits for its end.
func flow(t *testing.T, target, scenario string) (wait func()) {
	t.Helper()
	p := start(t, "node flows.js", node(t, "flows.js", target, scenario))
	return func() {
		t.Helper()
		// A script whose promises never end just exits, with 0.
		if err := p.wait(t); err != nil || p.log.String() != "kept\n" {
			t.Errorf("%v, wrote:\n%s", err, p.log.String())
		}
	}
}

// overBoth runs a test over the Unix socket and over TCP.
func overBoth(t *testing.T, test func(t *testing.T, target func(*sidecar) string)) {
	t.Helper()
	t.Run("unix", func(t *testing.T) { test(t, func(s *sidecar) string { return s.unix }) })
	t.Run("tcp", func(t *testing.T) { test(t, func(s *sidecar) string { return s.tcp }) })
}

const flowsConfig = `
drain: {grace: 1m}
upstreams:
  - name: app
    url: %s
`

func TestSessionsAndStreamsOfTheNodeExample(t *testing.T) {
	overBoth(t, func(t *testing.T, target func(*sidecar) string) {
		a := startFlowsApp(t)
		s := startSidecar(t, flowsConfig, a.URL)
		for _, scenario := range []string{
			"send",
			"session: many calls at once",
			"session: replies out of order",
			"session: failures stay apart",
			"session: cancel",
			"session: bounds",
			"stream: bodies, trailers and interim responses",
			"stream: a slow reader holds the upstream back",
			"stream: a slow upstream holds the request back",
			"stream: an end at any point",
		} {
			t.Run(scenario, func(t *testing.T) { flow(t, target(s), scenario)() })
		}
	})
}

func TestSessionsOfTheNodeExampleOutliveASidecar(t *testing.T) {
	overBoth(t, func(t *testing.T, target func(*sidecar) string) {
		t.Run("that drains", func(t *testing.T) {
			a := startFlowsApp(t)
			s := startSidecar(t, flowsConfig, a.URL)
			wait := flow(t, target(s), "draining")
			<-a.held
			s.process.signal(syscall.SIGTERM)
			refuses(t, s.tcp)
			s.startNext(t)
			wait()
			s.wait(t)
		})
		t.Run("that dies", func(t *testing.T) {
			a := startFlowsApp(t)
			s := startSidecar(t, flowsConfig, a.URL)
			wait := flow(t, target(s), "lost")
			<-a.held
			s.kill()
			s.startNext(t)
			wait()
		})
	})
}
