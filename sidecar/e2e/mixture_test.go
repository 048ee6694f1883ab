package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// mixtureRate is how many requests a second are sent, unless the machine is slower: that is logged and proves nothing.
const mixtureRate = 1000

// mixture is callers that send requests to a ledger at a steady pace, in every way that there is: on sessions that are
// shared, on one that is alone, on streams with short and with long bodies, through http.Client, and by Send alone. What
// each was told of every request is kept.
type mixture struct {
	ledger    *ledger
	ways      []way
	endsAtOne bool // a caller whose request fails sends no more

	mu      sync.Mutex
	changed chan struct{}
	told    []told
	lasted  time.Duration
}

// way is a way to send a request, and how many callers take it.
type way struct {
	name    string
	callers int
	ours    bool // by the Go client
	send    func(ctx context.Context, r *letter) told
}

// letter is a request.
type letter struct {
	method, id string
	key        bool // a field says that it is idempotent
	hold       bool // there is no answer until the ledger is let go
	length     int  // of its body
}

func (r *letter) idempotent() bool { return r.method != "POST" || r.key }

// fields are those that the ledger reads, and others.
func (r *letter) fields() http.Header {
	h := http.Header{ledgerID: {r.id}, ledgerTime: {fmt.Sprintf("%dus", rand.IntN(20_000))}}
	if r.key {
		h.Set("Idempotency-Key", r.id)
	}
	if r.hold {
		h.Set(ledgerHold, "1")
	}
	return h
}

// told is what a caller was told of its request.
type told struct {
	*letter
	way      *way
	err      error // nil: it was answered as it must be
	delivery warmpoolv1.Delivery
	brokeOff bool // the response was given out and its body did not come to its end
}

// newMixture makes callers of the sidecar at target. Calls wait for a sidecar as long as patience says.
func newMixture(t *testing.T, l *ledger, target string, patience time.Duration) *mixture {
	t.Helper()
	open := func() *client.Client {
		c, err := client.Dial(target, client.Patience(patience))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return c
	}
	shared, web := open(), &http.Client{Transport: open().Transport()}
	asStream := func(r *http.Request) (*http.Response, error) { return shared.Do(client.WithStream(r.Context()), r) }
	onSession := func(c *client.Client) func(r *http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) { return c.Do(r.Context(), r) }
	}
	return &mixture{ledger: l, ways: []way{
		{name: "Session", callers: 16, ours: true, send: byClient(onSession(shared), 10)},
		{name: "Session alone", callers: 1, ours: true, send: byClient(onSession(open()), 10)},
		{name: "Stream", callers: 6, ours: true, send: byClient(asStream, 10)},
		{name: "Stream, long bodies", callers: 1, ours: true, send: byClient(asStream, 200<<10)},
		{name: "client.Transport", callers: 8, ours: true, send: byClient(web.Do, 10)},
		{name: "Send", callers: 8, send: bySend(warmpoolv1.NewHttpServiceClient(dialTarget(t, target)), patience > 0)},
	}}
}

// byClient sends through the Go client.
func byClient(do func(*http.Request) (*http.Response, error), length int) func(context.Context, *letter) told {
	return func(ctx context.Context, l *letter) told {
		o := told{letter: l}
		var body io.Reader
		if l.method != "GET" {
			l.length = length
			body = strings.NewReader(strings.Repeat("b", length))
		}
		r, err := http.NewRequestWithContext(ctx, l.method, "http://app/", body)
		if err != nil {
			o.err = err
			return o
		}
		r.Header = l.fields()
		response, err := do(r)
		if err == nil {
			var text []byte
			text, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
			o.brokeOff = err != nil
			if err == nil {
				o.err = l.check(response.StatusCode, text)
				return o
			}
		}
		o.err = err
		f, ok := errors.AsType[*client.Failure](err)
		if !ok {
			o.err = fmt.Errorf("no *client.Failure: %w", err)
			return o
		}
		o.delivery = f.Delivery
		return o
	}
}

// bySend sends with grpc-go alone. It does what an application would: what provably was not delivered it sends again, and
// so what may be carried out twice. With again unset it does neither.
func bySend(c warmpoolv1.HttpServiceClient, again bool) func(context.Context, *letter) told {
	return func(ctx context.Context, l *letter) told {
		r := &warmpoolv1.HttpRequest{Upstream: "app", Method: l.method, Path: "/"}
		for name, values := range l.fields() {
			r.Headers = append(r.Headers, header(name, values[0]))
		}
		if l.method != "GET" {
			l.length = 10
			r.Body = make([]byte, l.length)
		}
		doubt := false
		for {
			o := told{letter: l}
			answer, err := c.Send(ctx, &warmpoolv1.SendRequest{Request: r}, grpc.WaitForReady(again))
			if err == nil {
				o.err = l.check(int(answer.GetResponse().GetStatus()), answer.GetResponse().GetBody())
				return o
			}
			o.err, o.delivery = err, warmpoolv1.Delivery_DELIVERY_UNKNOWN
			if f := failureIn(err); f != nil {
				o.delivery = f.GetDelivery()
			}
			if undelivered(o.delivery) && doubt {
				o.delivery = warmpoolv1.Delivery_DELIVERY_UNKNOWN
			}
			if !again || ctx.Err() != nil || status.Code(err) != codes.Unavailable || !undelivered(o.delivery) && !l.idempotent() {
				return o
			}
			doubt = doubt || !undelivered(o.delivery)
		}
	}
}

// check judges an answer.
func (r *letter) check(code int, body []byte) error {
	if want := ledgerAnswer(r.method, r.id, r.length); code != http.StatusOK || string(body) != want {
		return fmt.Errorf("wrong answer: status %d, %.200q, want %q", code, body, want)
	}
	return nil
}

func undelivered(d warmpoolv1.Delivery) bool {
	return d == warmpoolv1.Delivery_DELIVERY_NOT_SENT || d == warmpoolv1.Delivery_DELIVERY_NOT_RECEIVED
}

// run keeps the callers going while conduct, called from the test's own goroutine, does what it wants to do to the
// sidecars.
func (l *mixture) run(t *testing.T, conduct func()) {
	t.Helper()
	l.changed = make(chan struct{})
	callers := 0
	for i := range l.ways {
		callers += l.ways[i].callers
	}
	pace := time.Duration(callers) * time.Second / mixtureRate
	ctx, stop := context.WithCancel(t.Context())
	began := time.Now()
	var wg sync.WaitGroup
	defer func() {
		stop()
		wg.Wait()
		l.lasted = time.Since(began)
	}()
	for i := range l.ways {
		for range l.ways[i].callers {
			wg.Go(func() { l.call(ctx, &l.ways[i], pace) })
		}
	}
	l.await(t, 2*callers)
	conduct()
}

// call sends one request each pace, or as many as the machine can.
func (l *mixture) call(ctx context.Context, w *way, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := rand.IntN(4); ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r := &letter{method: []string{"GET", "POST", "PUT", "POST"}[n%4], id: fmt.Sprint("t", serial.Add(1)), key: n%4 == 3}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
		o := w.send(limited, r)
		cancel()
		o.way = w
		l.mu.Lock()
		l.told = append(l.told, o)
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if o.err != nil && l.endsAtOne {
			return
		}
	}
}

// await returns when n more requests have ended.
func (l *mixture) await(t *testing.T, n int) {
	t.Helper()
	awaitEnded(t, &l.mu, &l.changed, n, 2*callLimit, func() int { return len(l.told) })
}

// judgement is what may become of requests.
type judgement struct {
	killed    bool // sidecars ended without a word: what they had may be lost, and is not known of
	succeeded bool // each has a successor: what was not delivered, or may be carried out twice, is answered
}

// judge holds what the callers were told against the ledger.
func (l *mixture) judge(t *testing.T, j judgement) {
	t.Helper()
	type count struct{ answered, failed, brokeOff, repeated int }
	counts, why := make(map[string]*count), make(map[string]int)
	for i := range l.told {
		o := &l.told[i]
		n := counts[o.way.name]
		if n == nil {
			n = new(count)
			counts[o.way.name] = n
		}
		came, whole := l.ledger.of(o.id)
		what := fmt.Sprintf("%s %s (%s; idempotent: %t; the origin has it %d times, %d whole)", o.method, o.id, o.way.name, o.idempotent(), came, whole)
		if whole > 1 {
			n.repeated++
		}
		if whole > 1 && !o.idempotent() {
			t.Errorf("%s was carried out more than once; its caller was told: %v", what, o.err)
		}
		if o.err == nil {
			n.answered++
			if whole == 0 {
				t.Errorf("%s was answered", what)
			}
			continue
		}
		n.failed++
		why[fmt.Sprintf("%s: %v, idempotent: %t, broke off: %t", o.way.name, o.delivery, o.idempotent(), o.brokeOff)]++
		lost := o.idempotent() && (o.way.ours || undelivered(o.delivery))
		switch {
		case undelivered(o.delivery) && came > 0:
			t.Errorf("%s is said not to be delivered: %v", what, o.err)
		case !j.killed && whole > 0:
			t.Errorf("%s was carried out and its answer is lost: %v", what, o.err)
		case o.brokeOff:
			n.brokeOff++
			if !j.killed || o.delivery != warmpoolv1.Delivery_DELIVERY_RESPONDED {
				t.Errorf("%s: the response broke off: %v", what, o.err)
			}
		case j.succeeded && (lost || !j.killed):
			t.Errorf("%s is lost: %v", what, o.err)
		case o.delivery == warmpoolv1.Delivery_DELIVERY_UNSPECIFIED:
			t.Errorf("%s: nothing is said of its delivery: %v", what, o.err)
		}
	}
	t.Logf("%d requests in %.1f s, %.0f a second", len(l.told), l.lasted.Seconds(), float64(len(l.told))/l.lasted.Seconds())
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		n := counts[name]
		t.Logf("%s: %d answered, %d failed (%d broke off), %d carried out more than once", name, n.answered, n.failed, n.brokeOff, n.repeated)
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		t.Logf("%d x %s", why[reason], reason)
	}
}
