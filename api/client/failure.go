package client

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// Failure is why a request has no response, or no complete one. Every error of Do,
// RoundTrip and a response's body is one, but for io.EOF, a Read after Close, and
// compression that is none.
//
// It unwraps to context.Canceled or context.DeadlineExceeded and to the context's
// cause where the caller's context ended the call, to io.ErrUnexpectedEOF where the
// response was cut short, to an error of the request's body, and to
// ErrNoSidecar, ErrSidecarLost or ErrClosed.
type Failure struct {
	// Reason is why. REASON_UNSPECIFIED: the sidecar was not reached, or was lost.
	Reason warmpoolv1.Reason
	// Delivery is what is known of the request's way to the upstream.
	Delivery warmpoolv1.Delivery
	// Code is the gRPC code that goes with Reason.
	Code codes.Code
	// Attempts is how many the sidecar made, as far as it told.
	Attempts int
	// Message says what failed, where and with which value. For people.
	Message string
	// RetryAfter is when sending again makes sense. 0: nothing is known.
	RetryAfter time.Duration
	// Receipt is how far the exchange came. Nil unless WithReceipt asked for it and
	// the sidecar told.
	Receipt *warmpoolv1.Receipt

	idempotent bool
	causes     []error
}

// Errors that a Failure unwraps to.
var (
	// ErrNoSidecar: no sidecar answered within Patience. The request was not sent.
	ErrNoSidecar = errors.New("no sidecar answers")
	// ErrSidecarLost: the connection to the sidecar ended under the call.
	ErrSidecarLost = errors.New("the sidecar was lost")
	// ErrClosed: the Client was closed.
	ErrClosed = errors.New("the client is closed")
)

func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString("warmpool: ")
	b.WriteString(f.Message)
	b.WriteString(" (")
	if f.Reason != warmpoolv1.Reason_REASON_UNSPECIFIED {
		b.WriteString(strings.TrimPrefix(f.Reason.String(), "REASON_"))
		b.WriteString(", ")
	}
	b.WriteString("delivery ")
	b.WriteString(strings.TrimPrefix(f.Delivery.String(), "DELIVERY_"))
	b.WriteString(")")
	return b.String()
}

// Unwrap is what is underneath, see Failure.
func (f *Failure) Unwrap() []error { return f.causes }

// Timeout reports whether time ran out, the caller's or the operator's. It is what
// url.Error and net.Error look at.
func (f *Failure) Timeout() bool {
	switch f.Reason {
	case warmpoolv1.Reason_REASON_DEADLINE_EXCEEDED, warmpoolv1.Reason_REASON_WAIT_TIMEOUT, warmpoolv1.Reason_REASON_DIAL_TIMEOUT,
		warmpoolv1.Reason_REASON_RESPONSE_TIMEOUT, warmpoolv1.Reason_REASON_BODY_TIMEOUT:
		return true
	}
	return false
}

// Retryable reports whether sending the same request again is safe and may help:
// safe when it provably was not delivered, or is idempotent; of help unless the
// request itself is at fault, would meet the same limit again, or was cancelled. A
// body that cannot be read again (Request.GetBody) is the caller's to consider.
func (f *Failure) Retryable() bool {
	switch f.Reason {
	case warmpoolv1.Reason_REASON_INVALID_REQUEST, warmpoolv1.Reason_REASON_REQUEST_TOO_LARGE, warmpoolv1.Reason_REASON_UNSUPPORTED,
		warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM, warmpoolv1.Reason_REASON_UPSTREAM_DELETED, warmpoolv1.Reason_REASON_NOT_ALLOWED,
		warmpoolv1.Reason_REASON_ADDRESS_FORBIDDEN,
		warmpoolv1.Reason_REASON_MALFORMED_RESPONSE, warmpoolv1.Reason_REASON_RESPONSE_TOO_LARGE, warmpoolv1.Reason_REASON_BODY_TOO_LARGE,
		warmpoolv1.Reason_REASON_CANCELLED:
		return false
	}
	if errors.Is(f, ErrClosed) {
		return false
	}
	return f.idempotent || f.undelivered()
}

// undelivered reports that the upstream provably has nothing of the request.
func (f *Failure) undelivered() bool {
	return f.Delivery == warmpoolv1.Delivery_DELIVERY_NOT_SENT || f.Delivery == warmpoolv1.Delivery_DELIVERY_NOT_RECEIVED
}

// drained reports that a sidecar, or an upstream, that stops refused the request.
func (f *Failure) drained() bool {
	return f != nil && f.Reason == warmpoolv1.Reason_REASON_DRAINING && f.Delivery == warmpoolv1.Delivery_DELIVERY_NOT_SENT
}

// interrupted reports that a sidecar ended with the request: it was lost, or cut what
// it had when the time for its drain was over. How far the request came is not known,
// and nothing of a response was seen.
func (f *Failure) interrupted() bool {
	if f == nil || f.Delivery != warmpoolv1.Delivery_DELIVERY_UNKNOWN {
		return false
	}
	lost := errors.Is(f, ErrSidecarLost) && (f.Code == codes.Unavailable || errors.Is(f, io.EOF))
	return lost || f.Reason == warmpoolv1.Reason_REASON_DRAINING
}

// after is the failure of a request that a sidecar was lost with before, as lost says;
// nil: none was. That the upstream has nothing of the request is not provable then,
// and that there is no other sidecar is not why it failed.
func (f *Failure) after(lost *Failure) *Failure {
	switch {
	case f == nil, lost == nil, !f.undelivered():
	case errors.Is(f, ErrNoSidecar):
		was := lost.clone()
		was.Message += "; then: " + f.Message
		return was
	default:
		f.Delivery = warmpoolv1.Delivery_DELIVERY_UNKNOWN
	}
	return f
}

// clone is another Failure of the same text.
func (f *Failure) clone() *Failure {
	c := *f
	return &c
}

// told is the Failure that the sidecar sent.
func told(m *warmpoolv1.Failure) *Failure {
	f := &Failure{
		Reason: m.GetReason(), Delivery: m.GetDelivery(), Code: codes.Code(uint32(m.GetCode())), Attempts: int(m.GetAttempts()),
		Message: m.GetMessage(), RetryAfter: m.GetRetryAfter().AsDuration(), Receipt: m.GetReceipt(),
	}
	switch f.Reason {
	case warmpoolv1.Reason_REASON_CANCELLED:
		f.causes = append(f.causes, context.Canceled)
	case warmpoolv1.Reason_REASON_DEADLINE_EXCEEDED:
		f.causes = append(f.causes, context.DeadlineExceeded)
	case warmpoolv1.Reason_REASON_RESPONSE_TRUNCATED:
		f.causes = append(f.causes, io.ErrUnexpectedEOF)
	}
	return f
}

// toldBy is the Failure in a gRPC error's details, or nil.
func toldBy(err error) *Failure {
	for _, detail := range status.Convert(err).Details() {
		if m, ok := detail.(*warmpoolv1.Failure); ok {
			return told(m)
		}
	}
	return nil
}

// ended is the failure of a call whose context has ended.
func ended(ctx context.Context, delivery warmpoolv1.Delivery) *Failure {
	f := &Failure{
		Reason: warmpoolv1.Reason_REASON_CANCELLED, Code: codes.Canceled, Delivery: delivery,
		Message: "the caller cancelled", causes: []error{ctx.Err()},
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		f.Reason, f.Code, f.Message = warmpoolv1.Reason_REASON_DEADLINE_EXCEEDED, codes.DeadlineExceeded, "the caller's deadline passed"
	}
	if cause := context.Cause(ctx); cause != ctx.Err() { //nolint:errorlint // the very value is asked for, not what it wraps
		f.Message += ": " + cause.Error()
		f.causes = append(f.causes, cause)
	}
	return f
}

// invalid is the failure of a request that cannot be sent.
func invalid(message string) *Failure {
	return &Failure{
		Reason: warmpoolv1.Reason_REASON_INVALID_REQUEST, Code: codes.InvalidArgument,
		Delivery: warmpoolv1.Delivery_DELIVERY_NOT_SENT, Message: "the request cannot be sent: " + message,
	}
}

// unreadable is the failure of a request whose body failed.
func unreadable(err error, delivery warmpoolv1.Delivery) *Failure {
	return &Failure{
		Reason: warmpoolv1.Reason_REASON_CANCELLED, Code: codes.Canceled, Delivery: delivery,
		Message: "the request's body cannot be sent: " + err.Error(), causes: []error{err},
	}
}

// lost is the failure of a call that gRPC ended.
func lost(err error, delivery warmpoolv1.Delivery) *Failure {
	f := toldBy(err)
	if f != nil {
		return f
	}
	s := status.Convert(err)
	f = &Failure{Code: s.Code(), Delivery: delivery, causes: []error{ErrSidecarLost, err}}
	f.Message = "the sidecar was lost: " + s.Message()
	switch s.Code() {
	case codes.Unimplemented:
		f.Delivery = warmpoolv1.Delivery_DELIVERY_NOT_SENT
		f.Message = "what listens there is no sidecar, or an older one: " + s.Message()
	case codes.PermissionDenied, codes.Unauthenticated:
		f.Delivery = warmpoolv1.Delivery_DELIVERY_NOT_SENT
		f.Message = "the sidecar refuses this caller: " + s.Message()
	}
	return f
}

// absent is the failure of a call for which there is no sidecar. why may be nil.
func absent(target string, patience time.Duration, why error) *Failure {
	f := &Failure{
		Code: codes.Unavailable, Delivery: warmpoolv1.Delivery_DELIVERY_NOT_SENT, causes: []error{ErrNoSidecar},
		Message: "no sidecar answers at " + target,
	}
	if patience > 0 {
		f.Message += " within " + patience.String()
	}
	if why != nil {
		f.Message += ": " + status.Convert(why).Message()
		f.causes = append(f.causes, why)
	}
	return f
}

// closed is the failure of a call that met the end of its Client.
func closed(delivery warmpoolv1.Delivery) *Failure {
	return &Failure{Code: codes.Unavailable, Delivery: delivery, Message: "the client is closed", causes: []error{ErrClosed}}
}
