package pool

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// The part of admission that keeps requests from waiting for an address that does
// not answer, in the spirit of RFC 8305 (happy eyeballs), of which a pool needs
// less and wants more: its connections go to all addresses anyway, those of both
// families, and a connection that stands later than another is none too many.
//
//   - A dial whose TCP connection does not stand after 250 ms (connection attempt
//     delay) is late: whoever waits for it no longer counts on it, and another
//     address is dialed. Both go on, and the first that stands serves whoever has
//     waited longest. Where there is no place for another dial, the late one is
//     given up.
//   - An address that failed is dialed beside one that did not, never instead of
//     it, and one at a time. So a dead address costs those who wait 250 ms once.
//   - When the dials to a family (IPv4, IPv6) fail for want of an answer, none of
//     its addresses has a connection and the other family is of use, the whole
//     family counts as failed: its other addresses need not cost 250 ms each.
//   - What failed beside addresses that serve is left alone for up to 30 s, not 2 s.

const (
	attemptDelay  = 250 * time.Millisecond // RFC 8305, 5
	backoffBeside = 30 * time.Second       // the most for which an address is left alone while others serve
)

// family is what is known of the addresses of one IP version.
type family struct {
	fails   int     // in a row, when none of its addresses answered
	retryAt instant // no dial before
}

func familyOf(e *endpoint) int {
	if e.addr.Addr().Is4() {
		return 0
	}
	return 1
}

// doubtful reports that dials to e have failed, or to its family.
func (a *admission) doubtful(e *endpoint) bool {
	return e.fails > 0 || a.families[familyOf(e)].fails > 0
}

// heldBack is the time before which e is not dialed.
func (a *admission) heldBack(e *endpoint) instant {
	return max(e.retryAt, a.families[familyOf(e)].retryAt)
}

// relied is how many of the dials in flight those who wait count on.
func (a *admission) relied() int { return a.dialing - a.late }

// fly takes note of a dial that begins, beside another for the same reason or
// instead of it.
func (a *admission) fly(e *endpoint, cause DialCause, beside bool, now instant) {
	a.nextID++
	s := &slot{
		id: a.nextID, endpoint: e, round: e.fails, generation: a.generation,
		cause: cause, haste: a.hurry(), began: now,
	}
	a.dialing++
	e.dialing++
	a.total++
	e.total++
	a.flying = append(a.flying, s)
	if beside {
		a.delay(s)
	}
	a.orders = append(a.orders, order{kind: orderDial, slot: s})
}

// landed takes note of a dial that has ended.
func (a *admission) landed(s *slot) {
	a.dialing--
	s.endpoint.dialing--
	if s.late {
		s.late = false
		a.late--
		s.endpoint.late--
	}
	a.flying = slices.DeleteFunc(a.flying, func(other *slot) bool { return other == s })
}

func (a *admission) delay(s *slot) {
	s.late = true
	a.late++
	s.endpoint.late++
}

// race finds the dials that are late, where there is another address to dial.
func (a *admission) race(now instant) {
	if len(a.endpoints) < 2 {
		return
	}
	for _, s := range a.flying {
		switch at := s.began + attemptDelay; {
		case s.late, s.connected, s.held, a.wanting() == 0, !a.elsewhere(s.endpoint):
		case at > now:
			a.remind(at)
		default:
			a.delay(s)
		}
	}
}

// passed takes note that a dial which waited for those of other upstreams begins.
// That it waited says nothing of its address.
func (a *admission) passed(s *slot, now instant) {
	s.held, s.began = false, now
	a.race(now)
}

// elsewhere reports that there is an address besides e that is likely to answer.
func (a *admission) elsewhere(e *endpoint) bool {
	return slices.ContainsFunc(a.endpoints, func(o *endpoint) bool {
		return o != e && !o.gone && o.late == 0 && !a.doubtful(o)
	})
}

// giveUpLate makes room for another dial by ending the one that is late for
// longest.
func (a *admission) giveUpLate() {
	if a.late == 0 || a.wanting() <= a.relied() {
		return
	}
	for _, s := range a.flying {
		if s.stopped {
			return // one at a time
		}
	}
	for _, s := range a.flying {
		if s.late && a.elsewhere(s.endpoint) {
			s.stopped = true
			a.orders = append(a.orders, order{kind: orderStop, slot: s})
			return
		}
	}
}

// givenUp is the failure of a dial that was stopped.
func givenUp(to netip.AddrPort, after time.Duration) *dialFailure {
	return &dialFailure{
		endpoint: to, reason: ReasonDialTimeout,
		detail: fmt.Sprintf("connecting to %s was given up after %s in favour of another address", to, after.Round(time.Millisecond)),
	}
}

// probe dials an address that failed, beside one that did not and was dialed. When
// there is no place for it, it is made up for when there is.
func (a *admission) probe(now instant) {
	if !a.probing || a.draining {
		return
	}
	var best *endpoint
	for _, e := range a.endpoints {
		switch {
		case e.gone, e.misses > 0, !a.doubtful(e), a.heldBack(e) > now:
		case e.dialing > 0:
			return
		case best == nil || e.priority < best.priority:
			best = e
		}
	}
	if best == nil {
		a.probing = false
		return
	}
	if a.dialing < a.policy.MaxDialing && a.total < a.policy.Max && a.wanting() <= a.relied() {
		a.probing = false
		a.fly(best, DialProbe, true, now)
	}
}

// reached takes note of a connection that stands.
func (a *admission) reached(e *endpoint) {
	if m := &a.families[familyOf(e)]; m.fails > 0 {
		*m = family{}
		a.arrange()
	}
}

// unreached takes note of a dial that failed, for e's family.
func (a *admission) unreached(e *endpoint, f *dialFailure, now instant) {
	if f.reason != ReasonDialTimeout && f.reason != ReasonDialFailed {
		return // it answered, or was not asked
	}
	mine := familyOf(e)
	other := false
	for _, o := range a.endpoints {
		switch {
		case familyOf(o) != mine:
			other = other || !o.gone && o.fails == 0
		case o.total > o.dialing:
			return
		}
	}
	switch m := &a.families[mine]; {
	case !other, a.families[1-mine].fails > 0:
		a.families = [2]family{}
	case m.retryAt > now: // it was in flight together with another
	default:
		m.retryAt = now + a.backoff(m.fails, backoffBeside)
		m.fails++
	}
	a.arrange()
}

// backoff draws a pause after so many failures: evenly between nothing and a
// bound that doubles (full jitter).
func (a *admission) backoff(fails int, most time.Duration) time.Duration {
	bound := min(backoffFirst<<min(fails, 16), most)
	return 1 + time.Duration(a.chance.Int64N(int64(bound)))
}

// soften shortens the pauses of addresses that failed when none is left that did
// not: they are all there is.
func (a *admission) soften(now instant) {
	if slices.ContainsFunc(a.endpoints, func(e *endpoint) bool { return !e.gone && !a.doubtful(e) }) {
		return
	}
	for i := range a.families {
		a.families[i].retryAt = min(a.families[i].retryAt, now+backoffMost)
	}
	for _, e := range a.endpoints {
		e.retryAt = min(e.retryAt, now+backoffMost)
	}
}
