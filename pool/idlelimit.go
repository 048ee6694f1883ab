package pool

import (
	"slices"
	"time"
)

// idleLimit learns how long an endpoint lets a connection idle before it closes
// it, from the ages at which it did. A plain value, fed with events and the
// time.
//
// A request that crosses the endpoint's close on the way is lost, and if it is
// not idempotent it stays lost, so the pool does not use a connection that is
// about to be closed. Servers rarely say when that is. What they do shows it: a
// timer closes connections at nearly one age; a server under pressure, or a
// balancer with several servers behind it, at many.
//
// Three habits of servers would teach the wrong thing. One that restarts closes
// all its idle connections at one moment and at every age: closes that come
// together with differing ages are dropped, those of connections that were used
// and of such that were not, for which there are two timers, taken together; and
// closes of any age whose address then refuses to be dialed (restarted). One that closes a single connection
// for a reason of its own leaves a value far from the others: where most values
// agree, the others do not count. One whose setting was raised would never show
// it, because connections are now retired earlier: values are forgotten after a
// while, and admission lets a connection overstay now and then (watch.go).
type idleLimit struct {
	seen   []idleClose // the newest last
	burst  []idleClose // closes that came together, not judged yet
	mixed  bool        // they came together with such of the other kind, of another age
	limit  time.Duration
	spread bool // the ages are not those of one timer
}

// idleClose is one idle connection that the endpoint closed.
type idleClose struct {
	at  instant
	age time.Duration // for how long it had been idle
}

const (
	idleSamples   = 64                    // closes that are remembered
	idleEvidence  = 3                     // closes before anything is concluded
	idleMemory    = 10 * time.Minute      // for which a close is remembered
	idleTogether  = 50 * time.Millisecond // between closes that have one cause
	idleRestart   = time.Second           // between the last closes of a server and the refusal of a dial
	idleAgreement = 0.05                  // by how much the ages of one timer differ
)

// closed: the endpoint closed a connection that had been idle for age, or a
// request met the close of one.
func (l *idleLimit) closed(age time.Duration, now instant) {
	if n := len(l.burst); n > 0 && now-l.burst[n-1].at > idleTogether {
		l.judge()
	}
	if len(l.burst) < idleSamples {
		l.burst = append(l.burst, idleClose{now, age})
	}
	l.learn(now)
}

// learned is the age at which connections are closed, as far as known; 0 when
// nothing is.
func (l *idleLimit) learned(now instant) time.Duration {
	switch {
	case len(l.burst) > 0 && now-l.burst[len(l.burst)-1].at > idleTogether:
		l.judge()
		l.learn(now)
	case len(l.seen) > 0 && now-l.seen[0].at > idleMemory:
		l.learn(now)
	}
	return l.limit
}

// judgedAt is when the closes that came together will be judged; 0: there are none.
func (l *idleLimit) judgedAt() instant {
	if len(l.burst) == 0 {
		return 0
	}
	return l.burst[len(l.burst)-1].at + idleTogether + 1
}

// judge takes the closes that came together for values, unless they tell of a
// restart.
func (l *idleLimit) judge() {
	mixed := l.mixed
	l.mixed = false
	youngest, oldest := l.burst[0].age, l.burst[0].age
	for _, c := range l.burst {
		youngest, oldest = min(youngest, c.age), max(oldest, c.age)
	}
	if mixed || !agree(youngest, oldest) {
		l.burst = l.burst[:0]
		return
	}
	l.seen = append(l.seen, l.burst[0]) // one cause, one value
	l.burst = l.burst[:0]
	if surplus := len(l.seen) - idleSamples; surplus > 0 {
		l.seen = slices.Delete(l.seen, 0, surplus)
	}
}

// meets compares the newest closes with those of the other kind of connections to the
// same endpoint: what comes at one moment for both has one cause, which is no timer.
func (l *idleLimit) meets(other *idleLimit) {
	if len(l.burst) == 0 || len(other.burst) == 0 {
		return
	}
	one, two := l.burst[len(l.burst)-1], other.burst[len(other.burst)-1]
	if (one.at-two.at).Abs() <= idleTogether && !agree(min(one.age, two.age), max(one.age, two.age)) {
		l.mixed, other.mixed = true, true
	}
}

// restarted: the endpoint refuses to be dialed. What it closed just before, it closed
// because it ended.
func (l *idleLimit) restarted(now instant) {
	ended := func(c idleClose) bool { return now-c.at <= idleRestart }
	l.burst = slices.DeleteFunc(l.burst, ended)
	l.seen = slices.DeleteFunc(l.seen, ended)
	l.mixed = l.mixed && len(l.burst) > 0
	l.learn(now)
}

func (l *idleLimit) learn(now instant) {
	l.seen = slices.DeleteFunc(l.seen, func(c idleClose) bool { return now-c.at > idleMemory })
	l.limit, l.spread = 0, false
	if len(l.seen) < idleEvidence {
		return
	}
	ages := make([]time.Duration, len(l.seen))
	for i, c := range l.seen {
		ages[i] = c.age
	}
	slices.Sort(ages)
	median := ages[len(ages)/2]
	first := slices.IndexFunc(ages, func(a time.Duration) bool { return agree(a, median) })
	last := first
	for last < len(ages) && agree(median, ages[last]) || last < len(ages) && ages[last] <= median {
		last++
	}
	if 5*(last-first) >= 3*len(ages) { // most of them: a timer
		l.limit = ages[first]
		return
	}
	// The least age that is possible, estimated: below the least of n ages drawn
	// evenly there is on average an (n-1)th of their range. A server that closes at
	// any age whatever has no such least; what nine in ten reach tells it from one
	// that does.
	l.spread = true
	least := ages[0] - (ages[len(ages)-1]-ages[0])/time.Duration(len(ages)-1)
	l.limit = max(least, ages[len(ages)/10]/2)
}

// erratic reports that the ages at which connections are closed cannot be told
// beforehand.
func (l *idleLimit) erratic(now instant) bool { return l.learned(now) > 0 && l.spread }

// agree reports that two ages, the smaller first, may be of one timer.
func agree(small, large time.Duration) bool {
	return float64(large-small) <= idleAgreement*float64(large)+float64(20*time.Millisecond)
}
