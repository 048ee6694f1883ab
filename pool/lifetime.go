package pool

import (
	"slices"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// The part of admission that decides how long a connection serves, and says why it
// no longer does.

// stale says why an idle connection may no longer be used.
func (a *admission) stale(s *slot, now instant) CloseReason {
	unused := now - s.idleSince
	switch {
	case s.expires > 0 && now >= s.expires:
		return CloseMaxLifetime
	case s.idleLimit > 0 && unused >= s.idleLimit, a.limited(s, now) > 0 && unused >= a.limited(s, now):
		return CloseIdleLimit
	case a.policy.MaxIdleTime > 0 && unused >= a.maxIdle(s):
		return CloseIdleTimeout
	}
	return CloseNone
}

// limited is for how long s may idle by what its endpoint did to others: a
// round trip and a margin less than what was seen, because a request that is
// sent then arrives that much later. 0: nothing is known.
func (a *admission) limited(s *slot, now instant) time.Duration {
	seen := s.lets().learned(now)
	if seen == 0 {
		return 0
	}
	return max(1, s.early(seen))
}

// maxIdle is for how long s may idle by the policy: 0 to 10 % less than it says, so
// that those that were made or used together do not end together; 0: without limit.
func (a *admission) maxIdle(s *slot) time.Duration {
	most := a.policy.MaxIdleTime
	return most - time.Duration(s.haste*float64(most/10))
}

const idleMargin = 50 * time.Millisecond

// hinted takes what the server said, with the exchange that is about to be
// freed, of the connection's future in a Keep-Alive field: with a margin for the
// request that is on its way when the time is up.
func (a *admission) hinted(s *slot, hint h1.KeepAlive) {
	if hint.HasTimeout {
		s.idleLimit = hint.Timeout - max(hintMargin, 2*s.rtt)
	}
	s.allowed = 0
	if hint.HasMax {
		s.allowed = s.exchanges + 1 + hint.Max
	}
	if hint.HasTimeout && s.idleLimit <= 0 {
		s.allowed = s.exchanges + 1
	}
}

const hintMargin = time.Second

// metClose learns from a connection that its peer ended: an idle one, or one
// that was used after it had been idle and did not answer.
func (a *admission) metClose(s *slot, why CloseReason, now instant) {
	e := s.endpoint
	switch {
	case s.exchanges == 0 && now-s.opened < atOnce:
		return // an address that serves nobody: that is not a matter of time
	case (s.state == slotIdle || s.state == slotWatched) && endsIdle(why, s.exchanges == 0):
		s.lets().closed(now-s.idleSince, now)
		e.lets.meets(&e.letsUnused)
		trust, least := s.trustOf()
		trust.closed(now-s.idleSince, least, now)
		if s.exchanges > 0 {
			a.letGo(e, a.idle+a.active-e.idleUsed()-a.policy.Warm, now) // those that were used may be about to be closed as well
		}
	case s.state == slotActive && s.idled > 0 && (why == CloseConnectionClosed || why == CloseConnectionReset || why == ClosePeerClosedIdle):
		s.lets().closed(s.idled, now)
		trust, least := s.trustOf()
		trust.closed(s.idled, least, now)
	default:
		return
	}
	if why == CloseConnectionReset && s.idled >= forgottenAfter {
		a.forgotten(e, now)
	}
	a.judges(e, now)
	for _, other := range slices.Clone(e.idle) {
		if other != s {
			a.mind(other, now)
		}
	}
}

// judges makes sure of a tick when closes of e's that came together are judged: other
// connections may then have less time than they had.
func (a *admission) judges(e *endpoint, now instant) {
	for _, l := range []*idleLimit{&e.lets, &e.letsUnused} {
		if at := l.judgedAt(); at > now {
			a.remind(at)
		}
	}
}

// atOnce is the age below which the end of a connection that never carried a
// request says nothing of how long such may idle.
const atOnce = 250 * time.Millisecond

// expiry draws the end of a lifetime that begins now.
func (a *admission) expiry(now instant) instant {
	life := a.policy.MaxLifetime
	if life == 0 {
		return 0
	}
	return now + life - time.Duration(a.chance.Int64N(int64(life/10)+1))
}

// endsIdle reports that the peer ended an idle connection because it had waited
// long enough. Of one that never carried a request some say so first, with a 408
// (RFC 9110, 15.5.9).
func endsIdle(why CloseReason, unused bool) bool {
	return why == ClosePeerClosedIdle || why == ClosePeerResetIdle || unused && why == CloseUnsolicitedData
}

// closing reports whether the request that has just begun on s is to say that
// it is the connection's last. None may follow one that does (RFC 9112, 9.6).
func (a *admission) closing(s *slot, now instant) bool {
	others := a.active - a.closings - 1 // that will come free for those who wait
	if !a.lastExchange(s, s.inflight) && s.endpoint.reuse.allowed(now) &&
		(!a.draining || a.waiting.len > others || s.inflight > 1) {
		return false
	}
	if !s.last {
		s.last, s.alone = true, true
		switch {
		case a.lastExchange(s, s.inflight):
			s.lastFor = CloseMaxRequests
		case a.draining:
			s.lastFor = a.parting()
		}
		a.closings++
		a.pump(now)
	}
	return true
}

// idleUntil is when stale will first say so.
func (a *admission) idleUntil(s *slot, now instant) instant {
	until := s.expires
	for _, limit := range []time.Duration{s.idleLimit, a.maxIdle(s), a.limited(s, now)} {
		if limit > 0 && (until == 0 || s.idleSince+limit < until) {
			until = s.idleSince + limit
		}
	}
	return until
}

// mayIdle is for how long s may lie idle until it is retired, and who says so;
// 0 where nobody does. It is the least of all that is known.
func (a *admission) mayIdle(s *slot, now instant) (limit time.Duration, source IdleLimitSource) {
	least := func(d time.Duration, from IdleLimitSource) {
		if d > 0 && (limit == 0 || d < limit) {
			limit, source = d, from
		}
	}
	least(a.maxIdle(s), IdleByPolicy)
	least(s.idleLimit, IdleAnnounced)
	least(a.limited(s, now), IdleLearned)
	return limit, source
}

// spent says why a connection that has just finished an exchange must not
// carry another.
func (a *admission) spent(s *slot, now instant) CloseReason {
	switch {
	case a.refusal != ReasonNone, a.draining && a.waiting.len == 0:
		return a.parting()
	case s.condemned != CloseNone:
		return s.condemned
	case a.outdated(s) && a.mayGo(1):
		return CloseReconnect
	case a.lastExchange(s, 0):
		return CloseMaxRequests
	case a.surplus() >= 0: // without s
		return CloseSurplus
	case a.idle+a.active < a.stock(now):
		return CloseNone // idle, it is overdue until its replacement stands
	case s.endpoint.gone && !s.endpoint.moved && s.endpoint.mayRelease(now):
		return CloseEndpointGone
	case s.expires > 0 && now >= s.expires:
		return CloseMaxLifetime
	}
	return CloseNone
}

// lastExchange reports whether s has carried, with the given number more, all
// the exchanges that the policy and the server allow.
func (a *admission) lastExchange(s *slot, more int) bool {
	return a.policy.MaxRequests > 0 && s.exchanges+more >= a.maxRequests(s) ||
		s.allowed > 0 && s.exchanges+more >= s.allowed
}

// maxRequests is how many exchanges s may carry by the policy: 0 to 10 % fewer than it
// says, so that those that were made together and share the load do not end together,
// which would meet the load with handshakes. Fewer than ten are taken at their word.
func (a *admission) maxRequests(s *slot) int {
	most := a.policy.MaxRequests
	if most < 10 {
		return most
	}
	return most - int(s.haste*float64(most/10+1))
}

// discard lets s go as soon as it carries nothing.
func (a *admission) discard(s *slot, why CloseReason, now instant) {
	switch s.state {
	case slotIdle:
		a.retire(s, why)
		a.pump(now)
	case slotDialing, slotActive:
		s.condemned = why
	case slotWatched:
		a.unwatch(s)
	case slotRetiring, slotLost:
	}
}

// retire takes an idle connection out of use and orders it closed.
func (a *admission) retire(s *slot, why CloseReason) {
	a.dropIdle(s)
	a.left(s, why)
	s.state, s.condemned = slotRetiring, why
	a.orders = append(a.orders, order{kind: orderRetire, slot: s, close: why})
}

// forgotten: a connection was reset when it was used again, and no close had
// come before. Its peer does not know it any more: the machine has started anew,
// or a NAT or balancer on the way has dropped it in silence. Others that lay idle
// meanwhile are likely to be as dead, and a request that is not idempotent would
// be lost on each, so they go.
func (a *admission) forgotten(e *endpoint, now instant) {
	for _, other := range slices.Clone(e.idle) {
		if now-other.idleSince >= forgottenAfter {
			a.retire(other, CloseIdleLimit)
		}
	}
}

// forgottenAfter is the idle time from which a reset says something of other
// connections. Of one that was busy a moment ago it says more of the request.
const forgottenAfter = time.Second
