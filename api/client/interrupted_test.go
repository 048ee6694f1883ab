package client_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// errCrash is how gRPC tells of a server that is gone.
var errCrash = status.Error(codes.Unavailable, "the connection is gone")

// threeAtOnce asks for a GET, a POST and a POST that the caller says is idempotent, so that all three ride the shared
// session.
func threeAtOnce(t *testing.T, c *client.Client) (get, post, promised <-chan result) {
	t.Helper()
	get = asked(c, request(t, "GET", "/get", nil))
	post = asked(c, request(t, "POST", "/post", nil))
	promised = asked(c, request(t, "POST", "/promised", nil).WithContext(client.WithIdempotent(t.Context())))
	return get, post, promised
}

func wantUnknown(t *testing.T, done <-chan result, retryable bool) {
	t.Helper()
	f := failure(t, receive(t, done, "the call's end").err)
	if f.Delivery != warmpoolv1.Delivery_DELIVERY_UNKNOWN || f.Retryable() != retryable {
		t.Errorf("got %v, retryable %t; want delivery UNKNOWN, %t", f, f.Retryable(), retryable)
	}
}

func TestWhatASidecarWasLostWithGoesToTheNextWhereItMay(t *testing.T) {
	s, c := script(t)
	get, post, promised := threeAtOnce(t, c)
	first := s.next(t)
	first.calls(3)
	first.end <- errCrash
	next := s.next(t)
	for _, call := range next.calls(2) {
		next.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{answer(call)}})
	}
	for want, done := range map[string]<-chan result{"/get": get, "/promised": promised} {
		if r := receive(t, done, "a reply"); r.err != nil || r.body != want {
			t.Errorf("got %q, %v", r.body, r.err)
		}
	}
	wantUnknown(t, post, false)
}

func TestARequestThatOneSidecarAfterAnotherIsLostWithIsNotSentForEver(t *testing.T) {
	s, c := script(t)
	get := asked(c, request(t, "GET", "/", nil))
	for range 4 {
		se := s.next(t)
		se.calls(1)
		se.end <- errCrash
	}
	wantUnknown(t, get, true)
	if n := len(s.sessions); n > 0 {
		t.Errorf("%d more sessions were opened", n)
	}
}

func TestWhatASidecarWasLostWithIsNeverSaidToBeUndelivered(t *testing.T) {
	lose := func(t *testing.T, options ...client.Option) (*scripted, <-chan result, context.CancelFunc) {
		s, c := script(t, options...)
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		get := asked(c, request(t, "GET", "/get", nil).WithContext(ctx))
		se := s.next(t)
		se.calls(1)
		se.end <- errCrash
		return s, get, cancel
	}
	t.Run("the next one refuses it", func(t *testing.T) {
		s, get, _ := lose(t)
		se := s.next(t)
		for _, call := range se.calls(1) {
			se.reply(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{{Id: call.GetId(), Outcome: &warmpoolv1.SessionReply_Failure{
				Failure: &warmpoolv1.Failure{Reason: warmpoolv1.Reason_REASON_QUEUE_FULL, Delivery: warmpoolv1.Delivery_DELIVERY_NOT_SENT},
			}}}})
		}
		wantUnknown(t, get, true)
	})
	t.Run("the caller gives up", func(t *testing.T) {
		s, get, cancel := lose(t)
		se := s.next(t) // it is asked for, and the call may wait for it or ride it
		cancel()
		wantUnknown(t, get, false)
		se.end <- errCrash
	})
	t.Run("there is no next one", func(t *testing.T) {
		inBothWays(t, func(t *testing.T, options ...client.Option) {
			dir := shortDir(t)
			serve, arrived, _ := stalling(false)
			h := start(t, dir, web(t, serve))
			c := dial(t, h.socket, append(options, client.Patience(2*time.Second))...)
			get := asked(c, request(t, "GET", "/", nil))
			receive(t, arrived, "the request")
			h.Hurry()
			h.end(t)
			wantUnknown(t, get, true)
		})
	})
}

func TestASessionThatIsRefusedAsAWholeHasTakenNothingThatIsNotAnswered(t *testing.T) {
	s, c := script(t)
	get, post, promised := threeAtOnce(t, c)
	se := s.next(t)
	se.calls(3)
	refusal, err := status.New(codes.Unavailable, "the sidecar is shutting down").WithDetails(
		&warmpoolv1.Failure{Reason: warmpoolv1.Reason_REASON_DRAINING, Delivery: warmpoolv1.Delivery_DELIVERY_NOT_SENT, Code: int32(codes.Unavailable)},
		&errdetails.ErrorInfo{Domain: "warmpool", Reason: "REASON_DRAINING"})
	if err != nil {
		t.Fatal(err)
	}
	se.end <- refusal.Err()
	s.answerAll(t)
	for _, done := range []<-chan result{get, post, promised} {
		if r := receive(t, done, "a reply"); r.err != nil {
			t.Error(r.err)
		}
	}
}
