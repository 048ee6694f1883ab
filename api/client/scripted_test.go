package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// scripted is a sidecar that does what a test says with each session, by the
// generated code: what a real one would rarely do.
type scripted struct {
	warmpoolv1.UnimplementedHttpServiceServer

	sessions chan *scriptedSession
}

// scriptedSession is a session that the test serves.
type scriptedSession struct {
	*testing.T

	stream warmpoolv1.HttpService_SessionServer
	end    chan error
}

// Session implements warmpoolv1.HttpServiceServer.
func (s *scripted) Session(stream warmpoolv1.HttpService_SessionServer) error {
	se := &scriptedSession{stream: stream, end: make(chan error, 1)}
	s.sessions <- se
	select {
	case err := <-se.end:
		return err
	case <-stream.Context().Done():
		return nil
	}
}

// script starts a scripted sidecar, and a client of it.
func script(t *testing.T, options ...client.Option) (*scripted, *client.Client) {
	t.Helper()
	socket := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{sessions: make(chan *scriptedSession, 16)}
	server := grpc.NewServer()
	warmpoolv1.RegisterHttpServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return s, dial(t, "unix://"+socket, options...)
}

// next is the session that the client opens next.
func (s *scripted) next(t *testing.T) *scriptedSession {
	t.Helper()
	se := receive(t, s.sessions, "a session")
	se.T = t
	return se
}

// answerAll serves every further session, be it one that is shared or that of a call
// alone.
func (s *scripted) answerAll(t *testing.T) {
	serve := func(se *scriptedSession) {
		for {
			m, err := se.stream.Recv()
			if err != nil {
				return
			}
			for _, call := range m.GetCalls() {
				_ = se.stream.Send(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(call)}})
			}
		}
	}
	go func() {
		for {
			select {
			case se := <-s.sessions:
				go serve(se)
			case <-t.Context().Done():
				return
			}
		}
	}()
}

// message receives the client's next one.
func (se *scriptedSession) message() []*warmpoolv1.SessionCall {
	se.Helper()
	m, err := se.stream.Recv()
	if err != nil {
		se.Fatalf("the client's message: %v", err)
	}
	return m.GetCalls()
}

// calls receives n calls.
func (se *scriptedSession) calls(n int) []*warmpoolv1.SessionCall {
	se.Helper()
	var calls []*warmpoolv1.SessionCall
	for len(calls) < n {
		calls = append(calls, se.message()...)
	}
	return calls
}

func (se *scriptedSession) reply(m *warmpoolv1.SessionResponse) {
	se.Helper()
	if err := se.stream.Send(m); err != nil {
		se.Fatal(err)
	}
}

// answer is a reply with the call's path in its body.
func answer(c *warmpoolv1.SessionCall) *warmpoolv1.SessionReply {
	return &warmpoolv1.SessionReply{Id: c.GetId(), Outcome: &warmpoolv1.SessionReply_Response{
		Response: &warmpoolv1.HttpResponse{Status: 200, Body: []byte(c.GetRequest().GetPath())},
	}}
}

// together asks n times at once, so that no call is alone: all ride the shared session.
func together(t *testing.T, c *client.Client, ctx context.Context, n int) []<-chan result {
	t.Helper()
	var all []<-chan result
	for i := range n {
		all = append(all, asked(c, request(t, "POST", fmt.Sprint("/", i), nil).WithContext(ctx)))
	}
	return all
}

func TestRepliesFindTheirCallsInAnyOrder(t *testing.T) {
	s, c := script(t)
	all := together(t, c, t.Context(), 20)
	se := s.next(t)
	calls := se.calls(20)
	m := &warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{{Id: 1 << 40}}} // of nobody
	for i := range calls {
		m.Replies = append(m.Replies, answer(calls[len(calls)-1-i]))
	}
	m.Replies = append(m.Replies, answer(calls[0])) // once more
	se.reply(m)
	for i, done := range all {
		if r := receive(t, done, "a reply"); r.err != nil || r.body != fmt.Sprint("/", i) {
			t.Errorf("got %q, %v", r.body, r.err)
		}
	}
}

func TestNoMoreCallsAreOpenThanMayBe(t *testing.T) {
	s, c := script(t, client.InFlight(1, 100))
	all := together(t, c, t.Context(), 30)
	se := s.next(t)
	se.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(se.calls(1)[0])}})
	for range 29 { // the bound holds: one at a time
		calls := se.message()
		if len(calls) != 1 {
			t.Fatalf("%d calls at once, though one is allowed", len(calls))
		}
		se.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(calls[0])}})
	}
	for _, done := range all {
		if r := receive(t, done, "a reply"); r.err != nil {
			t.Error(r.err)
		}
	}
}

func TestMoreCallsThanMayWaitAreRefused(t *testing.T) {
	s, c := script(t, client.InFlight(2, 3))
	all := together(t, c, t.Context(), 10)
	var refused []*client.Failure
	rest := make(chan result, 10)
	for _, done := range all {
		go func() { rest <- <-done }()
	}
	for range 5 {
		refused = append(refused, failure(t, receive(t, rest, "a refusal").err))
	}
	for _, f := range refused {
		if f.Reason != warmpoolv1.Reason_REASON_QUEUE_FULL || f.Delivery != warmpoolv1.Delivery_DELIVERY_NOT_SENT || !f.Retryable() {
			t.Errorf("got %v", f)
		}
	}
	se := s.next(t)
	for n := 0; n < 5; {
		for _, call := range se.message() {
			se.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(call)}})
			n++
		}
	}
	for range 5 {
		if r := receive(t, rest, "a reply"); r.err != nil {
			t.Error(r.err)
		}
	}
}

func TestACallThatGivesUpIsCancelledAndKeepsItsPlaceUntilItIsAnswered(t *testing.T) {
	s, c := script(t, client.InFlight(2, 10))
	kept := together(t, c, t.Context(), 1)[0]
	se := s.next(t)
	first := se.calls(1)[0]
	ctx, cancel := cancelled(t)
	leaver := together(t, c, ctx, 1)[0]
	second := se.calls(1)[0]
	cancel()
	f := failure(t, receive(t, leaver, "the call's end").err)
	if !errors.Is(f, context.Canceled) || f.Delivery != warmpoolv1.Delivery_DELIVERY_UNKNOWN {
		t.Errorf("got %v", f)
	}
	if call := se.calls(1)[0]; call.GetCancel() == nil || call.GetId() != second.GetId() {
		t.Errorf("got %v, want the cancel of call %d", call, second.GetId())
	}
	later := together(t, c, t.Context(), 1)[0]
	se.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(second)}}) // which frees its place
	third := se.calls(1)[0]
	se.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(third), answer(first)}})
	for _, done := range []<-chan result{kept, later} {
		if r := receive(t, done, "a reply"); r.err != nil {
			t.Error(r.err)
		}
	}
}

func TestALostSessionTellsWhatIsKnownAndIsReplaced(t *testing.T) {
	s, c := script(t)
	all := together(t, c, t.Context(), 8)
	se := s.next(t)
	se.calls(8)
	se.end <- status.Error(codes.Internal, "a defect")
	for _, done := range all {
		f := failure(t, receive(t, done, "the call's end").err)
		if !errors.Is(f, client.ErrSidecarLost) || f.Delivery != warmpoolv1.Delivery_DELIVERY_UNKNOWN || f.Retryable() ||
			!strings.Contains(f.Error(), "a defect") {
			t.Errorf("got %v", f)
		}
	}
	again := together(t, c, t.Context(), 2)
	s.answerAll(t)
	for _, done := range again {
		if r := receive(t, done, "a reply"); r.err != nil {
			t.Error(r.err)
		}
	}
}

func TestASessionThatDrainsGivesItsRefusedCallsToTheNext(t *testing.T) {
	s, c := script(t)
	all := together(t, c, t.Context(), 6)
	se := s.next(t)
	calls := se.calls(6)
	m := &warmpoolv1.SessionResponse{Draining: true}
	for _, call := range calls[:5] {
		m.Replies = append(m.Replies, &warmpoolv1.SessionReply{Id: call.GetId(), Outcome: &warmpoolv1.SessionReply_Failure{
			Failure: &warmpoolv1.Failure{Reason: warmpoolv1.Reason_REASON_DRAINING, Delivery: warmpoolv1.Delivery_DELIVERY_NOT_SENT},
		}})
	}
	se.reply(m)
	next := s.next(t)
	for _, call := range next.calls(5) {
		next.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(call)}})
	}
	se.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(calls[5])}}) // it was taken, and is answered
	if _, err := se.stream.Recv(); err == nil {
		t.Error("the client sends more on a session that drains")
	}
	se.end <- nil
	for i, done := range all {
		if r := receive(t, done, "a reply"); r.err != nil || r.body != fmt.Sprint("/", i) {
			t.Errorf("got %q, %v", r.body, r.err)
		}
	}
}

func TestSomethingElseThanASidecarIsToldAtOnce(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer() // without our services
	go server.Serve(l)
	t.Cleanup(server.Stop)
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		c := dial(t, "unix://"+l.Addr().String(), append(options, client.Patience(time.Hour))...)
		f := failure(t, receive(t, asked(c, request(t, "POST", "/", nil)), "an answer").err)
		if f.Delivery != warmpoolv1.Delivery_DELIVERY_NOT_SENT || f.Code != codes.Unimplemented || !strings.Contains(f.Error(), "no sidecar") {
			t.Errorf("got %v", f)
		}
	})
}

func TestAResponseTooLargeForASessionComesAsAStream(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 5<<16) // 5 MiB, where 4 are buffered
	asked := make(chan string, 10)
	h := start(t, shortDir(t), web(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method
		fmt.Fprint(w, large)
	}))
	c := dial(t, h.socket)
	_, err := c.Do(t.Context(), request(t, "POST", "/large", nil))
	f := failure(t, err)
	if f.Reason != warmpoolv1.Reason_REASON_BODY_TOO_LARGE || !strings.Contains(f.Error(), "client.WithStream") || f.Retryable() {
		t.Errorf("the first POST: %v", f)
	}
	for _, method := range []string{"POST", "GET"} { // the path is known now
		r, err := c.Do(t.Context(), request(t, method, "/large?again", nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, r); got != large {
			t.Errorf("got %d bytes", len(got))
		}
	}
	if n := len(asked); n != 3 {
		t.Errorf("the upstream was asked %d times, want 3", n)
	}
	r, err := c.Do(t.Context(), request(t, "PUT", "/other", strings.NewReader("sent twice"))) // which PUT may be
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, r); got != large {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestReceiptsAreToldOfBothWays(t *testing.T) {
	h := start(t, shortDir(t), web(t, echo))
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		c := dial(t, h.socket, options...)
		for range 3 { // the first call shares a session, later ones are alone
			var told []*warmpoolv1.Receipt
			ctx := client.WithReceipt(client.WithIdempotent(t.Context()), func(r *warmpoolv1.Receipt) { told = append(told, r) })
			r, err := c.Do(ctx, request(t, "POST", "/", strings.NewReader("text")))
			if err != nil {
				t.Fatal(err)
			}
			body(t, r)
			if len(told) != 1 || told[0].GetAttempts() != 1 || told[0].GetConnectionId() == 0 {
				t.Errorf("got %v", told)
			}
		}
		r := request(t, "GET", "/", nil)
		r.URL.Host = "nowhere"
		_, err := c.Do(client.WithReceipt(t.Context(), func(*warmpoolv1.Receipt) {}), r)
		if f := failure(t, err); f.Reason != warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM || f.Retryable() {
			t.Errorf("got %v", f)
		}
	})
}
