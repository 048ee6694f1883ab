package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// moody is a server of net/http that answers each request with its own path
// and body, and now and then closes, aborts, delays or answers early.
func moody(t *testing.T) (url string, opened *atomic.Int64) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opened = new(atomic.Int64)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				opened.Add(1)
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mood := rand.IntN(100)
			if mood >= 98 {
				http.Error(w, r.URL.Path, http.StatusRequestEntityTooLarge) // the body unread
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			switch {
			case mood < 2:
				w.Header().Set("Connection", "close")
			case mood < 3:
				panic(http.ErrAbortHandler) // the connection ends without an answer
			case mood < 8:
				w.(http.Flusher).Flush() // and so chunked
			}
			_, _ = fmt.Fprintf(w, "%s %s", r.URL.Path, body)
		}),
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		running.Wait()
	})
	return "http://" + l.Addr().String(), opened
}

// Many callers on few connections, of whom some give up at any moment: every
// answer is for its own request, nothing is left in the end.
func TestManyCallersOnFewConnectionsEachGetTheirOwnAnswer(t *testing.T) {
	for _, depth := range []int{1, 4} {
		t.Run(fmt.Sprintf("depth=%d", depth), func(t *testing.T) {
			url, opened := moody(t)
			u := open(t, url, func(p *pool.Policy) {
				p.Max, p.PipelineDepth, p.MaxWait = 8, depth, 0
			})
			var answered, gaveUp, failed atomic.Int64
			var running sync.WaitGroup
			for caller := range 256 {
				running.Go(func() {
					random := rand.New(rand.NewPCG(uint64(caller), 1))
					for i := range 20 {
						path := fmt.Sprintf("/%d/%d", caller, i)
						switch err := askOnce(t, u, random, path); {
						case err == nil:
							answered.Add(1)
						case errors.Is(err, context.Canceled):
							gaveUp.Add(1)
						default:
							failed.Add(1)
						}
					}
				})
			}
			running.Wait()
			t.Logf("%d answered, %d gave up, %d failed, %d connections", answered.Load(), gaveUp.Load(), failed.Load(), opened.Load())
			if answered.Load() < 256*20/2 {
				t.Errorf("only %d of %d were answered", answered.Load(), 256*20)
			}
			if s := u.Stats(); s.Active != 0 || s.Waiting != 0 || s.Total > 8 {
				t.Errorf("left over: %d active, %d waiting, %d connections", s.Active, s.Waiting, s.Total)
			}
		})
	}
}

// askOnce sends one request, of any kind, and checks that the answer is its own.
func askOnce(t *testing.T, u *pool.Upstream, random *rand.Rand, path string) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req := &pool.Request{Path: path}
	if random.IntN(3) == 0 {
		req.Method = "POST"
		size := []int{0, 10, 20 << 10, 100 << 10}[random.IntN(4)]
		req.Body = []byte(strings.Repeat("x", size))
	}
	gone := random.IntN(10) == 0
	if gone {
		timer := time.AfterFunc(time.Duration(random.IntN(3000))*time.Microsecond, cancel)
		defer timer.Stop()
	}
	res, err := u.Do(ctx, req)
	if err != nil {
		e, ok := errors.AsType[*pool.Error](err)
		switch {
		case !ok:
			t.Errorf("%s: the error is a %T: %v", path, err, err)
		case e.Reason == pool.ReasonCancelled && gone:
			return context.Canceled
		case e.Reason != pool.ReasonConnectionClosed && e.Reason != pool.ReasonConnectionReset && e.Reason != pool.ReasonResponseTruncated:
			t.Errorf("%s: %v: %v", path, e.Reason, e)
		}
		return err
	}
	want := path + " " + string(req.Body)
	if res.Status == http.StatusRequestEntityTooLarge {
		want = path + "\n"
	}
	if string(res.Body) != want {
		t.Errorf("%s was answered %d %.80q, want %.80q", path, res.Status, res.Body, want)
	}
	return nil
}
