package pool

import "slices"

// gate is whether an upstream lets requests through. It is the part of admission
// that an operator turns.
//
//	        pause             drain
//	open ─────────► paused ─────────► drained
//	  ▲ │             │                │ ▲
//	  │ └─────────────┼─── drain ──────┼─┘
//	  └─── resume ────┴─── resume ─────┘
type gate uint8

const (
	gateOpen    gate = iota
	gatePaused       // requests wait, within the queue's bounds
	gateDrained      // new requests are refused; those that are here are finished, and no connection is kept
)

// pause lets requests wait from now on, until then or, where that is zero, until
// resume. It reports whether that can be done.
func (a *admission) pause(until, now instant) bool {
	if a.gate == gateDrained {
		return false
	}
	a.gate, a.resumeAt = gatePaused, until
	a.remind(until)
	a.pump(now)
	return true
}

// resume lets requests through again, those that waited first.
func (a *admission) resume(now instant) {
	a.draining = a.ending
	a.gate, a.resumeAt = gateOpen, 0
	a.admit(now)
	a.pump(now)
}

// resumeDue ends a pause whose time is over.
func (a *admission) resumeDue(now instant) {
	switch {
	case a.resumeAt == 0:
	case now >= a.resumeAt:
		a.resume(now)
	default:
		a.remind(a.resumeAt)
	}
}

// empty lets nothing new in: what is here is finished, then no connection is left.
func (a *admission) empty(now instant) {
	a.gate, a.resumeAt = gateDrained, 0
	a.admit(now)
	a.drain()
	a.pump(now)
}

// admit gives idle connections to requests that wait, in their order.
func (a *admission) admit(now instant) {
	for t := a.waiting.first; t != nil && a.idle > 0; {
		next := t.next
		switch {
		case t.fresh:
		case t.deadline > 0 && t.deadline <= now:
			a.waiting.remove(t)
			a.refuse(t, a.timeout(t, now))
		default:
			if s := a.takeIdle(t, now); s != nil {
				a.waiting.remove(t)
				a.orders = append(a.orders, order{kind: orderBegin, slot: s, ticket: t, at: now})
			}
		}
		t = next
	}
}

// turnAway refuses what waits.
func (a *admission) turnAway(why Reason) {
	for t := a.waiting.first; t != nil; t = a.waiting.first {
		a.waiting.remove(t)
		a.refuse(t, order{reason: why})
	}
}

// wanting is how many requests want a connection now.
func (a *admission) wanting() int {
	if a.gate == gatePaused {
		return 0
	}
	return a.waiting.len
}

// shuts reports that t is not let in.
func (a *admission) shuts(t *ticket) bool {
	if a.gate == gateDrained && !t.admitted {
		return true
	}
	t.admitted = true
	return false
}

// drain prepares for the end: what is idle retires, and when there are no fewer
// connections than requests that wait, each one's next exchange is its last and
// says so, so that the upstream closes first and keeps the TIME_WAIT.
func (a *admission) drain() {
	a.draining = true
	a.retireIdle(a.parting())
}

func (a *admission) retireIdle(why CloseReason) {
	for _, e := range a.endpoints {
		for _, s := range slices.Clone(e.idle) {
			a.retire(s, why)
		}
	}
	for _, s := range slices.Clone(a.watched) {
		a.unwatch(s)
	}
}

// parting is why connections are not kept any more.
func (a *admission) parting() CloseReason {
	switch {
	case a.refusal == ReasonUpstreamDeleted:
		return CloseUpstreamDeleted
	case a.refusal != ReasonNone || a.ending:
		return CloseShutdown
	default:
		return CloseDrain
	}
}
