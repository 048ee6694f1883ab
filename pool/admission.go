package pool

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// instant is a point on the pool's own monotonic clock: the time since the
// pool was made. Zero stands for "never" where a limit may be absent.
type instant = time.Duration

// admission makes one upstream's decisions: which connection carries a
// request, when to dial, who waits, who is refused, what is retired. It is a
// plain value that is fed events and the time; it does no I/O, takes no lock
// and reads no clock, so the same events give the same decisions (the source
// of chance is handed in). Whoever drives it holds a lock around every call and
// carries out the orders it collects after letting go of that lock.
//
// A connection is never dialed for one request: requests wait in the order
// they came, and whatever becomes free first, a finished exchange's connection
// or a new one, goes to the first of them. So a dial outlives the request that
// caused it, and a request that gives up leaves nothing behind.
//
// Invariants, between calls:
//   - total = dialing + idle + active + retiring, at most policy.Max; where a
//     change of the policy has left more, none is added
//   - a request waits only while no idle connection may carry it; a wary one (trust.go)
//     also while one is dialed that it should rather have
//   - dialing never exceeds policy.MaxDialing, with the same exception
type admission struct {
	policy *Policy
	chance *rand.Rand

	endpoints  []*endpoint
	rotating   instant                    // until then answers are taken for changing parts of a set
	held       map[netip.AddrPort]bool    // the addresses of the newest answer
	departed   map[netip.AddrPort]instant // addresses that are gone, and since when
	preferred  int                        // of the endpoints, the first ones, to which requests go where they can
	weighted   bool                       // their shares differ
	flying     []*slot                    // being dialed, in the order in which that began
	late       int                        // of these, those on which nobody who waits relies any more
	probing    bool                       // an address that failed is to be dialed beside others
	families   [2]family                  // IPv4 and IPv6
	waiting    queue
	total      int
	dialing    int
	idle       int
	active     int
	closings   int                // of the active ones, those whose last exchange is under way and says so
	leaving    int                // of the idle ones, those whose end is near
	doubted    int                // of the others, those that a wary request may not have
	waryAt     instant            // when one came last, or the upstream was made
	haste      float64            // of the newest connection
	replacedAt instant            // when a replacement was last called for
	overdue    int                // of these, those whose end has come, but not their replacement
	watched    []*slot            // left to their servers to close
	raised     []raise            // the floors asked for, for a while
	demand     demand             // what was needed of late
	tending    int                // of the active ones, those with a request that keeps windows open
	busy       map[*slot]struct{} // the active connections, where pipelining is on
	replacing

	gate        gate         // whether requests are let through
	resumeAt    instant      // when a pause ends by itself; 0: it does not
	draining    bool         // requests are still served, connections are not kept
	ending      bool         // draining for good
	refusal     Reason       // not ReasonNone: every request is refused for it
	connected   bool         // a dial has succeeded since the upstream exists
	failing     bool         // the newest dials failed, and none has succeeded since
	failedSince instant      // since when failing
	failure     *dialFailure // the newest failure; nil after a success
	failedAt    instant      // of the newest failure; 0: there has been none

	due    instant // no tick is needed before; 0: none at all
	orders []order
	nextID uint64
}

// order is something the driver must do, outside the lock.
type order struct {
	kind      orderKind
	slot      *slot           // dial, retire, begin, tend, tell
	ticket    *ticket         // refuse, begin
	at        instant         // begin, tend: now
	reason    Reason          // refuse
	failure   *dialFailure    // refuse, when dialing failed
	state     *State          // refuse, when the queue was the cause
	upkeep    UpkeepChange    // tell
	privilege PrivilegeChange // privilege
	keep      *UpkeepPolicy   // tend
	close     CloseReason     // retire
	news      func()          // news
}

type orderKind uint8

const (
	orderDial orderKind = iota
	orderRefuse
	orderRetire
	orderStop      // the dial
	orderHasten    // those that retire: a request waits for their place
	orderTend      // a request that keeps windows open is to be sent
	orderTell      // of a change in what keeps windows open
	orderPrivilege // to be told: an endpoint has lost one, or has it again
	orderNews      // for the Observer. Never ordered here
	orderBegin     // a request that waited has a connection that was idle
)

// ask admits a request. The slot it returns is the request's; with nil the
// request waits, or an order refuses it.
func (a *admission) ask(t *ticket, now instant) *slot {
	if a.refusal != ReasonNone {
		a.refuse(t, order{reason: a.refusal})
		return nil
	}
	if a.shuts(t) {
		a.refuse(t, order{reason: ReasonDraining})
		return nil
	}
	paused := a.gate == gatePaused
	if !t.fresh && !paused {
		if t.wary {
			a.waryAt = now
		}
		if s := a.takeIdle(t, now); s != nil {
			a.needed(now)
			if a.kept()-a.active+a.dialing < a.ahead()-a.active {
				a.pump(now)
			}
			return s
		}
	}
	if !paused && a.hopeless(now) && !a.dialable(now) {
		a.refuse(t, order{reason: a.failure.reason, failure: a.failure})
		return nil
	}
	t.since = now
	t.giveUp = t.deadline
	if w := a.policy.MaxWait; w > 0 && (t.giveUp == 0 || now+w < t.giveUp) {
		t.giveUp = now + w
	}
	if t.again {
		a.waiting.pushFront(t)
	} else {
		a.waiting.pushBack(t)
	}
	a.needed(now)
	a.pump(now)
	if t.pipelinable && !paused && a.waiting.last == t && a.waiting.len == a.relied()+1 { // nobody else waits without a dial
		if s := a.pipeline(now); s != nil {
			a.waiting.remove(t)
			a.begin(s, t, now)
			return s
		}
	}
	if !t.again && a.waiting.len-a.dialing > a.policy.MaxWaiting {
		a.waiting.remove(t)
		full := order{reason: ReasonQueueFull, state: a.state(0)}
		if paused {
			full.reason = ReasonUpstreamPaused
		}
		a.refuse(t, full)
		return nil
	}
	a.remind(t.giveUp)
	return nil
}

// gaveUp takes a request out of the queue. It reports whether the request was
// still waiting; if not, it has a connection or has been refused.
func (a *admission) gaveUp(t *ticket) bool {
	if !t.queued {
		return false
	}
	a.waiting.remove(t)
	return true
}

// dialed reports that s's connection stands. The request returned is to be
// sent on it; with nil it is idle, or an order retires it.
func (a *admission) dialed(s *slot, now instant) *ticket {
	a.landed(s)
	a.reached(s.endpoint)
	a.connected = true
	if !s.endpoint.spoils {
		a.proven(s.endpoint)
	}
	took := now - s.began
	s.endpoint.took = max(took, s.endpoint.took-s.endpoint.took/8)
	s.opened, s.expires = now, a.expiry(now)
	a.arrived(s)
	t := a.offer(s, now)
	a.pump(now)
	return t
}

// dialFailed reports that s's connection could not be made.
func (a *admission) dialFailed(s *slot, f *dialFailure, now instant) {
	a.landed(s)
	a.forget(s)
	a.missed(s)
	a.failed(f, now)
	a.unreached(s.endpoint, f, now)
	a.penalise(s, now)
	a.relent(true, now)
	if f.reason == ReasonDialRefused {
		s.endpoint.lets.restarted(now)
		s.endpoint.letsUnused.restarted(now)
		for _, other := range slices.Clone(s.endpoint.idle) {
			a.mind(other, now)
		}
	}
	if f.reason == ReasonDialRefused && s.endpoint.fails >= letGoAfter {
		a.letGo(s.endpoint, len(s.endpoint.idle), now)
	}
	a.refuseHopeless(now)
	a.pump(now)
}

// freed reports that s has finished an exchange and may carry another. The
// request returned is to be sent on it next. A close reason other than
// CloseNone says that the connection has served its time and is to be retired.
// Of a connection that was lost in the meantime nothing is left to free.
func (a *admission) freed(s *slot, now instant) (*ticket, CloseReason) {
	if s.state != slotActive {
		return nil, CloseNone
	}
	s.exchanges++
	s.inflight--
	s.endpoint.reuse.answered(s.exchanges)
	s.idled = 0 // it has answered: what it did before proves nothing any more
	if s.inflight > 0 {
		return a.follow(s, now), CloseNone
	}
	a.rest(s)
	if s.endpoint.spoils {
		a.proven(s.endpoint)
		defer a.pump(now)
	}
	if why := a.spent(s, now); why != CloseNone {
		s.state, s.condemned = slotRetiring, why
		a.left(s, why)
		a.pump(now)
		return nil, why
	}
	t := a.offer(s, now)
	if s.leaving {
		a.pump(now)
	}
	return t, CloseNone
}

// lost reports that s's connection is closed, and why. An address whose new
// connections end unused is left alone as one that refuses them.
func (a *admission) lost(s *slot, why CloseReason, now instant) {
	switch s.state {
	case slotIdle:
		a.dropIdle(s)
		a.left(s, why)
	case slotActive:
		if s.tending {
			a.tendedBadly(s, why, now)
		}
		a.rest(s)
		a.left(s, why)
	case slotWatched:
		a.forgetWatched(s)
	case slotLost:
		return
	}
	a.forget(s)
	spoilt := spoiltBy(s.endpoint.addr, why)
	switch {
	case spoilt != nil && s.exchanges == 0 && now-s.opened < earlyClose:
		s.endpoint.spoils = true
		a.failed(spoilt, now)
		a.penalise(s, now)
		a.refuseHopeless(now)
	case s.endpoint.spoils && now-s.opened >= earlyClose:
		a.proven(s.endpoint)
	}
	a.pump(now)
}

// tick lets time pass: requests that waited long enough are refused, idle
// connections that are spent retire, postponed dials are made.
func (a *admission) tick(now instant) {
	a.due = 0
	a.resumeDue(now)
	for t := a.waiting.first; t != nil; {
		next := t.next
		if t.giveUp > 0 && t.giveUp <= now {
			a.waiting.remove(t)
			a.refuse(t, a.timeout(t, now))
		} else {
			a.remind(t.giveUp)
		}
		t = next
	}
	a.relent(false, now)
	for _, e := range a.endpoints {
		a.giveBack(e, now)
		a.judges(e, now)
		for _, s := range slices.Clone(e.idle) {
			a.mind(s, now)
		}
		if e.gone && !e.moved {
			a.release(e, now)
		}
	}
	a.watchOver(now)
	if a.hopeless(now) && !a.dialable(now) {
		a.refuseHopeless(now)
	}
	a.pump(now)
	a.tend(now)
}

// timeout is the refusal of a request that waited too long: for the dials'
// failure where nothing but failing dials happened meanwhile, or no port was left
// to dial from.
func (a *admission) timeout(t *ticket, now instant) order {
	o := order{reason: ReasonWaitTimeout, state: a.state(now - t.since)}
	switch {
	case t.deadline > 0 && t.deadline <= now:
		o.reason = ReasonDeadlineExceeded
	case a.gate == gatePaused:
		o.reason = ReasonUpstreamPaused
	case a.failing && (a.idle+a.active == 0 || a.failure.reason == ReasonNoLocalPort):
		o.reason, o.failure = a.failure.reason, a.failure
	}
	return o
}

// shut refuses what waits and all that will come, and retires what is idle.
func (a *admission) shut(why Reason) {
	a.refusal = why
	a.turnAway(why)
	a.retireIdle(a.parting())
}

// takeIdle makes the best idle connection active: of two endpoints drawn by
// chance the one with fewer active connections, and there the one that suits
// the request best. It is nil where there is none, or a wary request should rather
// have a new one.
func (a *admission) takeIdle(t *ticket, now instant) *slot {
	for a.idle > 0 {
		e := a.idleEndpoint()
		s := a.choose(e, t, now)
		if why := a.stale(s, now); why != CloseNone && (s.overdue == CloseNone || !soft(why)) {
			a.retire(s, why)
			a.pump(now)
			continue
		}
		if t.wary {
			if s = a.takeTrusted(s, t, now); s == nil {
				return nil
			}
		}
		a.dropIdle(s)
		a.begin(s, t, now)
		return s
	}
	return nil
}

// offer gives s to the first waiting request whose deadline has not passed, or
// makes it idle. To send a request that is too late would cost the connection.
func (a *admission) offer(s *slot, now instant) *ticket {
	for t := a.waiting.first; t != nil && a.gate != gatePaused; t = a.waiting.first {
		a.waiting.remove(t)
		if t.deadline > 0 && t.deadline <= now { // the tick that should have said so is late
			a.refuse(t, a.timeout(t, now))
			continue
		}
		a.begin(s, t, now)
		return t
	}
	s.state = slotIdle
	s.idleSince = now
	if s.called {
		s.called, s.usedAt = false, now
	}
	s.endpoint.idle = append(s.endpoint.idle, s)
	a.idle++
	switch {
	case a.refusal != ReasonNone, a.draining:
		a.retire(s, a.parting())
	case s.condemned != CloseNone:
		a.retire(s, s.condemned)
	case a.surplus() > 0:
		a.retire(s, CloseSurplus)
	case s.endpoint.gone && !s.endpoint.moved:
		a.release(s.endpoint, now)
	default:
		a.mind(s, now)
		if a.tends(now) > 0 && a.worthKeeping(s, now) {
			a.remind(a.tendAt(s))
		}
	}
	return nil
}

// begin puts t's request on s.
func (a *admission) begin(s *slot, t *ticket, now instant) {
	if s.state == slotIdle {
		s.idled = now - s.idleSince
		a.proves(s, now)
	}
	s.inflight++
	s.alone = !t.pipelinable
	s.sends(now)
	s.called = s.called || !t.upkeep
	if s.inflight > 1 {
		return
	}
	s.state = slotActive
	a.active++
	s.endpoint.active++
	a.enlist(s)
}

// rest ends a connection's being active.
func (a *admission) rest(s *slot) {
	if s.tending {
		s.tending = false
		a.tending--
	}
	a.active--
	s.endpoint.active--
	if s.last {
		s.last = false
		a.closings--
	}
	delete(a.busy, s)
}

func (a *admission) dropIdle(s *slot) {
	e := s.endpoint
	if s.leaving {
		s.leaving = false
		a.leaving--
		e.leaving--
	}
	if s.doubted {
		a.doubt(s, false)
	}
	if s.overdue != CloseNone {
		s.overdue = CloseNone
		a.overdue--
	}
	if last := len(e.idle) - 1; e.idle[last] == s {
		e.idle = e.idle[:last]
	} else {
		i := slices.Index(e.idle, s)
		e.idle = slices.Delete(e.idle, i, i+1)
	}
	a.idle--
}

// forget ends the record of a connection.
func (a *admission) forget(s *slot) {
	s.state = slotLost
	s.endpoint.told.forget(s)
	a.total--
	s.endpoint.total--
	if e := s.endpoint; e.gone && e.total == 0 {
		a.endpoints = slices.DeleteFunc(a.endpoints, func(other *endpoint) bool { return other == e })
		a.arrange()
	}
}

func (a *admission) refuse(t *ticket, o order) {
	o.kind, o.ticket = orderRefuse, t
	a.orders = append(a.orders, o)
}

// remind makes sure that a tick comes no later than at.
func (a *admission) remind(at instant) {
	if at > 0 && (a.due == 0 || at < a.due) {
		a.due = at
	}
}

// state is the upstream's numbers for a refusal's text.
func (a *admission) state(waited time.Duration) *State {
	s := &State{
		Max: a.policy.Max, Total: a.total, Active: a.active, Idle: a.idle, Dialing: a.dialing,
		Waiting: a.waiting.len, Waited: waited,
	}
	if a.failure != nil {
		s.LastDialError = a.failure.text()
	}
	return s
}
