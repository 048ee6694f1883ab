package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestASessionsCallsAreAnsweredInTheOrderInWhichTheyAreReady(t *testing.T) {
	release := map[string]chan struct{}{"/1": make(chan struct{}), "/2": make(chan struct{}), "/3": make(chan struct{})}
	h := start(t, web(t, func(_ http.ResponseWriter, r *http.Request) { <-release[r.URL.Path] }))
	s, _ := sessionOf(t, h)
	for id := range uint64(3) {
		calls(t, s, call(id+1, &warmpoolv1.HttpRequest{Upstream: "web", Path: fmt.Sprintf("/%d", id+1)}))
	}
	for _, id := range []uint64{2, 3, 1} {
		close(release[fmt.Sprintf("/%d", id)])
		m, err := s.Recv()
		if err != nil || len(m.GetReplies()) != 1 || m.GetReplies()[0].GetId() != id {
			t.Fatalf("got %v, %v; want the reply to %d", m, err, id)
		}
	}
}

// A session carries no more calls at once than max_session_calls says: what is
// beyond waits, in the client's stream, and comes to its turn.
func TestASessionTakesNoMoreThanItsLimitAtOnce(t *testing.T) {
	const limit, n = 4, 64
	var mu sync.Mutex
	now, most := 0, 0
	full := make(chan struct{}) // as many came as may be there at once
	upstream := web(t, func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		now++
		if most = max(most, now); now == limit && most == limit {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		<-full
		mu.Lock()
		now--
		mu.Unlock()
	})
	cfg := settings(shortDir(t), upstream)
	cfg.Grpc.MaxSessionCalls = proto.Uint32(limit)
	h := startWith(t, cfg)
	s, _ := sessionOf(t, h)
	var batch []*warmpoolv1.SessionCall
	for id := range uint64(n) {
		batch = append(batch, call(id, &warmpoolv1.HttpRequest{Upstream: "web"}))
	}
	calls(t, s, batch...)
	for id, r := range replies(t, s, n) {
		if len(r) != 1 || r[0].GetResponse().GetStatus() != 200 {
			t.Errorf("call %d: %v", id, r)
		}
	}
	if most != limit {
		t.Errorf("%d calls at once, want %d", most, limit)
	}
}

// Replies that are ready while a message is on its way leave together with the
// next one. Here the client reads nothing until all are ready, and its stream
// holds less than all.
func TestRepliesThatWaitLeaveInOneMessage(t *testing.T) {
	const n, size = 400, 1 << 10
	g := newGate()
	upstream := web(t, func(w http.ResponseWriter, r *http.Request) {
		g.serve(w, r)
		_, _ = w.Write(make([]byte, size))
	})
	upstream.Connections = connections(n)
	upstream.Queue = &warmpoolv1.Queue{MaxWait: durationpb.New(2 * patience)}
	h := start(t, upstream)
	s, _ := sessionOf(t, h)
	var batch []*warmpoolv1.SessionCall
	for id := range uint64(n) {
		batch = append(batch, call(id, &warmpoolv1.HttpRequest{Upstream: "web"}))
	}
	calls(t, s, batch...) // one message, n requests
	for range n {
		g.await(t)
	}
	close(g.open)
	messages := 0
	for left := n; left > 0; messages++ {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		left -= len(m.GetReplies())
	}
	if messages >= n {
		t.Errorf("%d replies came in %d messages", n, messages)
	}
	t.Logf("%d replies came in %d messages", n, messages)
}

func TestOneCallsFailureTouchesNoOther(t *testing.T) {
	upstream := web(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/reset":
			panic(http.ErrAbortHandler)
		case "/garbage":
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, "no response at all\r\n\r\n")
			_ = c.Close()
		case "/large":
			_, _ = w.Write(make([]byte, 8<<20))
		default:
			_, _ = io.WriteString(w, "fine")
		}
	})
	upstream.Queue = &warmpoolv1.Queue{MaxWait: durationpb.New(time.Minute)} // the machine may be slow, which is not what is tested
	h := start(t, upstream)
	s, _ := sessionOf(t, h)
	const rounds = 20
	go func() {
		id := uint64(0)
		for range rounds {
			var batch []*warmpoolv1.SessionCall
			for _, path := range []string{"/", "/reset", "/", "/garbage", "/", "/large", "/", "not a path", "/"} {
				batch = append(batch, call(id, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Path: path}))
				id++
			}
			if err := s.Send(&warmpoolv1.SessionRequest{Calls: batch}); err != nil {
				t.Error(err)
			}
		}
	}()
	want := map[uint64]warmpoolv1.Reason{
		1: warmpoolv1.Reason_REASON_CONNECTION_CLOSED, 3: warmpoolv1.Reason_REASON_MALFORMED_RESPONSE,
		5: warmpoolv1.Reason_REASON_BODY_TOO_LARGE, 7: warmpoolv1.Reason_REASON_INVALID_REQUEST,
	}
	for id, r := range replies(t, s, 9*rounds) {
		reason, fails := want[id%9]
		switch {
		case len(r) != 1:
			t.Errorf("call %d is answered %d times", id, len(r))
		case !fails && string(r[0].GetResponse().GetBody()) != "fine":
			t.Errorf("call %d: %v", id, r[0])
		case fails && r[0].GetFailure().GetReason() != reason:
			t.Errorf("call %d: %v, want %v", id, r[0], reason)
		}
	}
}

func TestTraceContextPassesInsideEachCall(t *testing.T) {
	h := start(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Join(r.Header["Traceparent"], "|"), " ", strings.Join(r.Header["Tracestate"], "|"))
	}))
	s, _ := sessionOf(t, h)
	const n = 50
	parent := func(id uint64) string { return fmt.Sprintf("00-%032x-%016x-01", id+1, id+1) }
	var batch []*warmpoolv1.SessionCall
	for id := range uint64(n) {
		batch = append(batch, call(id, &warmpoolv1.HttpRequest{Upstream: "web", Headers: []*warmpoolv1.Header{
			{Name: "traceparent", Value: parent(id)}, {Name: "tracestate", Value: "a=1"}, {Name: "tracestate", Value: "b=2"},
		}}))
	}
	calls(t, s, batch...)
	for id, r := range replies(t, s, n) {
		if got, want := string(r[0].GetResponse().GetBody()), parent(id)+" a=1|b=2"; got != want {
			t.Errorf("call %d arrived with %q, want %q", id, got, want)
		}
	}
}
