package pool

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"syscall"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// refuse ends an exchange that got no connection.
func (x *Exchange) refuse(o order) {
	detail := ""
	var cause error
	var at netip.AddrPort
	switch o.reason {
	case ReasonQueueFull:
		detail = fmt.Sprintf("the queue is full: max_waiting is %d", x.upstream.policy().MaxWaiting)
	case ReasonWaitTimeout:
		detail = fmt.Sprintf("no connection came free within max_wait (%s)", x.upstream.policy().MaxWait)
	case ReasonDeadlineExceeded:
		detail, cause = "the deadline passed while the request waited for a connection", os.ErrDeadlineExceeded
	case ReasonUpstreamDeleted:
		detail = "the upstream was removed"
	case ReasonUpstreamPaused:
		detail = fmt.Sprintf("it is paused, and the request could wait no longer (max_wait is %s, max_waiting %d)",
			x.upstream.policy().MaxWait, x.upstream.policy().MaxWaiting)
	case ReasonDraining:
		detail = "it is drained and takes nothing new"
		if x.upstream.ending() {
			detail = "the pool is shutting down"
		}
	default:
		if o.failure != nil {
			detail, cause, at = o.failure.detail, o.failure.err, o.failure.endpoint
		}
	}
	x.conn = nil
	x.fault = x.failure(o.reason, DeliveryNotSent, detail, cause)
	x.fault.State = o.state
	x.fault.Endpoint = at
	x.finish()
}

// giveUp ends an exchange whose caller gave up before it was on a connection.
func (x *Exchange) giveUp() {
	x.fault = x.goneFailure()
	x.finish()
}

// givenUp reports that x's own caller waits for it no longer.
func (x *Exchange) givenUp() bool {
	return x.gone.Load() != 0 || x.deadline > 0 && x.upstream.pool.now() >= x.deadline
}

// goneFailure words why the caller gave up.
func (x *Exchange) goneFailure() *Error {
	if CloseReason(x.gone.Load()) == CloseDeadlineExceeded {
		return x.failure(ReasonDeadlineExceeded, DeliveryNotSent, "the deadline passed", os.ErrDeadlineExceeded)
	}
	return x.failure(ReasonCancelled, DeliveryNotSent, "the caller gave up", nil)
}

// failure words an error of this exchange.
func (x *Exchange) failure(r Reason, d Delivery, detail string, cause error) *Error {
	e := &Error{
		Reason: r, Delivery: d, Upstream: x.upstream.name, Attempts: x.attempts,
		Detail: detail, Err: cause,
	}
	if x.conn != nil {
		e.Endpoint = x.conn.endpoint()
	}
	return e
}

// unanswered words the failure of an exchange whose connection ended before it
// was its turn to be answered.
func (x *Exchange) unanswered(closed CloseReason) *Error {
	d := x.delivery(false)
	switch now := x.upstream.pool.now(); {
	case x.gone.Load() != 0:
		e := x.goneFailure()
		e.Delivery = d
		return e
	case x.deadline > 0 && now >= x.deadline:
		return x.failure(ReasonDeadlineExceeded, d, "the deadline passed before the response was complete", os.ErrDeadlineExceeded)
	case cuts[closed] != "":
		return x.cut(closed, d)
	}
	return x.failure(ReasonConnectionClosed, d, fmt.Sprintf("the connection ended (%s) with another exchange on it", closed), nil)
}

// readFailure words the end of a connection under this exchange. closed is the
// connection's reason, err what the read said, parsed the codec's judgement
// where it made one.
func (x *Exchange) readFailure(closed CloseReason, started bool, err error, parsed error) *Error {
	d := x.delivery(started)
	if (closed == CloseCancelled || closed == CloseDeadlineExceeded) && !x.givenUp() { // the caller of one behind it gave up
		if !started {
			return x.unanswered(closed)
		}
		return x.failure(ReasonResponseTruncated, d, "its connection was closed inside the response, because the caller of a request behind it gave up", nil)
	}
	switch closed {
	case CloseCancelled:
		return x.failure(ReasonCancelled, d, "the caller gave up", nil)
	case CloseDeadlineExceeded:
		return x.failure(ReasonDeadlineExceeded, d, "the deadline passed before the response was complete", os.ErrDeadlineExceeded)
	case CloseResponseTimeout:
		return x.failure(ReasonResponseTimeout, d, fmt.Sprintf("no final response head within timeouts.response_head (%s)", x.policy.ResponseHeadTimeout), nil)
	case CloseBodyTimeout:
		return x.failure(ReasonBodyTimeout, d, fmt.Sprintf("a body stood still for timeouts.body_idle (%s)", x.policy.BodyIdleTimeout), nil)
	case CloseShutdown, CloseDrain, CloseReconnect, CloseByOperator, CloseUpstreamDeleted:
		return x.cut(closed, d)
	}
	if pe, ok := errors.AsType[*h1.ParseError](parsed); ok {
		switch pe.Kind {
		case h1.Malformed:
			return x.failure(ReasonMalformedResponse, DeliveryResponded, "the response breaks the protocol", pe)
		case h1.TooLarge:
			return x.failure(ReasonResponseTooLarge, DeliveryResponded, "the response is over a limit", pe)
		}
	}
	reset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ETIMEDOUT)
	switch {
	case started:
		return x.failure(ReasonResponseTruncated, DeliveryResponded, "the connection ended inside the response", cause(err, parsed))
	case x.writeErr != nil && !reset && !errors.Is(err, io.EOF):
		return x.failure(ReasonWriteFailed, d, "the request could not be written", x.writeErr)
	case errors.Is(err, io.EOF):
		return x.failure(ReasonConnectionClosed, d, "the upstream closed the connection without answering", nil)
	default:
		return x.failure(ReasonConnectionReset, d, "the connection broke before the upstream answered", err)
	}
}

// cuts is what ends connections with exchanges on them because the operator will
// have it so.
var cuts = [closeReasonCount]string{
	CloseShutdown:        "the pool was closed",
	CloseDrain:           "the upstream was drained",
	CloseReconnect:       "the upstream's connections were replaced",
	CloseByOperator:      "its connection was closed by an operator",
	CloseUpstreamDeleted: "the upstream was removed",
}

// cut words the failure of an exchange that was under way then.
func (x *Exchange) cut(closed CloseReason, d Delivery) *Error {
	reason := ReasonDraining
	if closed == CloseUpstreamDeleted {
		reason = ReasonUpstreamDeleted
	}
	return x.failure(reason, d, cuts[closed]+" before the response was complete", nil)
}

func cause(err, parsed error) error {
	if parsed != nil {
		return parsed
	}
	return err
}

// delivery is what is known of the request's way, by what was written and read.
func (x *Exchange) delivery(started bool) Delivery {
	switch {
	case started:
		return DeliveryResponded
	case x.written == notWritten || x.written == nothingAccepted:
		return DeliveryNotSent
	}
	return DeliveryUnknown
}
