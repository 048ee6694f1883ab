package pool

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// The part of admission that decides where and when to dial, and when there is no
// use in it.

// The pace of dials to an address that refuses: the first pause is up to
// backoffFirst, each further round doubles it up to backoffMost, and every
// pause is drawn evenly between nothing and that bound (full jitter), so that
// many sidecars do not storm an upstream that returns.
const (
	backoffFirst = 25 * time.Millisecond
	backoffMost  = 2 * time.Second
)

// earlyClose is the age below which a connection that the peer closes unused
// counts as a failed dial: the address accepts connections but serves none.
const earlyClose = time.Second

// DialCause is why a connection was dialed.
type DialCause uint8

// The causes of dials.
const (
	DialWaiting     DialCause = iota // a request waits
	DialFloor                        // fewer connections than the warm floor are there
	DialReplacement                  // one that the floor needs is about to end
	DialDemand                       // fewer than were needed of late
	DialPreconnect                   // ahead of demand, by the ratio of the active ones
	DialProbe                        // an address that failed is tried, beside others that serve
	dialCauseCount
)

// String is the cause's name: waiting, floor, replacement, demand, preconnect or probe.
func (c DialCause) String() string {
	return nameOf([]string{"waiting", "floor", "replacement", "demand", "preconnect", "probe"}, uint8(c))
}

// pump starts the dials that are wanted and allowed: one for each request that
// waits without one, and what is lacking of the connections that are to be kept.
func (a *admission) pump(now instant) {
	if a.refusal != ReasonNone {
		return
	}
	a.makeWay()
	a.relieve(now)
	a.level(now)
	a.race(now)
	for want := a.want(now); a.wanting() > a.relied() || a.owed() > a.dialing-a.former || a.kept()+a.dialing < want || a.unsure(now) > 0; {
		if a.dialing >= a.policy.MaxDialing {
			a.giveUpLate()
			return
		}
		if a.total >= a.policy.Max {
			a.giveUpLate()
			a.giveWay(want, now)
			return
		}
		e := a.dialTarget(now)
		if e == nil {
			return
		}
		a.probing = a.probing || len(a.endpoints) > 1 && !a.doubtful(e)
		a.fly(e, a.dialCause(now), false, now)
		a.race(now)
	}
	a.probe(now)
}

// retiring is how many connections have been told to close and have not closed yet.
func (a *admission) retiring() int {
	return a.total - a.dialing - a.idle - a.active - len(a.watched)
}

// dialCause is why the next dial is made.
func (a *admission) dialCause(now instant) DialCause {
	stock := a.stock(now)
	switch n := a.kept() + a.dialing; {
	case a.wanting() > a.relied():
		return DialWaiting
	case n < stock && n+a.leaving >= stock, a.owed() > a.dialing-a.former, n >= stock && a.unsure(now) > 0:
		return DialReplacement
	case n < stock:
		return DialFloor
	case n >= a.ahead():
		return DialDemand
	}
	return DialPreconnect
}

// makeRoom retires the idle connection unused for longest: there are too many, or
// a request waits that must not have an idle one, the second attempt of an
// exchange whose first met a dead connection.
func (a *admission) makeRoom() {
	var oldest *slot
	for _, e := range a.endpoints {
		if len(e.idle) > 0 && (oldest == nil || e.idle[0].idleSince < oldest.idleSince) {
			oldest = e.idle[0]
		}
	}
	if oldest != nil {
		a.retire(oldest, CloseSurplus)
	}
}

// patience is how long waiting requests are kept while every dial to an
// upstream that has worked before fails, so that its restart costs them time
// and not an error.
func (a *admission) patience() time.Duration {
	if a.policy.MaxWait > 0 {
		return a.policy.MaxWait
	}
	return time.Second
}

// dialable reports whether a dial is in flight or could be started now.
func (a *admission) dialable(now instant) bool {
	if a.dialing > 0 {
		return true
	}
	return slices.ContainsFunc(a.endpoints, func(e *endpoint) bool { return !e.gone && a.heldBack(e) <= now })
}

// hopeless reports that waiting would not help: there is no connection, every
// address failed, and that has lasted, or is the first thing known of the
// upstream, or cannot get better by itself.
func (a *admission) hopeless(now instant) bool {
	if a.failure == nil || a.idle+a.active > 0 {
		return false
	}
	for _, e := range a.endpoints {
		if !e.gone && e.fails == 0 {
			return false
		}
	}
	return a.failure.permanent || !a.connected || now-a.failedSince >= a.patience()
}

// refuseHopeless tells those who wait that no connection can be made.
func (a *admission) refuseHopeless(now instant) {
	if a.dialing > 0 || a.gate == gatePaused || !a.hopeless(now) {
		return
	}
	for t := a.waiting.first; t != nil; t = a.waiting.first {
		a.waiting.remove(t)
		a.refuse(t, order{reason: a.failure.reason, failure: a.failure})
	}
}

// penalise keeps further dials away from s's endpoint for a while. Failures of
// dials that were in flight together count once.
func (a *admission) penalise(s *slot, now instant) {
	e := s.endpoint
	if e.fails > s.round {
		return
	}
	most := backoffMost
	if a.elsewhere(e) {
		most = backoffBeside
	}
	e.retryAt = now + a.backoff(e.fails, most)
	e.fails++
	e.ramp = 1
	a.soften(now)
	a.arrange()
	if a.waiting.len > 0 || a.kept()+a.dialing < a.want(now) {
		a.remind(e.retryAt)
	}
}

// letGoAfter is how many rounds of dials in a row must have been refused: fewer may
// be a moment's overload.
const letGoAfter = 3

// letGo closes up to most of e's connections that have never carried a request,
// because e closes idle ones or refuses new ones: its server may be about to end.
// One that ends in good order closes idle connections and finishes requests, but
// may wait for the first request of a connection as long as for a slow client's
// (nginx: a minute), and only then makes room for its successor.
func (a *admission) letGo(e *endpoint, most int, now instant) {
	for _, s := range slices.Clone(e.idle) {
		if s.exchanges == 0 && most > 0 {
			e.lastsUnused.idled(now-s.idleSince, trustUnused, now)
			a.retire(s, CloseEndpointGone)
			most--
		}
	}
}

// idleUsed is how many of e's idle connections have carried a request.
func (e *endpoint) idleUsed() (n int) {
	for _, s := range e.idle {
		if s.exchanges > 0 {
			n++
		}
	}
	return n
}

// dialFailure is why no connection could be made.
type dialFailure struct {
	reason    Reason
	endpoint  netip.AddrPort // zero when it never came to an address
	detail    string
	err       error
	permanent bool // trying again soon cannot help: a certificate that does not verify, a name that does not exist, a forbidden address
}

// failed takes note of why there is no new connection.
func (a *admission) failed(f *dialFailure, now instant) {
	a.failure, a.failedAt = f, max(1, now)
	if !a.failing {
		a.failing, a.failedSince = true, now
	}
}

// proven takes note that e's connections are of use.
func (a *admission) proven(e *endpoint) {
	if e.spoils, e.retryAt = false, 0; e.fails > 0 {
		e.fails = 0
		a.arrange()
	}
	if e.ramp > 0 {
		if e.ramp++; e.ramp > a.policy.MaxDialing {
			e.ramp = 0
		}
	}
	a.failing, a.failure = false, nil
}

func (f *dialFailure) text() string {
	if f.err == nil {
		return f.detail
	}
	return f.detail + ": " + f.err.Error()
}

// spoiltBy is what the peer did to end a connection, as the failure of a dial;
// nil when the end was not its doing.
func spoiltBy(e netip.AddrPort, why CloseReason) *dialFailure {
	f := &dialFailure{endpoint: e}
	switch why {
	case ClosePeerClosedIdle, CloseConnectionClosed:
		f.reason, f.detail = ReasonConnectionClosed, fmt.Sprintf("%s closes new connections without answering on them", e)
	case ClosePeerResetIdle, CloseConnectionReset:
		f.reason, f.detail = ReasonConnectionReset, fmt.Sprintf("%s resets new connections without answering on them", e)
	case CloseUnsolicitedData:
		f.reason, f.detail = ReasonMalformedResponse, fmt.Sprintf("%s sends bytes on new connections before any request", e)
	default:
		return nil
	}
	return f
}
