package pool

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// Exchange is one request on its way to its response. The zero value is ready
// for Upstream.Start; once its sink's End has returned it may be started again.
//
// It has one owner at a time: the goroutine that submits it, then the
// upstream's queue, then a connection, and at the end the sink, which
// learns by End. On a connection two parties work on it, the one that writes
// the request and the connection's reader; fields say which. The exchange is
// over when both have ended, and whichever ends second completes it: so nobody
// touches the caller's body, or the exchange, after End.
type Exchange struct {
	ticket
	upstream *Upstream

	// Set by the submitter, not changed after.
	sink        Sink
	head        h1.Request
	body        []byte
	stream      *RequestBody // the body as it comes, instead of body
	tracer      Tracer       // nil: nobody follows it
	idempotent  bool         // by method, by Idempotency-Key or by the caller's word
	wantReceipt bool
	bodyLimit   int64 // of the response; negative: none
	asked       instant

	gone atomic.Uint32 // the CloseReason with which the caller gave up; 0: it has not

	// Guarded by the upstream's lock.
	slot     *slot         // the connection it was given; nil while it waits
	idled    time.Duration // for how long that had been idle
	last     bool          // it is to be that connection's last
	retrying bool          // it counts as a retry under way

	// Owned by whoever holds the exchange; on a connection guarded by conn.mu.
	conn       *conn   // the connection it is on, nil while it waits
	policy     *Policy // the upstream's when it was submitted, and then when the attempt began
	written    writing
	leave      bool        // a withheld body is to be sent: the peer asked for it, or the time to wait is over
	writeErr   error       // why it could not be written
	answered   bool        // the reader has ended with it
	verdict    CloseReason // what the response says of the connection's future
	fault      *Error      // why this attempt failed; nil after a complete response
	closing    bool        // it was sent as its connection's last
	inline     bool        // its body left together with its head
	outEnd     int         // where it ends in the bytes that are written together
	sentBefore int64       // bytes the kernel had accepted on the connection before its first one

	takenBefore int64 // bytes that had come on the connection before its first one was written

	// Owned by whoever has the exchange between two attempts.
	attempts    int
	arrived     bool // an earlier attempt may have reached the upstream
	unexpecting bool // an attempt was answered 417: it is sent again without Expect
	spoilt      int  // new connections it was given that were over before it could be sent

	// Owned by the connection's reader.
	read       int64   // bytes of the response's body
	kept       bool    // the response came while the request's body was withheld, which it stays
	over       instant // when the response was complete; 0: it is not
	status     int     // of the response; 0: no final head has been read
	unexpected bool    // the response is 417 to a request that waited for 100
	told       bool    // the sink has had some of the response
	trailers   []h1.Field
	hint       h1.KeepAlive // what the response says of the connection's time

	counted bool // as one that ended with a response
	receipt Receipt
	begun   instant // the last attempt
}

// prepare checks the request and makes x ready to be sent on any connection of u.
func (x *Exchange) prepare(u *Upstream, req *Request, sink Sink) *Error {
	to := u.target.Load()
	*x = Exchange{
		upstream: u, policy: to.policy, sink: sink,
		body: req.Body, stream: req.Stream, tracer: req.Tracer, wantReceipt: req.Receipt, asked: u.pool.now(),
		bodyLimit: to.policy.MaxBufferedBody,
	}
	x.ticket.exchange = x
	x.head = h1.Request{
		Method: req.Method, Target: req.Path, Host: to.origin.hostport,
		Fields: req.Fields, Length: int64(len(req.Body)),
	}
	if x.head.Method == "" {
		x.head.Method = "GET"
	}
	if x.head.Target == "" {
		x.head.Target = "/"
	}
	if x.stream != nil {
		x.head.Length = -1
	}
	if req.Unbounded {
		x.bodyLimit = -1
	}
	if limit := to.policy.MaxBufferedBody; int64(len(req.Body)) > limit {
		return x.failure(ReasonRequestTooLarge, DeliveryNotSent,
			fmt.Sprintf("the request's body is %d bytes, buffered_body_bytes allows %d", len(req.Body), limit), nil)
	}
	if err := x.head.Prepare(); err != nil {
		if x.head.Method == "CONNECT" {
			return x.failure(ReasonUnsupported, DeliveryNotSent, "the request asks for a tunnel, which a pooled connection cannot be", err)
		}
		return x.failure(ReasonInvalidRequest, DeliveryNotSent, "the request cannot be sent", err)
	}
	if up := x.head.Upgrade(); up != "" {
		return x.failure(ReasonUnsupported, DeliveryNotSent,
			fmt.Sprintf("the request asks to upgrade the connection to %q, which a pooled connection cannot do", up), nil)
	}
	x.pipelinable = len(req.Body) == 0 && x.stream == nil && h1.Idempotent(x.head.Method) && !x.head.WantsClose()
	x.size = x.head.BodyLength()
	x.idempotent = req.Idempotent || h1.Idempotent(x.head.Method) || hasIdempotencyKey(req.Fields)
	x.wary = !x.idempotent
	if req.Timeout > 0 {
		x.deadline = x.asked + req.Timeout
	}
	if x.stream != nil {
		x.stream.begin(x)
	}
	return nil
}

func hasIdempotencyKey(fields []h1.Field) bool {
	for i := range fields {
		if len(fields[i].Name) == len("Idempotency-Key") && strings.EqualFold(fields[i].Name, "Idempotency-Key") {
			return true
		}
	}
	return false
}

// appendHead writes the request's head as this attempt sends it.
func (x *Exchange) appendHead(dst []byte) []byte {
	x.closing = x.last || x.head.WantsClose()
	return x.head.AppendHead(dst, h1.HeadOptions{Close: x.last, OmitExpect: x.unexpecting})
}

// withholds reports that the body is sent only when the upstream has asked for
// it, or has said nothing for a while.
func (x *Exchange) withholds() bool { return x.head.ExpectsContinue() && !x.unexpecting }

// long reports that writing the request may have to wait for the peer to read.
func (x *Exchange) long() bool { return !x.inline && !x.withholds() }

// begin makes the exchange ready to be written and to read a response,
// forgetting what an earlier attempt read.
func (x *Exchange) begin(c *conn, now instant) {
	x.conn, x.policy = c, c.upstream.policy()
	if host := c.slot.target.origin.hostport; host != x.head.Host {
		x.head.SetHost(host)
	}
	x.attempts++
	x.begun, x.over, x.status = now, 0, 0
	if x.wantReceipt {
		x.account(c, now)
	}
	x.written, x.answered, x.leave = notWritten, false, false
	x.verdict, x.fault, x.writeErr = CloseNone, nil, nil
	x.read, x.kept, x.unexpected, x.trailers = 0, false, false, nil
	x.stream.wait()
}

// readInterim takes an interim response.
func (x *Exchange) readInterim(p *h1.Parser) {
	if i, ok := x.sink.(InterimSink); ok && p.Head().Status != 100 {
		x.told = true
		i.Interim(p.Head())
	}
}

// readHead takes the final response's head. It fails when the body it
// announces is over the limit, or the sink refuses it.
func (x *Exchange) readHead(p *h1.Parser) *Error {
	head := p.Head()
	x.status = head.Status
	if head.Status == 417 && x.withholds() && (x.stream == nil || x.kept) && x.attempts < x.policy.MaxAttempts {
		x.unexpected = true // RFC 9110, 10.1.1: repeat without the expectation
		return nil
	}
	length, exact := p.Remaining()
	if !exact {
		length = -1
	} else if x.bodyLimit >= 0 && length > x.bodyLimit {
		return x.bodyTooLarge(fmt.Sprintf("is announced with %d bytes", length))
	}
	x.told = true
	return x.refused(x.sink.Head(head, length))
}

// readBody takes a piece of the response's body.
func (x *Exchange) readBody(piece []byte) *Error {
	if x.unexpected {
		return nil
	}
	x.read += int64(len(piece))
	if x.bodyLimit >= 0 && x.read > x.bodyLimit {
		return x.bodyTooLarge("is longer")
	}
	return x.refused(x.sink.Body(piece))
}

// refused is the failure that a sink's error makes.
func (x *Exchange) refused(err error) *Error {
	if err == nil {
		return nil
	}
	return x.failure(ReasonCancelled, DeliveryResponded, "the response was not wanted any more", err)
}

func (x *Exchange) bodyTooLarge(how string) *Error {
	return x.failure(ReasonBodyTooLarge, DeliveryResponded,
		fmt.Sprintf("the response's body %s, buffered_body_bytes allows %d", how, x.bodyLimit), nil)
}

// again decides whether the failed exchange is sent once more. Conservative by
// construction: what no line allows fails.
func (x *Exchange) again() bool {
	f := x.fault
	switch {
	case x.upkeep:
		return false
	case x.gone.Load() != 0 || x.deadline > 0 && x.upstream.pool.now() >= x.deadline:
		return false
	case x.told || x.stream.taken(): // the caller has seen part of a response, or part of its body is gone
		return false
	case x.attempts >= x.policy.MaxAttempts || x.upstream.spoils(x): // RFC 9110, 9.2.2: no automatic retry of a failed retry
		return false
	case f.SafeToRetry(): // nothing of it arrived: the method does not matter
		return f.Reason == ReasonConnectionClosed || f.Reason == ReasonConnectionReset || f.Reason == ReasonWriteFailed
	case !x.idempotent || f.Delivery != DeliveryUnknown: // RFC 9110, 9.2.2; once answered in part, never
		return false
	case f.Reason == ReasonConnectionClosed, f.Reason == ReasonConnectionReset, f.Reason == ReasonWriteFailed:
		return true
	}
	return false
}

// maxSpoilt is how many new connections may turn out to be over before anything
// was sent on them, until the exchange fails: an address that accepts and then
// closes, or speaks first, is not going to serve it.
const maxSpoilt = 3

// alwaysSpoilt is the count of one that spoke first: no server does that while
// it restarts.
const alwaysSpoilt = 1 << 20

// met notes that c, a new connection which x was given, was over before x could be sent.
func (x *Exchange) met(c *conn, why CloseReason) {
	x.conn = c
	if why == CloseUnsolicitedData {
		x.spoilt = alwaysSpoilt
		x.fault = x.failure(ReasonMalformedResponse, DeliveryNotSent, "the upstream sent bytes on a new connection before any request", nil)
		return
	}
	x.spoilt++
	x.fault = x.failure(ReasonConnectionClosed, DeliveryNotSent,
		fmt.Sprintf("the upstream closed %d new connections before a request could be sent on them", x.spoilt), nil)
}

// complete ends the exchange, or sends it once more. The caller's goroutine
// goes on with the result.
func (x *Exchange) complete() {
	if x.fault == nil {
		x.attemptEnded()
	}
	if x.fault == nil && x.unexpected {
		x.arrived = true
		if x.gone.Load() != 0 {
			x.giveUp()
			return
		}
		x.unexpecting = true
		x.upstream.submit(x, x.upstream.pool.now(), false, nil)
		return
	}
	if f := x.fault; f != nil {
		if f.Delivery == DeliveryUnknown && x.written == nothingAccepted {
			f.Delivery = DeliveryNotSent
		}
		if x.written == notWritten { // it did not come to an attempt
			x.attempts--
			x.spoilt++
		} else {
			x.attemptEnded()
			lost := f.Reason == ReasonConnectionClosed || f.Reason == ReasonConnectionReset || f.Reason == ReasonWriteFailed
			if stale := lost && x.conn != nil && x.conn.opened <= x.asked; (stale || f.Delivery == DeliveryNotReceived) && !x.upkeep {
				x.upstream.missed(f, stale)
			}
		}
		if x.again() && x.upstream.allowRetry(x) {
			if x.wantReceipt {
				x.accountFailure()
			}
			if told := x.upstream.pool.options.Observer.Retried; told != nil {
				told(x.upstream.name, f.Reason, f.Endpoint, f)
			}
			x.arrived = x.arrived || !f.SafeToRetry()
			x.fresh, x.ticket.again = true, true
			x.pipelinable = false // RFC 9112, 9.3.2: not again at once
			x.upstream.submit(x, x.upstream.pool.now(), false, nil)
			return
		}
	}
	x.finish()
}

// finish tells the sink.
func (x *Exchange) finish() {
	if f := x.fault; f != nil && x.arrived && f.SafeToRetry() {
		f.Delivery = DeliveryUnknown // this attempt's failure does not undo an earlier one's arrival
	}
	if x.retrying {
		x.upstream.retryEnded()
	}
	if x.wantReceipt {
		x.accountEnd()
	}
	x.upstream.ended(x, x.fault)
	x.stream.end()
	x.sink.End(x.trailers, x.fault)
}
