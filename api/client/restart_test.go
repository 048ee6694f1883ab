package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// asked carries out a request in the background.
func asked(c *client.Client, r *http.Request) <-chan result {
	done := make(chan result, 1)
	go func() {
		response, err := c.Do(r.Context(), r)
		if err != nil {
			done <- result{err: err}
			return
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		done <- result{string(b), err}
	}()
	return done
}

type result struct {
	body string
	err  error
}

// failure is an error as what every error of the client is.
func failure(t testing.TB, err error) *client.Failure {
	t.Helper()
	f, ok := errors.AsType[*client.Failure](err)
	if !ok {
		t.Fatalf("got %v, want a *client.Failure", err)
	}
	return f
}

// inBothWays runs a test for calls that ride a Session, and for Streams.
func inBothWays(t *testing.T, test func(t *testing.T, options ...client.Option)) {
	t.Helper()
	t.Run("session", func(t *testing.T) { test(t) })
	t.Run("stream", func(t *testing.T) { test(t, client.Streaming()) })
}

func TestCallsWaitForASidecarThatStarts(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		dir := shortDir(t)
		upstream := web(t, echo)
		c := dial(t, "unix://"+filepath.Join(dir, "s"), options...)
		var early []<-chan result
		for range 10 {
			early = append(early, asked(c, request(t, "POST", "/", strings.NewReader("text"))))
		}
		start(t, dir, upstream)
		for _, done := range early {
			if r := receive(t, done, "an answer"); r.err != nil || r.body != "POST / text" {
				t.Errorf("got %q, %v", r.body, r.err)
			}
		}
	})
}

func TestASidecarThatDoesNotComeIsToldAfterTheClientsPatience(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		for _, patience := range []time.Duration{0, 50 * time.Millisecond} {
			socket := filepath.Join(shortDir(t), "s")
			c := dial(t, "unix://"+socket, append(options, client.Patience(patience))...)
			f := failure(t, receive(t, asked(c, request(t, "POST", "/", strings.NewReader("text"))), "an answer").err)
			if !errors.Is(f, client.ErrNoSidecar) || f.Delivery != warmpoolv1.Delivery_DELIVERY_NOT_SENT || !f.Retryable() {
				t.Errorf("got %v", f)
			}
			for _, says := range []string{socket, "no such file"} {
				if !strings.Contains(f.Error(), says) {
					t.Errorf("%v: does not say %q", f, says)
				}
			}
		}
	})
}

func TestTheContextEndsTheWaitForASidecar(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		c := dial(t, "unix://"+filepath.Join(shortDir(t), "s"), append(options, client.Patience(time.Hour))...)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		f := failure(t, receive(t, asked(c, request(t, "GET", "/", nil).WithContext(ctx)), "an answer").err)
		if !errors.Is(f, context.DeadlineExceeded) || f.Delivery != warmpoolv1.Delivery_DELIVERY_NOT_SENT {
			t.Errorf("got %v", f)
		}
	})
}

func TestCloseEndsEveryCall(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		serve, arrived, gone := stalling(false)
		h := start(t, shortDir(t), web(t, serve))
		c, err := client.Dial(h.socket, options...)
		if err != nil {
			t.Fatal(err)
		}
		var open []<-chan result
		for range 3 {
			open = append(open, asked(c, request(t, "GET", "/", nil)))
			receive(t, arrived, "the request")
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for _, done := range open {
			f := failure(t, receive(t, done, "the call's end").err)
			if !errors.Is(f, client.ErrClosed) || f.Delivery != warmpoolv1.Delivery_DELIVERY_UNKNOWN || f.Retryable() {
				t.Errorf("got %v", f)
			}
			receive(t, gone, "the end at the server")
		}
		f := failure(t, receive(t, asked(c, request(t, "GET", "/", nil)), "an answer").err)
		if !errors.Is(f, client.ErrClosed) || f.Delivery != warmpoolv1.Delivery_DELIVERY_NOT_SENT {
			t.Errorf("afterwards: %v", f)
		}
	})
}

// A restart in good order: the old sidecar is told to stop while calls are open and
// more keep coming, and a new one starts on the same socket.
func TestARestartFailsNoCall(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		dir := shortDir(t)
		upstream := web(t, echo)
		h := start(t, dir, upstream)
		c := dial(t, h.socket, options...)
		var (
			over     atomic.Bool
			answered atomic.Int64
			hundreds = make(chan struct{}, 1) // of answers
			callers  sync.WaitGroup
		)
		defer func() {
			over.Store(true)
			callers.Wait()
		}()
		for i := range 8 {
			callers.Go(func() {
				for n := 0; !over.Load(); n++ {
					text := fmt.Sprint(i, n)
					r := <-asked(c, request(t, "POST", "/", strings.NewReader(text)))
					if r.err != nil || r.body != "POST / "+text {
						t.Errorf("got %q, %v", r.body, r.err)
						return
					}
					if answered.Add(1)%100 == 0 {
						select {
						case hundreds <- struct{}{}:
						default:
						}
					}
				}
			})
		}
		for range 4 {
			receive(t, hundreds, "a hundred answers")
			receive(t, hundreds, "another hundred: the first may have come before the last restart")
			h.end(t)
			h = start(t, dir, upstream)
		}
	})
}

func TestADrainFinishesOpenCallsWhileNewOnesGoToTheNextSidecar(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		dir := shortDir(t)
		arrived, release := make(chan struct{}, 1), make(chan struct{})
		upstream := web(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				arrived <- struct{}{}
				<-release
			}
			fmt.Fprint(w, r.URL.Path)
		})
		h := start(t, dir, upstream)
		c := dial(t, h.socket, options...)
		slow := asked(c, request(t, "POST", "/slow", nil))
		receive(t, arrived, "the slow request")
		h.stop()
		quick := asked(c, request(t, "POST", "/quick", nil)) // refused by the one, or never sent to it
		next := start(t, dir, upstream)
		if r := receive(t, quick, "the next sidecar's answer"); r.err != nil || r.body != "/quick" {
			t.Errorf("the new call got %q, %v", r.body, r.err)
		}
		close(release)
		if r := receive(t, slow, "the old sidecar's answer"); r.err != nil || r.body != "/slow" {
			t.Errorf("the open call got %q, %v", r.body, r.err)
		}
		h.end(t)
		next.end(t)
	})
}

func TestASidecarThatIsCutOffTellsWhatItKnowsOfEachCall(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		dir := shortDir(t)
		serve, arrived, gone := stalling(false)
		cfg := config.WithDefaults(&warmpoolv1.Config{
			Listen: []string{"unix://" + filepath.Join(dir, "s")}, Control: []string{"off"}, Admin: "off",
			Drain: &warmpoolv1.Drain{Grace: durationpb.New(10 * time.Millisecond)}, Upstreams: []*warmpoolv1.Upstream{web(t, serve)},
		})
		h := startWith(t, cfg)
		c := dial(t, h.socket, options...)
		open := asked(c, request(t, "POST", "/", strings.NewReader("text")))
		receive(t, arrived, "the request")
		h.end(t)
		f := failure(t, receive(t, open, "the call's end").err)
		if f.Delivery != warmpoolv1.Delivery_DELIVERY_UNKNOWN || f.Retryable() {
			t.Errorf("got %v, %v; want delivery UNKNOWN, and no sending again of a POST", f, f.Reason)
		}
		<-gone
	})
}

func TestAnUpstreamThatTakesNothingMoreIsToldAtOnce(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		h := start(t, shortDir(t), web(t, echo))
		c := dial(t, h.socket, append(options, client.Patience(time.Hour))...)
		if err := h.Pool().Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			f := failure(t, receive(t, asked(c, request(t, "GET", "/", nil)), "an answer").err)
			if f.Reason != warmpoolv1.Reason_REASON_DRAINING || f.Delivery != warmpoolv1.Delivery_DELIVERY_NOT_SENT || !f.Retryable() {
				t.Errorf("got %v", f)
			}
		}
	})
}
