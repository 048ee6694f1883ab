package sidecar

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// codeByReason is written out here a second time on purpose: it is what callers
// program against, and a change must be one of mind.
var codeByReason = map[pool.Reason]codes.Code{
	pool.ReasonUnknownUpstream:   codes.NotFound,
	pool.ReasonInvalidRequest:    codes.InvalidArgument,
	pool.ReasonRequestTooLarge:   codes.InvalidArgument,
	pool.ReasonUnsupported:       codes.InvalidArgument,
	pool.ReasonQueueFull:         codes.ResourceExhausted,
	pool.ReasonWaitTimeout:       codes.DeadlineExceeded,
	pool.ReasonDeadlineExceeded:  codes.DeadlineExceeded,
	pool.ReasonCancelled:         codes.Canceled,
	pool.ReasonDNSFailed:         codes.Unavailable,
	pool.ReasonAddressForbidden:  codes.PermissionDenied,
	pool.ReasonDialRefused:       codes.Unavailable,
	pool.ReasonDialTimeout:       codes.Unavailable,
	pool.ReasonDialFailed:        codes.Unavailable,
	pool.ReasonNoLocalPort:       codes.Unavailable,
	pool.ReasonTLSFailed:         codes.Unavailable,
	pool.ReasonConnectionClosed:  codes.Unavailable,
	pool.ReasonConnectionReset:   codes.Unavailable,
	pool.ReasonWriteFailed:       codes.Unavailable,
	pool.ReasonResponseTruncated: codes.Unavailable,
	pool.ReasonMalformedResponse: codes.Internal,
	pool.ReasonResponseTooLarge:  codes.ResourceExhausted,
	pool.ReasonBodyTooLarge:      codes.ResourceExhausted,
	pool.ReasonResponseTimeout:   codes.DeadlineExceeded,
	pool.ReasonBodyTimeout:       codes.DeadlineExceeded,
	pool.ReasonUpstreamDeleted:   codes.NotFound,
	pool.ReasonUpstreamPaused:    codes.Unavailable,
	pool.ReasonDraining:          codes.Unavailable,
	pool.ReasonInternal:          codes.Internal,
}

func TestEveryReasonBecomesAStatus(t *testing.T) {
	for _, reason := range pool.Reasons() {
		t.Run(reason.String(), func(t *testing.T) {
			e := &pool.Error{
				Reason: reason, Delivery: pool.DeliveryUnknown, Upstream: "payments", Attempts: 2,
				Endpoint: netip.MustParseAddrPort("10.0.0.1:80"), Detail: "what happened", Err: errors.New("the cause"),
			}
			want, ok := codeByReason[reason]
			if !ok {
				t.Fatalf("%v has no code in this test: decide on one", reason)
			}
			s := status.Convert(statusOf(failureOf(e, nil, 0), e.Upstream, nil))
			if s.Code() != want {
				t.Errorf("code %v, want %v", s.Code(), want)
			}
			for _, text := range []string{"payments", "what happened", "10.0.0.1:80", "the cause"} {
				if !strings.Contains(s.Message(), text) {
					t.Errorf("message %q does not say %q", s.Message(), text)
				}
			}
			failure, info := details(t, s)
			if failure.GetReason().String() != "REASON_"+reason.String() || failure.GetDelivery() != warmpoolv1.Delivery_DELIVERY_UNKNOWN ||
				failure.GetAttempts() != 2 || codes.Code(failure.GetCode()) != want || failure.GetMessage() != s.Message() {
				t.Errorf("Failure: %v", failure)
			}
			if info.GetDomain() != "warmpool" || info.GetReason() != "REASON_"+reason.String() ||
				info.GetMetadata()["upstream"] != "payments" || info.GetMetadata()["delivery"] != "UNKNOWN" {
				t.Errorf("ErrorInfo: %v", info)
			}
		})
	}
}

func details(t *testing.T, s *status.Status) (*warmpoolv1.Failure, *errdetails.ErrorInfo) {
	t.Helper()
	all := s.Details()
	if len(all) < 2 {
		t.Fatalf("details: %v", all)
	}
	failure, ok := all[0].(*warmpoolv1.Failure)
	info, alsoOK := all[1].(*errdetails.ErrorInfo)
	if !ok || !alsoOK {
		t.Fatalf("details: %v", all)
	}
	return failure, info
}

func TestEveryCodeOfThePoolHasItsTwinInTheAPI(t *testing.T) {
	for _, r := range pool.Reasons() {
		if _, ok := warmpoolv1.Reason_value["REASON_"+r.String()]; !ok {
			t.Errorf("Reason has no REASON_%s", r)
		}
	}
	for _, r := range pool.CloseReasons() {
		if _, ok := warmpoolv1.CloseReason_value["CLOSE_REASON_"+r.String()]; !ok {
			t.Errorf("CloseReason has no CLOSE_REASON_%s", r)
		}
	}
	for d := pool.DeliveryNotSent; d <= pool.DeliveryResponded; d++ {
		if got := deliveryTwin(d); got.String() != "DELIVERY_"+d.String() {
			t.Errorf("%v became %v", d, got)
		}
	}
}

func TestErrorsFitIntoATrailer(t *testing.T) {
	long := strings.Repeat("\xffé\n", 100_000)
	e := &pool.Error{
		Reason: pool.ReasonInvalidRequest, Delivery: pool.DeliveryNotSent, Upstream: long, Detail: long, Err: errors.New(long),
		State:   &pool.State{LastDialError: long},
		Receipt: &pool.Receipt{Connection: 1 << 60, Waited: time.Hour, Total: time.Hour},
	}
	at := &fieldError{"request.headers[123456].value", long}
	s := status.Convert(statusOf(failureOf(e, at, time.Second), e.Upstream, at))
	if n := len(s.Message()); n > maxMessage || !utf8.ValidString(s.Message()) {
		t.Errorf("message of %d bytes, valid UTF-8: %v", n, utf8.ValidString(s.Message()))
	}
	if len(s.Details()) != 4 {
		t.Errorf("details: %v", s.Details())
	}
	// As sent: the message percent-encoded at worst, the details in base64.
	const accepted = 8 << 10
	if sent := 3*len(s.Message()) + 4*proto.Size(s.Proto())/3; sent > accepted {
		t.Errorf("the trailer takes %d bytes, clients accept as little as %d", sent, accepted)
	}
}

func TestClipCutsBetweenCharacters(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"12345678", "12345678"},
		{"123456789", "12345…"},
		{"1234ü6789", "1234…"},
		{"a\xffb", "a\uFFFDb"},
	} {
		if got := clip(tt.in, 8); got != tt.want {
			t.Errorf("clip(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
