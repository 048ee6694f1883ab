package pool_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// keeping is an HTTP server that tells of each request for /tiny by which
// connection it came, and an upstream that keeps one window open with it, once
// two of its connections stand, one of them with a window that has grown.
func keeping(t *testing.T, o pool.Options, reply http.HandlerFunc) (*pool.Upstream, <-chan string) {
	t.Helper()
	tiny := make(chan string, 1000)
	meet := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tiny":
			select {
			case tiny <- r.RemoteAddr:
			default:
			}
			reply(w, r)
		case "/meet": // answered when there are two of them
			select {
			case meet <- struct{}{}:
			case <-meet:
			}
		case "/long":
			_, _ = io.WriteString(w, r.RemoteAddr+strings.Repeat(" ", 3<<20))
		}
	}))
	t.Cleanup(s.Close)
	u := openWith(t, o, s.URL, func(p *pool.Policy) {
		p.TCP.Congestion = "reno" // every Linux has it, and everybody may choose it
		p.Upkeep = pool.UpkeepPolicy{Connections: 1, Method: "GET", Path: "/tiny", Interval: 20 * time.Millisecond, AfterUse: patience}
	})
	one, two := ask(t, u, &pool.Request{Path: "/meet"}), ask(t, u, &pool.Request{Path: "/meet"})
	for _, a := range []answer{<-one, <-two} {
		if a.err != nil {
			t.Fatal(a.err)
		}
	}
	return u, tiny
}

func within[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
		panic("not reached")
	}
}

// grow lets the server's window towards one connection grow, by a response of
// many segments, until a request of upkeep comes, and names the connections of
// both. Windows shrink while a machine that is busy does something else, so that
// it may have to ask several times.
func grow(t *testing.T, u *pool.Upstream, tiny <-chan string) (grown, kept string, asked uint64) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		asked++
		res, err := u.Do(t.Context(), &pool.Request{Path: "/long"})
		if err != nil {
			t.Fatal(err)
		}
		grown, _, _ := strings.Cut(string(res.Body), " ")
		select {
		case kept := <-tiny:
			return grown, kept, asked
		case <-time.After(200 * time.Millisecond):
		}
	}
	t.Fatalf("no request of upkeep within %v", patience)
	panic("not reached")
}

func TestARequestOftenEnoughKeepsAWindowOpen(t *testing.T) {
	var attempts atomic.Int64
	u, tiny := keeping(t, pool.Options{Observer: pool.Observer{
		AttemptEnded: func(pool.AttemptEnd) { attempts.Add(1) },
	}}, func(http.ResponseWriter, *http.Request) {})
	grown, kept, asked := grow(t, u, tiny)
	for range 3 {
		if kept != grown {
			t.Errorf("a request of upkeep came by %s, the window that has grown is that of %s", kept, grown)
		}
		kept = within(t, tiny, "a request of upkeep")
	}
	stats := u.Stats()
	if stats.UpkeepRequests < 4 || stats.UpkeepBytes <= 0 || stats.UpkeepRefused != 0 {
		t.Errorf("%d requests, %d bytes, refused %d times", stats.UpkeepRequests, stats.UpkeepBytes, stats.UpkeepRefused)
	}
	if want := 2 + asked; stats.Exchanges != want || stats.Responses != want || attempts.Load() != int64(want) {
		t.Errorf("%d exchanges, %d responses and %d attempts are counted, want those of callers only, %d",
			stats.Exchanges, stats.Responses, attempts.Load(), want)
	}
	// A caller finds a connection at once, whatever upkeep is under way.
	if _, err := u.Do(t.Context(), &pool.Request{Path: "/"}); err != nil {
		t.Error(err)
	}
	if stats := u.Stats(); stats.Opened != 2 {
		t.Errorf("%d connections were dialed, want 2", stats.Opened)
	}
}

// What the policy does not keep is kept while that is asked for.
func TestAWindowIsKeptOpenOnRequest(t *testing.T) {
	u, tiny := keeping(t, pool.Options{}, func(http.ResponseWriter, *http.Request) {})
	policy := u.Policy()
	policy.Upkeep.Connections = 0
	if err := u.Update(policy); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Warm(t.Context(), pool.WarmRequest{Connections: 2, Hold: time.Hour, Upkeep: true}); err != nil {
		t.Fatal(err)
	}
	if grown, kept, _ := grow(t, u, tiny); kept != grown {
		t.Errorf("a request of upkeep came by %s, the window that has grown is that of %s", kept, grown)
	}

	policy.Upkeep.Path = "not a path" // it is asked for, and might be sent
	if err := u.Update(policy); err == nil || !strings.Contains(err.Error(), "upkeep path") {
		t.Errorf("a path that is none: %v", err)
	}
	policy.Upkeep = pool.UpkeepPolicy{}
	if err := u.Update(policy); err != nil {
		t.Fatal(err)
	}
	_, err := u.Warm(t.Context(), pool.WarmRequest{Connections: 2, Upkeep: true})
	if e, ok := errors.AsType[*pool.Error](err); !ok || e.Reason != pool.ReasonInvalidRequest || !strings.Contains(e.Detail, "upkeep method is empty") {
		t.Errorf("upkeep without a request: %v", err)
	}
}

func TestAServerThatEndsTheConnectionIsNotAskedForUpkeepAgain(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"because it says so":                  func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") },
		"because its answer is not short":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 20<<10)) },
		"because it breaks off in the middle": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			changes := make(chan pool.UpkeepChange, 10)
			u, tiny := keeping(t, pool.Options{Observer: pool.Observer{
				UpkeepChanged: func(c pool.UpkeepChange) { changes <- c },
			}}, answer)
			grow(t, u, tiny)
			if c := within(t, changes, "word of it"); !c.Refused || c.Upstream != "origin" || !strings.Contains(c.Because, "ended its connection") {
				t.Errorf("told %+v", c)
			}
			stats := u.Stats()
			if stats.UpkeepRefused != 1 {
				t.Errorf("refused %d times, want 1", stats.UpkeepRefused)
			}
			for _, why := range pool.Reasons() {
				if n := stats.Failures[why]; n > 0 {
					t.Errorf("%d failures are counted (%v), though no caller had any", n, why)
				}
			}
			if _, err := u.Do(t.Context(), &pool.Request{Path: "/"}); err != nil {
				t.Error(err)
			}
		})
	}
}
