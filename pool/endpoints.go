package pool

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// The part of admission that decides which addresses an upstream has.
//
// An address is current while the newest answer holds it. Missing from an answer
// it is missing: its connections are kept and used where no other is free, and it
// is dialed only when no current address can be. Missing from the next answer
// too, which is the same as that one, it is gone: its connections retire, one
// after the other, and where the floor needs them not before others stand in for
// them.
//
// Some servers answer with a changing part of a larger set of addresses. That no
// two answers in a row are the same tells it, and so does an address that comes
// back; then each may be missing from ten answers and for five minutes before it is
// gone, so that connections are not made and retired in the rhythm of the answers.
//
// An answer of which a part could not be found out says nothing of what it does
// not hold, and a failure says nothing at all.

const (
	missesGone     = 2                // answers without an address after which it is gone
	missesRotating = 10               // the same where answers are parts of a set …
	rotatingGone   = 5 * time.Minute  // … and the least time without it
	rotatingMemory = 30 * time.Minute // for how long that is held to be so after the last sign of it
	departedMemory = 10 * time.Minute // for how long an address that is gone would be recognised
	releaseTime    = 5 * time.Second  // over which the connections to an address that is gone retire
	maxEndpoints   = 512              // addresses kept at most; beyond, those missing without a connection go first
	maxDeparted    = 512
)

// endpoint is the decisions' record of one address.
type endpoint struct {
	addr         netip.AddrPort
	idle         []*slot // most recently used last
	upkeep       upkeep  // of windows by requests
	told         told    // what the kernel says of its connections
	active       int
	dialing      int
	total        int
	gone         bool    // no longer one of the upstream's addresses
	moved        bool    // gone, and one of another origin: its connections serve until they are replaced
	misses       int     // answers in a row that do not hold it
	missing      instant // since when they do not
	priority     uint16  // of a service: the lowest that can be reached is used
	weight       uint16  // of a service, as its record has it
	share        uint64  // of a service: of the connections, in proportion to others of its priority; at least 1
	late         int     // of the dials, those on which nobody relies
	retireAt     instant // gone: when the next of its connections may go …
	retireEvery  time.Duration
	leaving      int           // of the idle ones, those whose end is near
	took         time.Duration // what the newest dials took at most
	fails        int           // rounds of failed dials in a row
	spoils       bool          // it closed connections unused: a dial's success ends its fails no more, only a connection that serves or lasts
	ramp         int           // dials in flight at most, after failures, until as many have succeeded; 0: no limit of its own
	retryAt      instant       // no dial before, after a failure
	lets         idleLimit     // how long it lets connections idle, by what it did
	letsUnused   idleLimit     // and those that never carried a request
	lastsUsed    trusted       // for how long its connections were seen to idle
	lastsUnused  trusted       // and those that never carried a request
	reuse        reuse         // whether its connections may carry more than one exchange
	noPipelining instant       // until then requests are not pipelined to it: it handled that badly
	lost         [2]bool       // the privileges that it has lost, as was told
	version      version       // what it answers in; self-synchronised
}

// located is an address that an answer holds.
type located struct {
	addr             netip.AddrPort
	priority, weight uint16
	weighed          bool // priority and weight mean something
}

// answered reports what a lookup found. partial says that it may not be all.
func (a *admission) answered(found []located, partial bool, now instant) EndpointChange {
	change := a.hold(found, partial, now)
	a.pump(now)
	return change
}

// hold takes an answer's word on which addresses there are.
func (a *admission) hold(found []located, partial bool, now instant) EndpointChange {
	var change EndpointChange
	known := make(map[netip.AddrPort]*endpoint, len(a.endpoints))
	for _, e := range a.endpoints {
		if !e.moved {
			known[e.addr] = e
		}
	}
	held := make(map[netip.AddrPort]bool, len(found))
	for _, f := range found {
		e := known[f.addr]
		held[f.addr] = true
		switch {
		case e == nil:
			if a.returned(f.addr, now) {
				a.rotating = now + rotatingMemory
			}
			e = &endpoint{addr: f.addr}
			known[f.addr] = e
			a.endpoints = append(a.endpoints, e)
			change.Added = append(change.Added, f.addr)
		case e.misses > 0:
			a.rotating = now + rotatingMemory
			change.Returned = append(change.Returned, f.addr)
		}
		e.misses, e.gone = 0, false
		e.priority, e.weight, e.share = f.priority, f.weight, shareOf(f)
	}
	same := maps.Equal(held, a.held)
	if !partial {
		a.held = held
	}
	for _, e := range a.endpoints {
		if e.gone || held[e.addr] || partial {
			continue
		}
		if e.misses++; e.misses == 1 {
			e.missing = now
			change.Missing = append(change.Missing, e.addr)
		}
		if a.vanished(e, same, now) {
			change.Gone = append(change.Gone, e.addr)
			a.depart(e, now)
		}
	}
	a.trim(&change, now)
	for _, e := range a.endpoints {
		if e.misses == 0 {
			change.Current++
		}
	}
	a.arrange()
	return change
}

// vanished reports that a missing address has been missing for long enough. same
// says that the newest answer is like the one before.
func (a *admission) vanished(e *endpoint, same bool, now instant) bool {
	if same && now >= a.rotating {
		return e.misses >= missesGone
	}
	return e.misses >= missesRotating && now-e.missing >= rotatingGone
}

// depart lets the connections to an address go.
func (a *admission) depart(e *endpoint, now instant) {
	e.gone = true
	if a.departed == nil || len(a.departed) >= maxDeparted {
		a.departed = make(map[netip.AddrPort]instant)
	}
	a.departed[e.addr] = now
	e.retireAt, e.retireEvery = now, releaseTime/time.Duration(max(1, e.total))
	a.release(e, now)
}

// mayRelease reports that the turn of one of the connections to an address that
// is gone has come, and takes it.
func (e *endpoint) mayRelease(now instant) bool {
	if e.retireAt > now {
		return false
	}
	e.retireAt = now + e.retireEvery
	return true
}

// release retires idle connections to an address that is gone, as their turn
// comes.
func (a *admission) release(e *endpoint, now instant) {
	for _, s := range slices.Clone(e.idle) {
		switch {
		case s.overdue != CloseNone:
		case e.mayRelease(now):
			a.expire(s, CloseEndpointGone, now)
		default:
			a.remind(e.retireAt)
			a.mind(s, now)
		}
	}
}

// returned reports that an address was one of the upstream's a while ago.
func (a *admission) returned(addr netip.AddrPort, now instant) bool {
	at, ok := a.departed[addr]
	delete(a.departed, addr)
	return ok && now-at < departedMemory
}

// trim forgets addresses that are gone and have no connection, and where there
// are too many those missing for longest.
func (a *admission) trim(change *EndpointChange, now instant) {
	for len(a.endpoints) > maxEndpoints {
		var longest *endpoint
		for _, e := range a.endpoints {
			if e.misses > 0 && !e.gone && (longest == nil || e.misses > longest.misses) {
				longest = e
			}
		}
		if longest == nil {
			break
		}
		change.Gone = append(change.Gone, longest.addr)
		a.depart(longest, now)
		a.forgetGone()
	}
	a.forgetGone()
}

func (a *admission) forgetGone() {
	a.endpoints = slices.DeleteFunc(a.endpoints, func(e *endpoint) bool { return e.gone && e.total == 0 })
}

// resolved reports addresses that are fixed: those that are not among them are
// gone at once.
func (a *admission) resolved(addrs []netip.AddrPort, now instant) {
	found := make([]located, len(addrs))
	for i, addr := range addrs {
		found[i] = located{addr: addr}
	}
	a.hold(found, true, now)
	for _, e := range a.endpoints {
		if !e.gone && !slices.Contains(addrs, e.addr) {
			a.depart(e, now)
		}
	}
	a.forgetGone()
	a.arrange()
	a.pump(now)
}

// unresolved reports that the upstream's addresses could not be found. What is
// known stays in use; only an upstream without any address refuses.
func (a *admission) unresolved(f *dialFailure, now instant) {
	if slices.ContainsFunc(a.endpoints, func(e *endpoint) bool { return !e.moved }) {
		return
	}
	a.failed(f, now)
	a.refuseHopeless(now)
}

// known is how many addresses the upstream has, those missing included.
func (a *admission) known() int {
	n := 0
	for _, e := range a.endpoints {
		if !e.gone {
			n++
		}
	}
	return n
}
