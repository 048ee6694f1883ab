package soak_test

import "math/rand/v2"

// fault is one thing that an origin does wrong, or rightly and seldom. The
// zero value stands for an answer in good order.
type fault uint8

const (
	answerWell fault = iota

	// To a connection that was just accepted.
	acceptClose
	acceptReset

	// To an idle connection.
	idleClose
	idleReset
	idleHalfClose // goes on reading
	idleBareClose // TLS: without close_notify
	idleRequestTimeout
	idleStray // bytes that nobody asked for

	// To all connections at once.
	restartClose
	restartReset

	// To a request that was not read whole.
	closeUnread
	resetUnread
	earlyKeep
	earlyClose
	earlyReset
	declineExpect // 417

	// To a request that was read, before an answer.
	closeUnanswered
	resetUnanswered
	halfCloseUnanswered
	silence

	// Inside an answer's head.
	cutStatusLine
	resetStatusLine
	cutHead
	resetHead
	stallHead
	cutAfterInterim
	resetAfterInterim

	// Inside an answer's content.
	cutLength
	resetLength
	cutChunk
	resetChunk
	cutLastChunk
	cutTrailers
	resetUntilClose
	bareUntilClose // TLS: without close_notify
	stallContent
	stallUntilClose

	// After a whole answer.
	thenClose
	thenReset
	thenHalfClose
	thenBareClose // TLS
	thenGarbage
	thenAnotherAnswer

	// In good order.
	sayClose
	sayCloseLinger
	answerUntilClose
	answerOld
	answerOldKeep
	answerSlowly
	answerInterims
	hintFew
	hintNone

	// Not HTTP, or too much of it.
	malformedStatus
	malformedField
	malformedLength
	malformedTwoLengths
	malformedBoth
	malformedVersion
	malformedBytes
	malformedChunk
	oversizedHead
	switchUnasked

	faultCount
)

var faultNames = [faultCount]string{
	"answered well",
	"accepted, closed", "accepted, reset",
	"idle: closed", "idle: reset", "idle: half-closed", "idle: closed without close_notify", "idle: 408", "idle: stray bytes",
	"restart, closing all", "restart, resetting all",
	"closed before reading all", "reset before reading all", "early answer, keeps reading", "early answer, closed", "early answer, reset", "417",
	"read, closed", "read, reset", "read, half-closed", "read, silent",
	"FIN in the status line", "reset in the status line", "FIN in the head", "reset in the head", "stalled in the head",
	"FIN after 1xx", "reset after 1xx",
	"FIN in a counted body", "reset in a counted body", "FIN in a chunk", "reset in a chunk", "FIN before the last chunk", "FIN in the trailers",
	"reset in a body until close", "no close_notify after a body until close", "stalled in the body", "stalled in a body until close",
	"answered, closed", "answered, reset", "answered, half-closed", "answered, closed without close_notify",
	"answered, garbage behind", "answered, an answer behind",
	"Connection: close", "Connection: close, lingering", "body until close", "HTTP/1.0", "HTTP/1.0 keep-alive", "slow answer", "1xx before",
	"Keep-Alive: max", "Keep-Alive: timeout=0",
	"malformed status", "malformed field", "malformed length", "two lengths", "length and chunked", "HTTP/2.0", "not HTTP", "malformed chunk size",
	"head over the limit", "101 unasked",
}

func (f fault) String() string { return faultNames[f] }

// weights are the shares, in thousandths, of what is done to a request.
var weights = [faultCount]int{
	closeUnread: 5, resetUnread: 4, earlyKeep: 6, earlyClose: 5, earlyReset: 4,
	closeUnanswered: 8, resetUnanswered: 8, halfCloseUnanswered: 4, silence: 3,
	cutStatusLine: 2, resetStatusLine: 2, cutHead: 3, resetHead: 3, stallHead: 1, cutAfterInterim: 2, resetAfterInterim: 2,
	cutLength: 3, resetLength: 3, cutChunk: 3, resetChunk: 3, cutLastChunk: 3, cutTrailers: 2,
	resetUntilClose: 3, bareUntilClose: 3, stallContent: 2, stallUntilClose: 1,
	thenClose: 8, thenReset: 6, thenHalfClose: 4, thenBareClose: 4, thenGarbage: 5, thenAnotherAnswer: 8,
	sayClose: 8, sayCloseLinger: 4, answerUntilClose: 8, answerOld: 4, answerOldKeep: 6, answerSlowly: 8, answerInterims: 15,
	hintFew: 4, hintNone: 3,
	malformedStatus: 1, malformedField: 1, malformedLength: 1, malformedTwoLengths: 1, malformedBoth: 1, malformedVersion: 1,
	malformedBytes: 1, malformedChunk: 1, oversizedHead: 1, switchUnasked: 1,
}

// drawFault draws what an origin does to one arrival of a request.
func (o *origin) drawFault(s *script, arrival uint32) (fault, *rand.Rand) {
	r := chance(o.ledger.seed, forFault, s.id<<8|uint64(arrival))
	if s.expect && r.IntN(6) == 0 {
		return declineExpect, r
	}
	n := r.IntN(1000)
	for f, weight := range weights {
		if n < weight {
			return o.fitting(fault(f), s), r
		}
		n -= weight
	}
	return answerWell, r
}

// behindMost is the largest answer that something is sent behind: the two
// leave in one segment, in one TLS record, so that they also arrive together. If
// the second could arrive later, it could cross the next request on its way,
// and no client can tell it from the answer to that.
const behindMost = 12 << 10

// fitting exchanges a fault that cannot be played on this request.
func (o *origin) fitting(f fault, s *script) fault {
	switch f {
	case closeUnread, resetUnread, earlyKeep, earlyClose, earlyReset:
		if s.body == 0 {
			return closeUnanswered
		}
	case cutLength, resetLength, cutChunk, resetChunk, cutLastChunk, resetUntilClose, stallContent, stallUntilClose, malformedChunk, cutTrailers,
		answerUntilClose:
		if s.bodyless() || s.size < 2 {
			return resetUnanswered
		}
	case malformedLength, malformedTwoLengths, malformedBoth: // no doubt where there is no content whatever they say
		if s.bodyless() {
			return malformedStatus
		}
	case bareUntilClose:
		if o.secured == nil || s.bodyless() || s.size < 2 {
			return answerWell
		}
	case thenBareClose:
		if o.secured == nil {
			return thenClose
		}
	case thenGarbage, thenAnotherAnswer:
		// Behind a request that may be followed by another before it is answered, these
		// would be the next one's answer.
		if o.pipelined && s.method != "POST" && s.body == 0 || s.size > behindMost {
			return thenClose
		}
	}
	return f
}
