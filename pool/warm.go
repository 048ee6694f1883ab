package pool

import (
	"math"
	"slices"
	"time"
)

// The part of admission that keeps connections established ahead of any request,
// and replaces them before they end.
//
// An idle connection's end is known beforehand: its lifetime, max_idle_time, the
// server's own word, or what the server was seen to do (idleUntil). Shortly
// before it the connection is leaving: it may still be used, but does not count
// any more as kept, and so pump dials its replacement. Make before break is
// therefore nothing but counting, and what is surplus simply goes.
//
// Where the floor would break all the same, because the upstream refuses or
// because an end was learned of too late, the connection stays, overdue, until
// its replacement stands. Two of the ends are the pool's own choice, the
// lifetime's and that of a vanished address: behind them an overdue connection
// still serves. Behind the others a request could meet the server's close, so it
// gets none.
//
// A replacement needs a place. With total = max there is none: then, one at a
// time, a leaving connection goes before its replacement is dialed.

const (
	replaceMargin = 100 * time.Millisecond // before an end, beside the time that dials take
	replaceSpread = 10 * time.Second       // over which, at most, the replacements of connections that end together are spread
	replacePace   = 100 * time.Millisecond // between two of them, where there is time
)

// raise is a floor that was asked for, for a while.
type raise struct {
	n      int
	until  instant
	upkeep bool // their windows are to be kept open
}

// floor is how many connections are to be established with no traffic at all.
func (a *admission) floor(now instant) int {
	n := a.policy.Warm
	for _, r := range a.raised {
		if now < r.until {
			n = max(n, r.n)
		}
	}
	return min(n, a.policy.Max)
}

// raise lifts the floor to add.n until then. Where it ends, what is surplus decays.
func (a *admission) raise(add raise, now instant) {
	covers := func(r, other raise) bool {
		return r.n >= other.n && r.until >= other.until && (r.upkeep || !other.upkeep)
	}
	a.raised = slices.DeleteFunc(a.raised, func(r raise) bool { return r.until <= now || covers(add, r) })
	if !slices.ContainsFunc(a.raised, func(r raise) bool { return covers(r, add) }) {
		a.raised = append(a.raised, add)
	}
	if add.upkeep {
		a.remind(now + a.policy.Upkeep.Interval/2)
	}
	a.pump(now)
}

// stock is the floor and, where connections are known to end without notice, some
// that stand in for those.
func (a *admission) stock(now instant) int {
	floor := a.floor(now)
	for _, e := range a.endpoints {
		if floor > 0 && !e.gone && (e.lets.erratic(now) || e.letsUnused.erratic(now)) {
			return min(a.policy.Max, floor+(floor+7)/8)
		}
	}
	return floor
}

// want is how many connections are to be kept: the floor, and what demand asks
// for beyond it.
func (a *admission) want(now instant) int {
	if a.draining {
		return 0
	}
	return min(a.policy.Max, max(a.stock(now), a.demanded(now)))
}

// kept is the connections that stand and will go on to: not those whose end is
// near, nor those whose last exchange is under way.
func (a *admission) kept() int { return a.idle - a.leaving + a.active - a.closings }

// kept is the same of one address, with what is being dialed to it.
func (e *endpoint) kept() int { return len(e.idle) - e.leaving + e.active + e.dialing }

// replaceAt is when an idle connection that will end is to be replaced; 0: it will not.
func (a *admission) replaceAt(s *slot, now instant) instant {
	until := a.idleUntil(s, now)
	if until == 0 {
		return 0
	}
	return s.replacedBefore(until)
}

// replacedBefore is when s is to be replaced that is of use until then: early enough
// for a dial that takes twice what dials took, and sooner by its haste, so that
// those that were made together are not replaced together. But not before half its
// time is over, so that it is never replaced for having been made.
func (s *slot) replacedBefore(until instant) instant {
	return s.lastCall(until, time.Duration(s.haste*float64(s.spread(until))))
}

// lastCall is replacedBefore for a replacement that comes so much earlier than it must.
func (s *slot) lastCall(until instant, early time.Duration) instant {
	return until - min(2*s.endpoint.took+replaceMargin+early, max(0, until-s.idleSince)/2)
}

// spread is over which time the replacements of connections like s are spread.
func (s *slot) spread(until instant) time.Duration { return min((until-s.idleSince)/5, replaceSpread) }

// paced reports whether the replacement of s, which is of use until then, may be made
// now; else, so that it does not come together with another one, a little later.
// What is spread evenly is seldom held up by it. Twice as many as there are have room.
func (a *admission) paced(s *slot, until, now instant) bool {
	pace := min(replacePace, s.spread(until)/time.Duration(2*max(1, a.idle)))
	next, last := a.replacedAt+pace, s.lastCall(until, 0)
	if now < next && now < last {
		a.remind(min(next, last))
		return false
	}
	a.replacedAt = now
	return true
}

// hurry is the haste of the next connection. Each is as far as can be from those
// before, so that however many were dialed together, they are replaced evenly over
// the time there is for it (the fractional parts of the golden ratio's multiples).
func (a *admission) hurry() float64 {
	_, a.haste = math.Modf(a.haste + math.Phi)
	return a.haste
}

// mind watches over an idle connection: it is leaving when its time comes, and
// goes when that is over.
func (a *admission) mind(s *slot, now instant) {
	trust, least := s.trustOf()
	trust.idled(now-s.idleSince, least, now)
	if why := a.stale(s, now); why != CloseNone {
		a.expire(s, why, now)
		return
	}
	a.weigh(s, now)
	at := a.replaceAt(s, now)
	switch {
	case at == 0:
	case at > now && !s.leaving:
		a.remind(at)
	case s.leaving || a.paced(s, a.idleUntil(s, now), now):
		a.leave(s)
		a.remind(a.idleUntil(s, now))
	}
}

// leave counts an idle connection no longer as kept.
func (a *admission) leave(s *slot) {
	if !s.leaving {
		if s.doubted {
			a.doubt(s, false)
		}
		s.leaving = true
		a.leaving++
		s.endpoint.leaving++
	}
}

// expire ends an idle connection's use, unless the floor needs it for a while.
func (a *admission) expire(s *slot, why CloseReason, now instant) {
	switch {
	case s.overdue != CloseNone:
	case a.refusal == ReasonNone && !a.draining && a.idle+a.active <= a.stock(now):
		a.stay(s, why)
	case why == CloseIdleLimit && a.watches(s, now):
		a.watch(s)
	default:
		a.retire(s, why)
	}
}

// stay keeps an idle connection until its replacement stands.
func (a *admission) stay(s *slot, why CloseReason) {
	a.leave(s)
	if s.overdue == CloseNone {
		a.overdue++
	}
	s.overdue = why
}

// soft reports that a connection whose end has come may still serve.
func soft(why CloseReason) bool { return why == CloseMaxLifetime || why == CloseEndpointGone }

// relieve retires what is overdue and no longer needed.
func (a *admission) relieve(now instant) {
	if a.overdue == 0 {
		return
	}
	stock := a.stock(now)
	for _, e := range slices.Clone(a.endpoints) {
		for _, s := range slices.Clone(e.idle) {
			if s.overdue != CloseNone && a.idle+a.active > stock {
				a.retire(s, s.overdue)
			}
		}
	}
}

// giveWay makes room for a dial where the upstream has all the connections it may
// have: of what is only watched, for a request that must not have an idle
// connection, or, one at a time, of what is leaving anyway.
func (a *admission) giveWay(want int, now instant) {
	asked, lacks := a.wanting() > a.dialing, a.kept()+a.dialing < want
	if !asked && !lacks {
		return
	}
	switch {
	case len(a.watched) > 0:
		a.unwatch(a.watched[0])
	case a.wanting() > a.dialing+a.retiring():
		a.makeRoom()
	case !asked && a.leaving > 0 && a.dialing+a.retiring() == 0:
		a.retireLeaving(now)
	}
	if a.retiring() > 0 {
		a.orders = append(a.orders, order{kind: orderHasten})
	}
}

// retireLeaving retires the leaving connection whose end is nearest.
func (a *admission) retireLeaving(now instant) {
	var first *slot
	for _, e := range a.endpoints {
		for _, s := range e.idle {
			if s.leaving && (first == nil || a.idleUntil(s, now) < a.idleUntil(first, now)) {
				first = s
			}
		}
	}
	why := first.overdue
	if why == CloseNone {
		why = a.stale(first, a.idleUntil(first, now))
	}
	a.retire(first, why)
}

// level moves the floor to addresses that have less than their share of it: the
// connection unused for longest at the fullest address is leaving, and its
// replacement goes to the emptiest. It does so with one at a time, among the
// addresses that requests prefer.
func (a *admission) level(now instant) {
	if a.preferred < 2 || a.leaving > 0 || a.dialing > 0 || a.wanting() > 0 || a.draining || a.total >= a.policy.Max {
		return
	}
	var least, most *endpoint
	for _, e := range a.endpoints[:a.preferred] {
		if len(e.idle) > 0 && (most == nil || fuller(e, 0, most, 0)) {
			most = e
		}
		if least == nil || fuller(least, 0, e, 0) {
			least = e
		}
	}
	if most != nil && !fuller(least, 1, most, -1) && a.kept() <= a.want(now) {
		a.stay(most.idle[0], CloseSurplus)
	}
}

// fuller reports that one has more connections for its share than two, with so
// many more at each.
func fuller(one *endpoint, more int, two *endpoint, also int) bool {
	return uint64(one.kept()+more)*two.share > uint64(two.kept()+also)*one.share
}
