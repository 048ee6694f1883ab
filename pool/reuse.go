package pool

import "time"

// reuse judges whether connections to one endpoint may carry more than one
// exchange. A plain value, fed with events and the time.
//
// HTTP/1.1 allows it wherever nobody says otherwise, but a proxy that is older,
// or that forwards Connection and the version without understanding them, waits
// for the upstream to close while the upstream waits for the next request (RFC
// 9112, C.2.2). It shows in one of three ways: by its name in Via; by an answer
// that is to end with the connection, which then stays open; or by never
// answering a connection's second request, though it answers every first. A
// slow upstream can look like the latter two for a moment, so they count only
// when they happen again, and the last one only as long as no connection to the
// endpoint has ever answered twice.
type reuse struct {
	off    instant // until then each connection carries one exchange
	doubts int     // hangs in a row
	proven bool    // a connection has answered a second request
}

const (
	reusePause    = 10 * time.Minute // for which connections carry one exchange
	reuseDoubts   = 3                // hangs in a row that end reuse
	reusePatience = time.Second      // a wait that its caller ended sooner is not a hang
)

// allowed reports whether a connection may be used again.
func (r *reuse) allowed(now instant) bool { return now >= r.off }

// stop ends reuse for a while, anew if it is ended already.
func (r *reuse) stop(now instant) { r.off, r.doubts = now+reusePause, 0 }

// answered: a connection has answered its nth request.
func (r *reuse) answered(n int) { r.proven = r.proven || n > 1 }

// ended judges the end of a connection that had answered before requests. It
// returns why reuse is to stop, if it is.
func (r *reuse) ended(end ending, before int) string {
	hung := end.why == CloseResponseTimeout || end.why == CloseBodyTimeout ||
		(end.why == CloseDeadlineExceeded || end.why == CloseCancelled) && end.stood >= reusePatience
	switch {
	case end.untilClose && !hung: // the end has come
		r.doubts = 0
	case !hung:
	case end.untilClose:
		if r.doubts++; r.doubts >= reuseDoubts || end.why == CloseBodyTimeout {
			return "it left a connection open that a response said it would end"
		}
	case end.phase != phaseHead:
	case before == 0: // slow with every request
		r.doubts = 0
	case before == 1 && !r.proven:
		if r.doubts++; r.doubts >= reuseDoubts {
			return "it answers a connection's first request and never its second"
		}
	}
	return ""
}
