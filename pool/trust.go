package pool

import "time"

// The part of admission that decides which idle connections may carry a request
// that must not be lost.
//
// A request that crosses the server's close on its way meets a closed connection.
// What is idempotent is sent again. What is not is lost, unless the kernel proves
// that it was not read (proof.go), and where the reset comes in the very instant of
// the close it proves nothing. So such a request, a wary one, is given a connection
// only for as long as the server is known to let it idle:
//
//   - Where the server says how long that is, or was seen to close connections often
//     enough (idlelimit.go), the general limits hold, which leave a margin for the way.
//   - Else as long as connections have idled there and were still open, of late or
//     now: one that lies idle for longer than another, by more than the way takes,
//     vouches for it for as long as it is not closed itself. A close takes that back
//     down to the age at which it came, and the next that lasts longer raises it again,
//     so that neither a restart nor a raised setting teaches anything for good.
//   - Else for the shortest time that servers have by default.
//
// Where no idle connection is trusted, one is dialed for the request if that can be
// done at once; if not, or if the dial fails or takes much longer than dials took,
// any idle one must do: to refuse the request would be no better than to lose it.
//
// For an upstream with a warm floor that would be a handshake at the moment which the
// floor is there for. So an idle connection that is no longer trusted is doubted: it
// stays in use for what may be sent again, and vouches for younger ones, but others
// are established beside it, up to the floor, before its time comes. It costs as many
// handshakes as the floor has connections, first when these have idled for the
// shortest default, then once more for the ones that were used, and from then on the
// older ones vouch for the younger ones. In an hour without traffic it is one round
// of replacements more than without. An upstream on which nothing but idempotent
// requests is sent is spared even that.
//
// Rejected: to leave floors out, which would leave the first POST after a
// server's timeout to luck until three closes are known; to dial for each wary request
// that finds nothing but a long idle connection, which makes each two or three
// round trips long where the server never closes anything; to replace a floor whenever
// the shortest default is over, for as long as nothing is known: a handshake every
// two seconds for each connection of each idle floor.

// The shortest defaults of servers in common use.
const (
	trustUsed   = 2 * time.Second // between two requests: gunicorn; Node, Apache and uvicorn have 5 s, nginx 75 s
	trustUnused = 5 * time.Second // before the first one: Cowboy; HAProxy as packaged has 10 s, Apache and Tomcat 20 s, nginx 60 s
)

// doubtsAfter is for how long a connection counts for the floor in any case: after
// less time a younger one would not be more to be trusted by much.
const doubtsAfter = time.Second

// trusted is for how long connections to an endpoint have idled and were open. A
// plain value, fed with events and the time; what was seen is forgotten after
// idleMemory, or twice that.
type trusted struct {
	seen   time.Duration // the longest of late, at least the default
	before time.Duration // in the time before
	since  instant       // when that ended; 0: nothing was seen yet
}

// lasts is for how long connections may be taken to idle, at least by default.
func (l *trusted) lasts(least time.Duration, now instant) time.Duration {
	switch passed := now - l.since; {
	case l.since == 0, passed >= 2*idleMemory:
		*l = trusted{seen: least, before: least, since: now}
	case passed >= idleMemory:
		*l = trusted{seen: least, before: l.seen, since: l.since + idleMemory}
	}
	return max(l.seen, l.before)
}

// idled: a connection is open that has been idle for age.
func (l *trusted) idled(age, least time.Duration, now instant) {
	l.lasts(least, now)
	l.seen = max(l.seen, age)
}

// closed: the endpoint closed one at that age.
func (l *trusted) closed(age, least time.Duration, now instant) {
	age = min(age, l.lasts(least, now))
	l.seen, l.before = age, age
}

// trustOf is what is known of connections like s, and the least by default.
func (s *slot) trustOf() (l *trusted, least time.Duration) {
	if s.exchanges == 0 {
		return &s.endpoint.lastsUnused, trustUnused
	}
	return &s.endpoint.lastsUsed, trustUsed
}

// trustedUntil is when s, an idle connection, will have to be doubted; 0: never,
// since the limits that are known hold. It is later when others prove to last longer.
func (a *admission) trustedUntil(s *slot, now instant) instant {
	if s.idleLimit > 0 || a.limited(s, now) > 0 {
		return 0
	}
	l, least := s.trustOf()
	until := s.idleSince + max(0, s.early(l.lasts(least, now)))
	for _, other := range s.endpoint.idle { // that which has idled for longest first
		if gap := s.idleSince - other.idleSince - s.rtt; gap < idleMargin {
			break
		} else if (other.exchanges == 0) == (s.exchanges == 0) && other.idleLimit == 0 {
			return max(until, other.idleSince+20*gap) // until a twentieth of its age is more than what is between them
		}
	}
	return until
}

// early is the time after which a request may be sent on s at the latest, that it
// arrives before connections have idled for so long.
func (s *slot) early(seen time.Duration) time.Duration {
	return seen - s.rtt - max(idleMargin, seen/20)
}

// trusts reports whether s, which is idle, may carry a wary request.
func (a *admission) trusts(s *slot, now instant) bool {
	until := a.trustedUntil(s, now)
	return until == 0 || now < until
}

// takeTrusted is takeIdle for a wary request: s, if it is trusted, or else another that is. Where
// there is none it is nil, if one can be dialed, or else s.
func (a *admission) takeTrusted(s *slot, t *ticket, now instant) *slot {
	if a.trusts(s, now) {
		return s
	}
	for _, e := range a.endpoints {
		if n := len(e.idle); n > 0 && !e.gone {
			if other := e.idle[n-1]; other != s && a.stale(other, now) == CloseNone && a.trusts(other, now) {
				return other
			}
		}
	}
	if !a.mayDial(now) {
		return s
	}
	t.relents = now + 2*s.endpoint.took + replaceMargin
	a.remind(t.relents)
	return nil
}

// mayDial reports whether a connection for one more request is being dialed, or can
// be at once, with nothing that speaks against its success.
func (a *admission) mayDial(now instant) bool {
	if a.relied() > a.wanting() {
		return true
	}
	if a.dialing >= a.policy.MaxDialing || a.total >= a.policy.Max {
		return false
	}
	e := a.dialTarget(now)
	return e != nil && !a.doubtful(e) && e.late == 0
}

// relent gives any idle connection to wary requests that wait for a new one: to all,
// because a dial has failed, or to those who have waited for long enough.
func (a *admission) relent(all bool, now instant) {
	if a.idle == 0 || a.gate == gatePaused {
		return
	}
	for t := a.waiting.first; t != nil; {
		next := t.next
		switch {
		case !t.wary || t.fresh:
		case all || t.relents <= now:
			t.wary = false
			if s := a.takeIdle(t, now); s != nil {
				a.waiting.remove(t)
				a.orders = append(a.orders, order{kind: orderBegin, slot: s, ticket: t, at: now})
			}
		default:
			a.remind(t.relents)
		}
		t = next
	}
}

// The part of it that keeps a floor of trusted connections.

// weigh doubts s, an idle connection, or does so no longer.
func (a *admission) weigh(s *slot, now instant) {
	if s.leaving {
		return
	}
	until := instant(0)
	if now-a.waryAt < idleMemory && a.floor(now) > 0 {
		until = a.trustedUntil(s, now)
	}
	doubted := false
	if until > 0 {
		at := max(s.replacedBefore(until), s.idleSince+doubtsAfter)
		if at > now {
			a.remind(at)
		}
		doubted = at <= now && (s.doubted || a.paced(s, until, now))
	}
	if doubted != s.doubted {
		a.doubt(s, doubted)
	}
}

func (a *admission) doubt(s *slot, doubted bool) {
	s.doubted = doubted
	if doubted {
		a.doubted++
	} else {
		a.doubted--
	}
}

// unsure is how many connections the floor lacks because those that are there may
// not carry every request. No place is made for them where there is none.
func (a *admission) unsure(now instant) int {
	if a.doubted == 0 || a.draining {
		return 0
	}
	return a.stock(now) - (a.kept() - a.doubted + a.dialing)
}

// proves notes what the age of s proves, which is idle and about to be used. Where it vouched for
// others, these are weighed anew.
func (a *admission) proves(s *slot, now instant) {
	l, least := s.trustOf()
	if s.idled <= least {
		return
	}
	l.idled(s.idled, least, now)
	if e := s.endpoint; len(e.idle) > 0 && e.idle[0].idleSince >= s.idleSince && a.policy.Warm > 0 {
		a.remind(now)
	}
}
