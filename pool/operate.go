package pool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Mode is whether an upstream takes requests.
type Mode uint8

// The modes.
const (
	ModeActive   Mode = iota // it takes requests
	ModePaused               // requests wait until it is resumed
	ModeDraining             // new requests are refused, what is here is finished
	ModeDrained              // drained: no connection is open
	ModeDeleting             // it is being removed
)

// String is the mode's name: active, paused, draining, drained or deleting.
func (m Mode) String() string {
	return nameOf([]string{"active", "paused", "draining", "drained", "deleting"}, uint8(m))
}

// ModeError says that an upstream's mode does not allow what was asked.
type ModeError struct {
	Upstream string
	Mode     Mode
	Wanted   string // what was asked: "be paused", …
}

func (e *ModeError) Error() string {
	text := fmt.Sprintf("upstream %q is %s and cannot %s", e.Upstream, e.Mode, e.Wanted)
	if e.Mode == ModeDraining || e.Mode == ModeDrained {
		text += "; resume it first"
	}
	return text
}

// Mode is whether the upstream takes requests now.
func (u *Upstream) Mode() Mode {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mode()
}

func (u *Upstream) mode() Mode {
	switch a := &u.mu.admission; {
	case a.refusal == ReasonUpstreamDeleted:
		return ModeDeleting
	case a.gate == gatePaused && !u.mu.closed:
		return ModePaused
	case !a.draining && !u.mu.closed:
		return ModeActive
	case a.total > 0 || a.waiting.len > 0 || len(u.mu.conns) > 0:
		return ModeDraining
	default:
		return ModeDrained
	}
}

// ending reports that the pool is shutting down.
func (u *Upstream) ending() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mu.closed || u.mu.admission.ending
}

// Pause stops sending: requests under way are finished, new ones wait within
// the bounds of the queue, for the time given or, where that is 0, until Resume.
// It returns when no exchange is under way any more, or, leaving the pause as it
// is, when ctx ends.
func (u *Upstream) Pause(ctx context.Context, d time.Duration) error {
	now := u.pool.now()
	until := instant(0)
	if d > 0 {
		until = now + d
	}
	err := u.turn("be paused", func(a *admission) bool { return a.pause(until, now) })
	if err != nil {
		return err
	}
	return u.await(ctx, func() bool { return u.mu.admission.active == 0 || u.mu.admission.gate != gatePaused })
}

// Resume ends a pause or a drain.
func (u *Upstream) Resume() error {
	now := u.pool.now()
	return u.turn("be resumed", func(a *admission) bool {
		if a.gate != gateOpen {
			a.resume(now)
		}
		return true
	})
}

// Emptied is what a drain did.
type Emptied struct {
	Closed    int // connections that ended
	Cancelled int // exchanges that were cut, or refused while they waited, because the time was over
}

// Drain refuses new requests, finishes those under way and those that wait, and
// closes every connection. What is left when grace is over is cancelled. It
// returns when no connection is left, or when ctx ends; the upstream stays
// drained until Resume.
func (u *Upstream) Drain(ctx context.Context, grace time.Duration) (Emptied, error) {
	now := u.pool.now()
	before := u.closings()
	err := u.turn("be drained", func(a *admission) bool { a.empty(now); return true })
	if err != nil {
		return Emptied{}, err
	}
	var done Emptied
	over := func() bool { return u.mode() != ModeDraining }
	err = u.awaitFor(ctx, grace, over, func() { done.Cancelled = u.cutAll(CloseDrain, ReasonDraining) })
	done.Closed = u.closings() - before
	if err == nil && u.Mode() != ModeDrained {
		err = &ModeError{Upstream: u.name, Mode: u.Mode(), Wanted: "be drained: it was resumed or removed meanwhile"}
	}
	return done, err
}

// Replaced is what a reconnect did.
type Replaced struct {
	Closed    int // connections that were replaced
	Opened    int // connections established in their place
	Cancelled int // exchanges that were cut because the time was over
}

// Reconnect replaces all connections: for each one a new one is established
// first, as far as max allows, then the old one finishes and closes. What the old
// ones carry when grace is over is cancelled; a negative grace is no limit. It
// returns when the last old one is closed, or when ctx ends; old ones for which
// there is no replacement go on serving.
func (u *Upstream) Reconnect(ctx context.Context, grace time.Duration) (Replaced, error) {
	now := u.pool.now()
	var begun replacing
	err := u.turn("reconnect", func(a *admission) bool {
		if a.draining {
			return false
		}
		a.reconnect(now)
		begun = a.replacing
		return true
	})
	if err != nil {
		return Replaced{}, err
	}
	old := func(s *slot) bool { return s.generation < begun.generation }
	over := func() bool {
		for c := range u.mu.conns {
			if old(c.slot) {
				return false
			}
		}
		for s := range u.mu.dials {
			if old(s) {
				return false
			}
		}
		return true
	}
	done := Replaced{Closed: begun.old}
	cut := func() {
		for _, c := range u.open() {
			if n := u.carried(c); old(c.slot) && n > 0 {
				done.Cancelled += n
				c.shut(CloseReconnect)
			}
		}
	}
	if grace < 0 {
		err = u.await(ctx, over)
	} else {
		err = u.awaitFor(ctx, grace, over, cut)
	}
	u.mu.Lock()
	done.Opened = u.mu.admission.replaced - begun.replaced
	u.mu.Unlock()
	return done, err
}

// CloseConnection ends the connection of that id, at once when force is set, failing what
// it carries; else when it carries nothing any more. It returns the connection as
// it ended, when it is closed or ctx ends, and false where there is none of that
// id.
func (p *Pool) CloseConnection(ctx context.Context, id uint64, force bool) (ConnectionInfo, CloseReason, bool, error) {
	for _, u := range p.all() {
		if s := u.find(id); s != nil {
			info, why, err := u.discard(ctx, s, force)
			return info, why, true, err
		}
	}
	return ConnectionInfo{}, CloseNone, false, nil
}

// find is the record of a connection by its id in the pool; nil when it has none.
func (u *Upstream) find(id uint64) *slot {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.mu.conns {
		if c.id == id {
			return c.slot
		}
	}
	for s := range u.mu.dials {
		if s.number == id {
			return s
		}
	}
	return nil
}

func (u *Upstream) discard(ctx context.Context, s *slot, force bool) (ConnectionInfo, CloseReason, error) {
	now := u.pool.now()
	u.mu.Lock()
	u.mu.admission.discard(s, CloseByOperator, now)
	c := s.conn
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)
	if force && c != nil {
		c.shut(CloseByOperator)
	}
	err := u.await(ctx, func() bool {
		if _, dialing := u.mu.dials[s]; dialing {
			return false
		}
		_, stands := u.mu.conns[s.conn]
		return s.conn == nil || !stands
	})
	now = u.pool.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.conn == nil {
		return u.dialInfo(s, now), CloseByOperator, err
	}
	return u.info(s.conn, now), s.conn.reason(), err
}

// dialInfo describes, under the lock, a connection that is being dialed, or was.
func (u *Upstream) dialInfo(s *slot, now instant) ConnectionInfo {
	i := ConnectionInfo{Upstream: u.name, ID: s.number, Endpoint: s.endpoint.addr, State: s.state.String()}
	if begun, dialing := u.mu.dials[s]; dialing {
		i.Dialing = now - begun
	}
	return i
}

// Dials lists the connections that are being dialed, oldest first.
func (u *Upstream) Dials() []ConnectionInfo {
	now := u.pool.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	list := make([]ConnectionInfo, 0, len(u.mu.dials))
	for s := range u.mu.dials {
		list = append(list, u.dialInfo(s, now))
	}
	slices.SortFunc(list, func(a, b ConnectionInfo) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// public is what the Observer knows of an upstream.
type public struct {
	gate gate
	warm bool
}

// news adds to what is to be done, under the lock, telling the Observer of what
// has changed.
func (u *Upstream) news(todo []order) []order {
	a, o := &u.mu.admission, &u.pool.options.Observer
	if a.gate != u.mu.public.gate {
		u.mu.public.gate = a.gate
		if f := o.ModeChanged; f != nil && !u.mu.closed {
			mode := u.mode()
			todo = append(todo, order{kind: orderNews, news: func() { f(u.name, mode) }})
		}
	}
	ready, floor := a.idle+a.active, a.policy.Warm
	if warm := ready >= floor; warm != u.mu.public.warm && floor > 0 && !a.draining && !u.mu.closed {
		u.mu.public.warm = warm
		if f := o.WarmChanged; f != nil {
			todo = append(todo, order{kind: orderNews, news: func() { f(u.name, ready, floor) }})
		}
	}
	return todo
}

// turn lets the decisions change an upstream's mode; change reports whether it
// could. wanted is what an error says of it.
func (u *Upstream) turn(wanted string, change func(*admission) bool) error {
	u.mu.Lock()
	if u.mu.closed || !change(&u.mu.admission) {
		err := &ModeError{Upstream: u.name, Mode: u.mode(), Wanted: wanted}
		u.mu.Unlock()
		return err
	}
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)
	return nil
}

// waiter waits for the upstream to come to a state.
type waiter struct {
	over func() bool // called under the lock
	done chan struct{}
}

// await returns when over, which is called under the lock after every event,
// reports true, or with the cause when ctx ends.
func (u *Upstream) await(ctx context.Context, over func() bool) error {
	w := &waiter{over: over, done: make(chan struct{})}
	u.mu.Lock()
	u.mu.waiters = append(u.mu.waiters, w)
	u.wake()
	u.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.waiters = slices.DeleteFunc(u.mu.waiters, func(other *waiter) bool { return other == w })
	select {
	case <-w.done: // at the same moment
		return nil
	default:
		return context.Cause(ctx)
	}
}

// awaitFor is await that calls late when grace is over, and waits on.
func (u *Upstream) awaitFor(ctx context.Context, grace time.Duration, over func() bool, late func()) error {
	graced, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err := u.await(graced, over)
	if err == nil || ctx.Err() != nil {
		return err
	}
	late()
	return u.await(ctx, over)
}

// wake tells, under the lock, those whose wait is over.
func (u *Upstream) wake() {
	u.mu.waiters = slices.DeleteFunc(u.mu.waiters, func(w *waiter) bool {
		if !w.over() {
			return false
		}
		close(w.done)
		return true
	})
}

// cutAll ends everything that is under way or waits, and counts it.
func (u *Upstream) cutAll(why CloseReason, reason Reason) int {
	u.mu.Lock()
	n := u.mu.admission.waiting.len
	u.mu.admission.turnAway(reason)
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)
	for _, c := range u.open() {
		n += u.carried(c)
		c.shut(why)
	}
	return n
}

// carried is how many exchanges are on c.
func (u *Upstream) carried(c *conn) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c.slot.state != slotActive {
		return 0
	}
	return c.slot.inflight
}

// closings is how many connections have ended.
func (u *Upstream) closings() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, k := range u.mu.counters.Closed {
		n += int(k)
	}
	return n
}
