package pool

import "slices"

// The part of admission that replaces all connections, because an operator asked
// for it or the upstream moved: new ones are established first, then as many old
// ones finish and go.
//
// Each dial that succeeds gives the old ones a credit of one, which one of them
// spends by going: an idle one at once, an active one when it is free. So there
// are never fewer connections than there were, and if the new ones cannot be
// made, the old ones go on serving. With max of them there is no place for a new
// one: then one old one goes on credit.

// replacing counts what is left to be replaced.
type replacing struct {
	generation uint32 // slots of earlier ones are old
	old        int    // idle and active ones
	former     int    // dials in flight whose connection will be old
	credit     int    // old ones that may go, at most all; -1: one went before its replacement stood
	replaced   int    // connections established in place of others, so far
}

// reconnect makes all connections old.
func (a *admission) reconnect(now instant) {
	a.generation++
	a.old, a.former, a.credit = a.idle+a.active, a.dialing, 0
	a.pump(now)
}

// moved: the upstream is another origin from now on, whose addresses are not
// known yet. Nothing new goes to those of before, whose connections serve until
// they are replaced.
func (a *admission) moved(now instant) {
	for _, e := range a.endpoints {
		e.gone, e.moved = true, true
	}
	a.endpoints = slices.DeleteFunc(a.endpoints, func(e *endpoint) bool { return e.total == 0 })
	a.arrange()
	a.connected, a.failing, a.failure = false, false, nil
	a.reconnect(now)
}

func (r *replacing) outdated(s *slot) bool { return s.generation != r.generation }

// owed is how many replacements are still to be established.
func (a *admission) owed() int {
	if a.draining {
		return 0
	}
	return a.old - a.credit
}

// arrived takes note of a connection that stands.
func (a *admission) arrived(s *slot) {
	switch {
	case a.outdated(s):
		a.former--
		a.old++
	case a.owed() > 0:
		a.credit++
		a.replaced++
	}
}

// missed takes note of a dial that failed.
func (a *admission) missed(s *slot) {
	if a.outdated(s) {
		a.former--
	}
	if a.old == 0 {
		a.credit = 0 // nothing is left that would have to be replaced; what is needed is dialed as ever
	}
}

// left takes note of a connection that goes, for whatever reason.
func (a *admission) left(s *slot, why CloseReason) {
	if !a.outdated(s) {
		return
	}
	a.old--
	if why == CloseReconnect {
		a.credit--
	}
	a.credit = min(a.credit, a.old)
}

// mayGo reports whether an old connection may go now. leaving is 1 for one that has
// just been taken out of use, and is counted among those that retire.
func (a *admission) mayGo(leaving int) bool {
	return a.credit > 0 || a.credit == 0 && a.total-a.dialing >= a.policy.Max && a.retiring() == leaving
}

// makeWay lets idle old connections go as far as they may.
func (a *admission) makeWay() {
	if a.old == 0 || a.draining {
		return
	}
	for _, e := range a.endpoints {
		for i := 0; i < len(e.idle) && a.mayGo(0); {
			if s := e.idle[i]; a.outdated(s) {
				a.retire(s, CloseReconnect)
			} else {
				i++
			}
		}
	}
}
