package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// load is callers that send one request after the other to nginx's own answer, each with an id of its own, so that what
// became of every one can be held against nginx's log.
type load struct {
	upstream     string
	caller       caller
	pause        func(ctx context.Context) // between two requests of a caller; nil: none
	endAtFailure bool                      // a caller whose request fails sends no more

	mu       sync.Mutex
	changed  chan struct{}
	outcomes []outcome
}

// outcome is what became of one request.
type outcome struct {
	id, method string
	retried    bool // it was answered in the second attempt
	err        error
}

// run keeps the callers going while conduct, called from the test's own goroutine, does what it wants to do to the
// servers. Every fourth request of a caller is a POST, which only a proof lets anybody send again.
func (l *load) run(t *testing.T, callers int, conduct func()) {
	t.Helper()
	l.changed = make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				method := "GET"
				if n%4 == 0 {
					method = "POST"
				}
				if !l.send(t.Context(), method) && l.endAtFailure {
					return
				}
				if l.pause != nil {
					l.pause(ctx)
				}
			}
		})
	}
	l.await(t, 2*callers)
	conduct()
	stop()
	wg.Wait()
}

// send carries out one request and reports whether it was answered as it must be.
func (l *load) send(ctx context.Context, method string) bool {
	id := fmt.Sprintf("n%d.", serial.Add(1)) // the end mark keeps n1 apart from n10
	r := &warmpoolv1.HttpRequest{Upstream: l.upstream, Method: method, Path: "/nginx/connection?id=" + id, Options: &warmpoolv1.RequestOptions{Receipt: true}}
	if method == "POST" {
		r.Body = []byte("x")
	}
	response, err := l.caller.Send(ctx, r)
	if err == nil && (response.GetStatus() != 200 || !strings.HasSuffix(string(response.GetBody()), " "+id)) {
		err = fmt.Errorf("wrong answer: status %d, %q", response.GetStatus(), response.GetBody())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes = append(l.outcomes, outcome{id, method, response.GetReceipt().GetAttempts() > 1, err})
	close(l.changed)
	l.changed = make(chan struct{})
	return err == nil
}

// await returns when n more requests have ended.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	awaitEnded(t, &l.mu, &l.changed, n, callLimit, func() int { return len(l.outcomes) })
}

// awaitEnded waits until n more requests have ended than now. mu guards what ended
// counts and changed, which is closed, and replaced, when one has.
func awaitEnded(t *testing.T, mu *sync.Mutex, changed *chan struct{}, n int, limit time.Duration, ended func() int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	mu.Lock()
	defer mu.Unlock()
	for target := ended() + n; ended() < target; {
		next := *changed
		mu.Unlock()
		select {
		case <-next:
			mu.Lock()
		case <-ctx.Done():
			mu.Lock()
			t.Fatalf("%d of %d requests have ended: %v", ended(), target, ctx.Err())
		}
	}
}

// judge fails the test for every idempotent request that was lost, for every failure that says what is not true, and for
// every request that was carried out twice and must not be. It returns how many failed of those that may.
func (l *load) judge(t *testing.T, n *nginx) int {
	t.Helper()
	// Requests that nginx has carried out, by id. One that is killed does not log the last ones: what is missing proves
	// nothing.
	seen := make(map[string]int)
	for _, line := range n.requests(t) {
		if _, id, ok := strings.Cut(line, "?id="); ok {
			id, _, _ = strings.Cut(id, " ")
			seen[id]++
		}
	}
	failed, sent, retried := make(map[string]int), make(map[string]int), make(map[string]int)
	why := make(map[string]int)
	for _, o := range l.outcomes {
		sent[o.method]++
		if o.retried {
			retried[o.method]++
		}
		if o.err != nil {
			failed[o.method]++
			f := failureIn(o.err)
			why[fmt.Sprintf("%s %v %v after %d attempts", o.method, f.GetReason(), f.GetDelivery(), f.GetAttempts())]++
			if o.method == "GET" {
				t.Errorf("GET %s was lost: %v", o.id, o.err)
			} else if f == nil {
				t.Errorf("POST %s failed without a Failure: %v", o.id, status.Convert(o.err))
			}
			if d := f.GetDelivery(); seen[o.id] > 0 && (d == warmpoolv1.Delivery_DELIVERY_NOT_SENT || d == warmpoolv1.Delivery_DELIVERY_NOT_RECEIVED) {
				t.Errorf("%s %s is said to be %v, and nginx has carried it out", o.method, o.id, d)
			}
		}
		if o.method == "POST" && seen[o.id] > 1 {
			t.Errorf("POST %s was carried out %d times", o.id, seen[o.id])
		}
	}
	t.Logf("%d GET, %d sent again, %d lost; %d POST, %d sent again, %d failed",
		sent["GET"], retried["GET"], failed["GET"], sent["POST"], retried["POST"], failed["POST"])
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		t.Logf("%d x %s", why[reason], reason)
	}
	return failed["POST"]
}
