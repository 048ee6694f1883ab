package pool

import (
	"slices"
	"time"
)

// The part of admission that takes another policy while requests are served.

// changed takes the policy from now on. open are the connections that stand.
//
// No request fails by it: those that wait may go on waiting for as long as the
// new bound allows, counted from now where it is shorter than the one before; of
// a queue that is over its new bound none is sent away. What is too much by it
// retires when it is idle.
func (a *admission) changed(policy *Policy, open []*slot, now instant) {
	before := a.policy
	a.policy = policy
	for _, s := range open {
		a.rescale(s, before.MaxLifetime)
		if s.state == slotActive {
			a.enlist(s)
		}
	}
	for t := a.waiting.first; t != nil; t = t.next {
		t.giveUp = a.waitsUntil(t, before.MaxWait, now)
		a.remind(t.giveUp)
	}
	for _, e := range a.endpoints {
		e.retryAt = 0 // what failed may be what was changed
		for _, s := range slices.Clone(e.idle) {
			if a.lastExchange(s, 0) {
				a.retire(s, CloseMaxRequests)
			} else {
				a.mind(s, now)
			}
		}
	}
	for a.surplus() > 0 && a.idle > 0 {
		a.makeRoom()
	}
	if a.tends(now) > 0 {
		a.remind(now + policy.Upkeep.Interval)
	}
	a.pump(now)
}

// surplus is how many connections more than are allowed will be left when those
// that retire are gone.
func (a *admission) surplus() int { return a.dialing + a.idle + a.active - a.policy.Max }

// rescale gives s the end of life that it would have drawn, had the policy been
// what it is now. before is the lifetime it drew from.
func (a *admission) rescale(s *slot, before time.Duration) {
	switch life := a.policy.MaxLifetime; {
	case life == before:
	case before == 0 || life == 0:
		s.expires = a.expiry(s.opened)
	default:
		s.expires = s.opened + time.Duration(float64(s.expires-s.opened)*(float64(life)/float64(before)))
	}
}

// waitsUntil is when t, which waits, gives up now that the bound is no longer
// before. Zero, for each, is no bound.
func (a *admission) waitsUntil(t *ticket, before time.Duration, now instant) instant {
	most := a.policy.MaxWait
	until := t.since + most
	switch {
	case most == 0:
		return t.deadline
	case before == 0:
		until = now + most
	case most < before:
		until = min(t.since+before, now+most)
	}
	if t.deadline > 0 {
		until = min(until, t.deadline)
	}
	return until
}
