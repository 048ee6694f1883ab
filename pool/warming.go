package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// WarmResult is what became of a call of Warm.
type WarmResult struct {
	Ready     int           // connections established now, active ones included
	Dialed    int           // of these, established since the call
	Failed    int           // dials that failed since the call
	Took      time.Duration // the call
	HoldUntil time.Time     // until then they are kept like a warm floor
}

// defaultHold is how long Warm holds where neither it nor max_idle_time says.
const defaultHold = time.Minute

// WarmRequest is what Warm is asked for.
type WarmRequest struct {
	Connections int           // established ones wanted, active ones included: 1 to the policy's Max
	Hold        time.Duration // how long they are kept, counted from the call; 0: the policy's MaxIdleTime
	// Upkeep also keeps the windows open that their exchanges have opened, or open
	// meanwhile, for as long: by the requests of the policy's Upkeep, whose Connections
	// and AfterUse do not matter. It does so on the connections with the largest windows,
	// as many as are asked for, at most 16 and one less than Max.
	Upkeep bool
}

// Warm raises the upstream to so many established connections now, keeps them like a
// warm floor for a while, and
// then lets the surplus decay as idle connections do. It returns when they are
// established; the wait ends with ctx, and with hold. Nothing is lowered: of several
// floors the highest holds.
//
// The result is filled in whether the call failed or not. The error is an *Error:
// ReasonInvalidRequest when there are not 1 to Max, or upkeep cannot be as the policy has it, ReasonDeadlineExceeded or
// ReasonCancelled when fewer were ready in time (those that are, and the dials
// under way, stay, and the floor stays raised until hold is over), and
// ReasonUpstreamDeleted or ReasonDraining when the upstream is closed.
func (u *Upstream) Warm(ctx context.Context, w WarmRequest) (WarmResult, error) {
	n, hold := w.Connections, w.Hold
	begun := u.pool.now()
	u.mu.Lock()
	a := &u.mu.admission
	if n < 1 || n > a.policy.Max {
		most := a.policy.Max
		u.mu.Unlock()
		return WarmResult{}, u.notWarm(ReasonInvalidRequest, "%d connections were asked for, must be 1 to max (%d)", n, most)
	}
	if err := a.policy.keeps(w); err != nil {
		u.mu.Unlock()
		return WarmResult{}, u.notWarm(ReasonInvalidRequest, "no windows can be kept open: %v", err)
	}
	if hold <= 0 {
		hold = cmp.Or(a.policy.MaxIdleTime, defaultHold)
	}
	before := u.mu.counters
	a.raise(raise{n, begun + hold, w.Upkeep}, begun)
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)

	limited, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	why := u.await(limited, func() bool { return u.mu.closed || a.idle+a.active >= min(n, a.policy.Max) })

	now := u.pool.now()
	u.mu.Lock()
	r := WarmResult{
		Ready:     a.idle + a.active,
		Dialed:    int(u.mu.counters.Opened - before.Opened),
		Failed:    int(u.mu.counters.DialsFailed - before.DialsFailed),
		Took:      now - begun,
		HoldUntil: time.Now().Add(begun + hold - now),
	}
	state := a.state(r.Took)
	refusal := a.refusal
	u.mu.Unlock()
	switch {
	case refusal != ReasonNone:
		return r, u.notWarm(refusal, "the upstream was closed with %d of %d connections ready", r.Ready, n)
	case why == nil:
		return r, nil
	}
	reason := ReasonDeadlineExceeded
	if errors.Is(why, context.Canceled) {
		reason = ReasonCancelled
	}
	e := u.notWarm(reason, "%d of %d connections are ready", r.Ready, n)
	e.State = state
	return r, e
}

// keeps reports what speaks against upkeep, if w asks for it.
func (p *Policy) keeps(w WarmRequest) error {
	if !w.Upkeep {
		return nil
	}
	var errs []error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	must(p.Max > 1, "max is %d: the last idle connection is the callers'", p.Max)
	must(p.Upkeep.Method != "", "upkeep method is empty")
	p.validateKeeping(must)
	return errors.Join(errs...)
}

// notWarm words why Warm failed.
func (u *Upstream) notWarm(why Reason, format string, args ...any) *Error {
	return &Error{Reason: why, Delivery: DeliveryNotSent, Upstream: u.Name(), Detail: fmt.Sprintf(format, args...)}
}

// AwaitWarm waits until the upstream's warm floor is established, all handshakes
// done. The error is that of ctx, or says that the upstream was closed.
func (u *Upstream) AwaitWarm(ctx context.Context) error {
	now := u.pool.now()
	u.mu.Lock()
	a := &u.mu.admission
	n := a.floor(now)
	u.mu.Unlock()
	err := u.await(ctx, func() bool { return u.mu.closed || a.idle+a.active >= min(n, a.policy.Max) })
	if err == nil && u.ctx.Err() != nil {
		err = fmt.Errorf("upstream %q is closed", u.name)
	}
	return err
}

// Shortfall is an upstream that has fewer connections than its warm floor.
type Shortfall struct {
	Upstream      string
	Floor         int    // connections that are to be established: the policy's or, while one is held, that of Warm
	Ready         int    // connections that are
	LastDialError string // empty: the last dial did not fail
}

// String says so in one line: payments 1 of 4 (connecting to … failed: …).
func (s Shortfall) String() string {
	text := fmt.Sprintf("%s %d of %d", s.Upstream, s.Ready, s.Floor)
	if s.LastDialError != "" {
		text += " (" + s.LastDialError + ")"
	}
	return text
}

// Shortfalls lists the upstreams that are below their warm floor now, by name.
func (p *Pool) Shortfalls() []Shortfall {
	var all []Shortfall
	for _, name := range p.Names() {
		u, err := p.Upstream(name)
		if err != nil {
			continue // removed meanwhile
		}
		if s, short := u.shortfall(); short {
			all = append(all, s)
		}
	}
	return all
}

func (u *Upstream) shortfall() (Shortfall, bool) {
	now := u.pool.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	a := &u.mu.admission
	s := Shortfall{Upstream: u.Name(), Floor: a.floor(now), Ready: a.idle + a.active}
	if a.failure != nil {
		s.LastDialError = a.failure.text()
	}
	return s, s.Ready < s.Floor
}
