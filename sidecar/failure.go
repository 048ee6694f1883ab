package sidecar

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// errorDomain is google.rpc.ErrorInfo's domain in every error of the sidecar.
const errorDomain = "warmpool"

// A gRPC error travels in HTTP/2 trailers, its texts several times over
// (percent-encoded, and in base64 as details), and clients accept as little as
// 8 KiB of them: longer ones turn an error into a broken call.
const (
	maxMessage = 1 << 10 // bytes of an error's text
	maxName    = 64      // bytes of a caller's text that is repeated as a name
)

// failureOf translates the pool's error: it is the one place that does.
// at is the field of the request that is to blame, or nil; retryAfter is when
// trying again makes sense, or 0 when nothing is known.
func failureOf(e *pool.Error, at *fieldError, retryAfter time.Duration) *warmpoolv1.Failure {
	shown := *e
	shown.Upstream = clip(e.Upstream, maxName)
	if at != nil && e.Err != nil {
		shown.Err = at
	}
	code, reason := codeOf(e.Reason), reasonTwin(e.Reason)
	if own, ok := errors.AsType[*callerError](e.Err); ok {
		code, reason, shown.Err = own.code, own.reason, nil
	}
	return &warmpoolv1.Failure{
		Code:     int32(code),
		Message:  clip(shown.Error(), maxMessage),
		Reason:   reason,
		Delivery: deliveryTwin(e.Delivery),
		Attempts: uint32(e.Attempts),
		Receipt:  receiptMessage(e.Receipt),

		RetryAfter: spent(retryAfter),
	}
}

// codeOf is the gRPC code of a reason, by what a caller can do about it.
//
//   - INVALID_ARGUMENT: the same request fails again, whatever the upstream's
//     state. A body over the limit is one of these: it never gets smaller; so is
//     a tunnel or an upgrade, which a pooled connection never becomes.
//   - RESOURCE_EXHAUSTED: a limit of the operator's was met, by the queue or by
//     the upstream's response.
//   - DEADLINE_EXCEEDED: time ran out, the caller's or the operator's. Never
//     UNAVAILABLE, which clients retry by themselves: the upstream may be at work
//     on the request (Failure.delivery says what is known).
//   - PERMISSION_DENIED: the operator does not let requests go there.
//   - UNAVAILABLE: the upstream cannot be reached, broke off, or is going away.
//   - INTERNAL: somebody broke the protocol: the upstream, or the sidecar itself.
func codeOf(r pool.Reason) codes.Code {
	//exhaustive:enforce
	switch r {
	case pool.ReasonNone:
		return codes.Internal
	case pool.ReasonUnknownUpstream, pool.ReasonUpstreamDeleted:
		return codes.NotFound
	case pool.ReasonInvalidRequest, pool.ReasonRequestTooLarge, pool.ReasonUnsupported:
		return codes.InvalidArgument
	case pool.ReasonQueueFull, pool.ReasonResponseTooLarge, pool.ReasonBodyTooLarge:
		return codes.ResourceExhausted
	case pool.ReasonWaitTimeout, pool.ReasonDeadlineExceeded, pool.ReasonResponseTimeout, pool.ReasonBodyTimeout:
		return codes.DeadlineExceeded
	case pool.ReasonCancelled:
		return codes.Canceled
	case pool.ReasonAddressForbidden:
		return codes.PermissionDenied
	case pool.ReasonDNSFailed, pool.ReasonDialRefused, pool.ReasonDialTimeout, pool.ReasonDialFailed,
		pool.ReasonNoLocalPort, pool.ReasonTLSFailed,
		pool.ReasonConnectionClosed, pool.ReasonConnectionReset, pool.ReasonWriteFailed, pool.ReasonResponseTruncated,
		pool.ReasonUpstreamPaused, pool.ReasonDraining:
		return codes.Unavailable
	case pool.ReasonMalformedResponse, pool.ReasonInternal:
		return codes.Internal
	}
	return codes.Internal
}

// The pool's codes and the API's enums are the same lists by name.

func reasonTwin(r pool.Reason) warmpoolv1.Reason {
	return warmpoolv1.Reason(warmpoolv1.Reason_value["REASON_"+r.String()])
}

func deliveryTwin(d pool.Delivery) warmpoolv1.Delivery {
	return warmpoolv1.Delivery(warmpoolv1.Delivery_value["DELIVERY_"+d.String()])
}

func closeReasonTwin(r pool.CloseReason) warmpoolv1.CloseReason {
	return warmpoolv1.CloseReason(warmpoolv1.CloseReason_value["CLOSE_REASON_"+r.String()])
}

// statusOf makes a failure a gRPC error, with the failure itself, an ErrorInfo,
// and where they apply a RetryInfo and a BadRequest as details.
func statusOf(f *warmpoolv1.Failure, upstream string, at *fieldError) error {
	details := []protoadapt.MessageV1{
		f,
		&errdetails.ErrorInfo{
			Domain: errorDomain,
			Reason: f.GetReason().String(),
			Metadata: map[string]string{
				"upstream": clip(upstream, maxName),
				"delivery": strings.TrimPrefix(f.GetDelivery().String(), "DELIVERY_"),
			},
		},
	}
	if d := f.GetRetryAfter(); d != nil {
		details = append(details, &errdetails.RetryInfo{RetryDelay: d})
	}
	if at != nil {
		details = append(details, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: at.field, Description: clip(at.problem, maxMessage/4), Reason: f.GetReason().String()},
		}})
	}
	s := status.New(codes.Code(f.GetCode()), f.GetMessage())
	if with, err := s.WithDetails(details...); err == nil {
		s = with
	}
	return s.Err()
}

// clip makes a text valid UTF-8, as gRPC needs it, of at most limit bytes.
func clip(text string, limit int) string {
	const mark = "…"
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	cut := limit - len(mark)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + mark
}
