package sidecar_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// sessionOf opens a session on the sidecar.
func sessionOf(t *testing.T, h *house) (warmpoolv1.HttpService_SessionClient, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s, err := h.client(t).Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s, cancel
}

func calls(t *testing.T, s warmpoolv1.HttpService_SessionClient, batch ...*warmpoolv1.SessionCall) {
	t.Helper()
	if err := s.Send(&warmpoolv1.SessionRequest{Calls: batch}); err != nil {
		t.Fatal(err)
	}
}

func call(id uint64, request *warmpoolv1.HttpRequest) *warmpoolv1.SessionCall {
	return &warmpoolv1.SessionCall{Id: id, Call: &warmpoolv1.SessionCall_Request{Request: request}}
}

func cancelCall(id uint64) *warmpoolv1.SessionCall {
	return &warmpoolv1.SessionCall{Id: id, Call: &warmpoolv1.SessionCall_Cancel{Cancel: &warmpoolv1.Cancel{}}}
}

// replies receives n replies, by id.
func replies(t *testing.T, s warmpoolv1.HttpService_SessionClient, n int) map[uint64][]*warmpoolv1.SessionReply {
	t.Helper()
	got := make(map[uint64][]*warmpoolv1.SessionReply)
	for n > 0 {
		m, err := s.Recv()
		if err != nil {
			t.Fatalf("%d replies are missing: %v", n, err)
		}
		for _, r := range m.GetReplies() {
			got[r.GetId()] = append(got[r.GetId()], r)
			n--
		}
	}
	return got
}

func TestASessionCarriesManyExchangesAtOnce(t *testing.T) {
	upstream := web(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, body)
	})
	upstream.Queue = &warmpoolv1.Queue{MaxWait: durationpb.New(time.Minute)} // the machine may be slow, which is not what is tested
	h := start(t, upstream)
	s, _ := sessionOf(t, h)
	const n = 3000
	var sent sync.WaitGroup
	sent.Go(func() {
		for i := uint64(0); i < n; i += 3 {
			calls(t, s,
				call(i, &warmpoolv1.HttpRequest{Upstream: "web", Path: fmt.Sprintf("/%d", i)}),
				call(i+1, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Path: "/", Body: []byte(strings.Repeat("b", int(i)))}),
				call(i+2, &warmpoolv1.HttpRequest{Upstream: "nowhere"}))
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
	})
	got := replies(t, s, n)
	sent.Wait()
	for i := uint64(0); i < n; i += 3 {
		if r := got[i][0].GetResponse(); r.GetStatus() != 200 || string(r.GetBody()) != fmt.Sprintf("GET /%d ", i) {
			t.Fatalf("reply %d: %v", i, got[i])
		}
		if r := got[i+1][0].GetResponse(); string(r.GetBody()) != "POST / "+strings.Repeat("b", int(i)) {
			t.Fatalf("reply %d: %d bytes", i+1, len(r.GetBody()))
		}
		if f := got[i+2][0].GetFailure(); f.GetReason() != warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM || f.GetDelivery() != warmpoolv1.Delivery_DELIVERY_NOT_SENT {
			t.Fatalf("reply %d: %v", i+2, f)
		}
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("after the last reply: %v", err)
	}
}

func TestWrongIdsAreAnsweredAndTheSessionGoesOn(t *testing.T) {
	release := make(chan struct{})
	h := start(t, web(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
	}))
	s, _ := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web", Path: "/slow"}),
		call(1, &warmpoolv1.HttpRequest{Upstream: "web", Path: "/again"}), cancelCall(9))
	got := replies(t, s, 2)
	if f := got[1][0].GetFailure(); f.GetReason() != warmpoolv1.Reason_REASON_DUPLICATE_ID {
		t.Errorf("a duplicate id: %v", got[1])
	}
	if f := got[9][0].GetFailure(); f.GetReason() != warmpoolv1.Reason_REASON_UNKNOWN_ID {
		t.Errorf("an unknown id: %v", got[9])
	}
	close(release)
	calls(t, s, call(2, &warmpoolv1.HttpRequest{Upstream: "web", Path: "/"}))
	got = replies(t, s, 2)
	if got[1][0].GetResponse().GetStatus() != 200 || got[2][0].GetResponse().GetStatus() != 200 {
		t.Errorf("got %v", got)
	}
}

func TestOneCallOfASessionIsCancelledAndNoOther(t *testing.T) {
	arrived := make(chan struct{}, 2)
	release := make(chan struct{})
	h := start(t, web(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	s, _ := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web"}), call(2, &warmpoolv1.HttpRequest{Upstream: "web"}))
	<-arrived
	<-arrived
	calls(t, s, cancelCall(1))
	got := replies(t, s, 1)
	if f := got[1][0].GetFailure(); f.GetReason() != warmpoolv1.Reason_REASON_CANCELLED || f.GetDelivery() != warmpoolv1.Delivery_DELIVERY_UNKNOWN {
		t.Errorf("the cancelled call: %v", got)
	}
	close(release)
	if got := replies(t, s, 1); got[2][0].GetResponse().GetStatus() != 200 {
		t.Errorf("the other call: %v", got)
	}
}

func TestACallsFailureSaysWhatItWouldByItself(t *testing.T) {
	h := start(t, web(t, func(http.ResponseWriter, *http.Request) {}))
	s, _ := sessionOf(t, h)
	calls(t, s,
		call(1, &warmpoolv1.HttpRequest{Upstream: "web", Path: "/a b"}),
		call(2, nil),
		call(3, &warmpoolv1.HttpRequest{Upstream: "web", Timeout: durationpb.New(-1)}),
	)
	got := replies(t, s, 3)
	for id, says := range map[uint64]string{1: "request.path", 2: "request", 3: "request.timeout"} {
		f := got[id][0].GetFailure()
		if f.GetReason() != warmpoolv1.Reason_REASON_INVALID_REQUEST || !strings.Contains(f.GetMessage(), says) {
			t.Errorf("call %d: %v", id, f)
		}
	}
}

func TestASessionThatIsLostStopsItsCalls(t *testing.T) {
	arrived, stopped := make(chan struct{}), make(chan struct{})
	h := start(t, web(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(stopped)
	}))
	s, lose := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web"}))
	<-arrived
	lose()
	<-stopped
}

func TestASessionIsToldOfTheDrainAndKeepsItsCalls(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	h := start(t, web(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "done")
	}))
	s, _ := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web"}))
	<-arrived
	h.stop()
	if m, err := s.Recv(); err != nil || !m.GetDraining() {
		t.Fatalf("got %v, %v; want to be told", m, err)
	}
	calls(t, s, call(2, &warmpoolv1.HttpRequest{Upstream: "web"}))
	if f := replies(t, s, 1)[2][0].GetFailure(); f.GetReason() != warmpoolv1.Reason_REASON_DRAINING || f.GetDelivery() != warmpoolv1.Delivery_DELIVERY_NOT_SENT {
		t.Errorf("a new call: %v", f)
	}
	close(release)
	if r := replies(t, s, 1)[1][0].GetResponse(); string(r.GetBody()) != "done" {
		t.Errorf("the call that ran: %v", r)
	}
	h.wait(t)
}

// A client that leaves a session open is told at its end that every call it has no reply to was not taken: it may send
// those again, whatever they are.
func TestASessionThatIsLeftOpenIsEndedByTheDrainAndNotBrokenOff(t *testing.T) {
	h := start(t, web(t, func(http.ResponseWriter, *http.Request) {}))
	s, _ := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web"}))
	replies(t, s, 1)
	h.stop()
	var sent, answered uint64 = 1, 1
	for {
		m, err := s.Recv()
		if err != nil {
			readRefusal(t, err).want(t, codes.Unavailable, warmpoolv1.Reason_REASON_DRAINING, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
			break
		}
		for _, r := range m.GetReplies() {
			answered++
			if f := r.GetFailure(); f.GetReason() != warmpoolv1.Reason_REASON_DRAINING || f.GetDelivery() != warmpoolv1.Delivery_DELIVERY_NOT_SENT {
				t.Errorf("a call of a session that was told: %v", r)
			}
		}
		sent++ // until it is ended, and then one that is not taken
		if err := s.Send(&warmpoolv1.SessionRequest{Calls: []*warmpoolv1.SessionCall{call(sent, &warmpoolv1.HttpRequest{Upstream: "web"})}}); err != nil {
			sent--
		}
	}
	if answered != sent && answered != sent-1 {
		t.Errorf("%d calls were sent and %d answered", sent, answered)
	}
	h.wait(t)
}

func TestACallThatHangsAndAClientThatReadsNothingDoNotOutlastTheGrace(t *testing.T) {
	g := newGate()
	defer close(g.open)
	for _, c := range []struct {
		name  string
		grace time.Duration
		hurry bool
	}{{"the grace is over", 20 * time.Millisecond, false}, {"it is hurried", time.Hour, true}} {
		t.Run(c.name, func(t *testing.T) {
			endless := &warmpoolv1.Upstream{Name: "endless", Url: web(t, func(w http.ResponseWriter, _ *http.Request) {
				for block := make([]byte, 64<<10); ; {
					if _, err := w.Write(block); err != nil {
						return
					}
				}
			}).GetUrl()}
			cfg := settings(shortDir(t), web(t, g.serve), endless)
			cfg.Drain.Grace = durationpb.New(c.grace)
			h := startWith(t, cfg)
			s, _ := sessionOf(t, h)
			calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web"}))
			g.await(t)
			stream, err := h.client(t).Stream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Head{Head: &warmpoolv1.HttpRequest{Upstream: "endless"}}, End: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil { // and no more is read
				t.Fatal(err)
			}
			h.stop()
			if c.hurry {
				h.Hurry()
			}
			if m, err := s.Recv(); err != nil || !m.GetDraining() {
				t.Errorf("got %v, %v", m, err)
			} else if len(m.GetReplies()) == 0 {
				m, err = s.Recv()
				if err != nil || m.GetReplies()[0].GetFailure().GetDelivery() != warmpoolv1.Delivery_DELIVERY_UNKNOWN {
					t.Errorf("the call that ran: %v, %v", m, err)
				}
			}
			h.wait(t)
		})
	}
}

func TestAClientThatReadsNothingHoldsNobodyElseUp(t *testing.T) {
	h := start(t, web(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 64<<10)) }))
	deaf, _ := sessionOf(t, h)
	for i := range uint64(2000) { // more than every buffer on the way holds, so that sending stops at some point
		if i%100 == 0 {
			send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
		}
		done := make(chan error, 1)
		go func() {
			done <- deaf.Send(&warmpoolv1.SessionRequest{Calls: []*warmpoolv1.SessionCall{call(i, &warmpoolv1.HttpRequest{Upstream: "web"})}})
		}()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
}
