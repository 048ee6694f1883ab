package pool

import (
	"slices"
	"time"
)

// The part of admission that keeps what it has learned of idle limits fresh.
//
// A connection that is retired before its server closes it teaches nothing, so
// what was learned would be forgotten, and the next closes met unprepared. Hence
// now and then one connection whose learned limit has come is not closed: it is
// watched. It carries no request any more and counts as going; its end, by the
// server, confirms the limit and leaves the TIME_WAIT there. If it lasts much
// longer than any before, the server's timer is no longer what it was.

const watchPace = idleMemory / idleSamples // between two closes of an endpoint that are waited for

// watches reports whether s, which may idle no longer, is of use for that.
func (a *admission) watches(s *slot, now instant) bool {
	limit := a.limited(s, now)
	return limit > 0 && now-s.idleSince >= limit && a.total < a.policy.Max && !a.draining &&
		now-s.lets().newest() >= watchPace &&
		!slices.ContainsFunc(a.watched, func(w *slot) bool { return w.lets() == s.lets() })
}

// watch leaves an idle connection to its server.
func (a *admission) watch(s *slot) {
	a.dropIdle(s)
	a.left(s, CloseIdleLimit)
	s.state = slotWatched
	s.until = s.idleSince + s.lets().patience()
	a.watched = append(a.watched, s)
	a.remind(s.until)
}

// unwatch gives up on it.
func (a *admission) unwatch(s *slot) {
	a.forgetWatched(s)
	s.state = slotRetiring
	a.orders = append(a.orders, order{kind: orderRetire, slot: s, close: CloseIdleLimit})
}

func (a *admission) forgetWatched(s *slot) {
	a.watched = slices.DeleteFunc(a.watched, func(w *slot) bool { return w == s })
}

// watchOver lets time pass for the watched connections.
func (a *admission) watchOver(now instant) {
	for _, s := range slices.Clone(a.watched) {
		if now >= s.until {
			s.lets().outlived(now-s.idleSince, now)
			a.unwatch(s)
		} else {
			a.remind(s.until)
		}
	}
}

// lets is what is known of how long the endpoint lets a connection like s idle:
// servers have one time for the first request and another for the next.
func (s *slot) lets() *idleLimit {
	if s.exchanges == 0 {
		return &s.endpoint.letsUnused
	}
	return &s.endpoint.lets
}

// patience is for how long a watched connection may idle: well beyond any that
// was seen.
func (l *idleLimit) patience() time.Duration {
	longest := time.Duration(0)
	for _, c := range l.seen {
		longest = max(longest, c.age)
	}
	return longest + longest/4 + time.Second
}

// newest is when the last close was seen.
func (l *idleLimit) newest() instant {
	switch {
	case len(l.burst) > 0:
		return l.burst[len(l.burst)-1].at
	case len(l.seen) > 0:
		return l.seen[len(l.seen)-1].at
	}
	return 0
}

// outlived: a connection idled for longer than any before, and was not closed.
// Where a timer closed those, it was set to more, and what was seen says nothing
// any more.
func (l *idleLimit) outlived(age time.Duration, now instant) {
	if l.spread {
		return
	}
	l.seen = slices.DeleteFunc(l.seen, func(c idleClose) bool { return c.age < age })
	l.learn(now)
}
