package pool

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// UpkeepPolicy is how windows are kept open by tiny requests. A sender lowers its
// window when it has sent nothing for its retransmission timeout, so that a large
// response that comes a second later begins in slow start again. One that sends a
// little in between does not, and an HTTP server sends when it is asked.
//
// It costs the upstream a request each Interval for each connection, and is worth
// that for seconds only, where somebody is about to ask for something large again:
// after a caller's exchange, by the policy, or for a time that is asked for (Warm).
type UpkeepPolicy struct {
	Connections int           // kept at most after use; 0: none
	Method      string        // a safe one: GET, HEAD or OPTIONS
	Path        string        // of a short answer
	Interval    time.Duration // between the beginnings of two requests on a connection, whoever's
	AfterUse    time.Duration // how long a connection is kept after a caller's exchange on it
}

const (
	upkeepMost     = 16 << 10        // bytes of an answer's body: what is longer is no tiny request
	upkeepPatience = 5 * time.Second // for an answer
	upkeepPenalty  = time.Minute     // without upkeep at an endpoint that does not take it well
)

// validateUpkeep holds the part of the policy to what must be so, each with the
// words for when it is not.
func (p *Policy) validateUpkeep(must func(ok bool, format string, args ...any)) {
	k := &p.Upkeep
	must(k.Connections >= 0, "upkeep connections is %d, must not be negative", k.Connections)
	if *k != (UpkeepPolicy{}) { // upkeep may be asked for, whatever Connections is
		k.validateRequest(must)
	}
	if k.Connections <= 0 {
		return
	}
	p.validateKeeping(must)
	must(k.Connections < p.Max, "upkeep connections is %d, must be below max (%d): the last idle connection is the callers'", k.Connections, p.Max)
	must(k.AfterUse > k.Interval, "upkeep after_use is %s, must be above interval (%s): no request would be sent", k.AfterUse, k.Interval)
}

// validateRequest is of validateUpkeep what is about the request.
func (k *UpkeepPolicy) validateRequest(must func(ok bool, format string, args ...any)) {
	must(k.Method == "GET" || k.Method == "HEAD" || k.Method == "OPTIONS", "upkeep method is %q, must be GET, HEAD or OPTIONS", k.Method)
	head := h1.Request{Method: k.Method, Target: k.Path, Host: "u"}
	if err := head.Prepare(); err != nil {
		must(false, "upkeep path %q: %v", k.Path, err)
	}
	must(k.Interval > 0, "upkeep interval is %s, must be above 0", k.Interval)
}

// validateKeeping is of validateUpkeep what must be so whoever wants it.
func (p *Policy) validateKeeping(must func(ok bool, format string, args ...any)) {
	k := &p.Upkeep
	must(p.MaxIdleTime == 0 || p.MaxIdleTime > k.Interval, "upkeep interval is %s, must be below max_idle_time (%s): no request would be sent", k.Interval, p.MaxIdleTime)
}

// The part of admission that decides when windows are kept open.

// upkeep is the decisions' record of it, for one endpoint.
type upkeep struct {
	after   instant // none before
	refused bool    // because nothing would be bought, and that was told
}

// upkeepAsked bounds the connections whose windows are kept open on request.
const upkeepAsked = 16

// askedUpkeep is how many connections' windows are to be kept open because that was
// asked for. One is left to the callers.
func (a *admission) askedUpkeep(now instant) (n int) {
	if a.policy.Upkeep.Method == "" { // the policy has been changed to one without
		return 0
	}
	for _, r := range a.raised {
		if r.upkeep && now < r.until {
			n = max(n, r.n)
		}
	}
	return min(n, a.policy.Max-1, upkeepAsked)
}

// tends is how many connections' windows are to be kept open at most.
func (a *admission) tends(now instant) int {
	return max(a.policy.Upkeep.Connections, a.askedUpkeep(now))
}

// tend begins requests that keep windows open on the connections with the largest
// ones, where they are due. Callers come first: none is begun while one waits, and
// as many connections must be left as they needed at once of late, one of them
// idle.
func (a *admission) tend(now instant) {
	most := a.tends(now)
	if most == 0 || a.waiting.len > 0 || a.draining || a.refusal != ReasonNone || a.gate != gateOpen {
		return
	}
	var kept []*slot
	for _, e := range a.endpoints {
		for _, s := range e.idle {
			if a.worthKeeping(s, now) {
				kept = append(kept, s)
			}
		}
	}
	slices.SortFunc(kept, func(x, y *slot) int {
		return cmp.Or(y.warmth(now)-x.warmth(now), cmp.Compare(x.id, y.id))
	})
	for i, s := range kept {
		due := a.tendAt(s)
		switch {
		case i+a.tending >= most:
			return
		case due > now:
			a.remind(due)
		case !a.spares(now):
			a.remind(now + a.policy.Upkeep.Interval/4)
		case a.buys(s, now):
			a.dropIdle(s)
			s.tending = true
			a.tending++
			a.begin(s, &ticket{upkeep: true, pipelinable: true}, now)
			a.orders = append(a.orders, order{kind: orderTend, slot: s, at: now, keep: &a.policy.Upkeep})
		}
	}
}

// spares reports whether callers will not miss one of the idle connections for
// the time of a request.
func (a *admission) spares(now instant) bool {
	left := a.idle - 1
	if left < 1 {
		return false
	}
	w := a.policy.PeakMemory
	return w == 0 || a.active-a.tending+left >= a.demand.peak(w, now)
}

// worthKeeping reports whether s is idle, has a window that idleness would lower,
// and was of use to a caller not long ago, unless upkeep was asked for.
func (a *admission) worthKeeping(s *slot, now instant) bool {
	return s.sampled != 0 && !s.outlier && !s.leaving && s.condemned == CloseNone && !a.outdated(s) &&
		(now-s.usedAt < a.policy.Upkeep.AfterUse && a.policy.Upkeep.Connections > 0 || a.askedUpkeep(now) > 0) &&
		(s.own.at(now) > s.own.initial || s.peer.at(now) > s.peer.initial) &&
		now >= s.endpoint.upkeep.after && !s.endpoint.gone && s.endpoint.reuse.allowed(now) &&
		a.stale(s, now) == CloseNone && !a.lastExchange(s, 1)
}

// warmth is how large the windows of both sides are, bytes.
func (s *slot) warmth(now instant) int { return (s.own.at(now) + s.peer.at(now)) * s.tcp.mss }

// tendAt is when s is due. The interval counts from the beginning of the request
// before; where the way is so long that its answer took most of that, half the
// interval is left free for callers.
func (a *admission) tendAt(s *slot) instant {
	interval := a.policy.Upkeep.Interval
	return max(s.own.sent+interval, s.idleSince+interval/2)
}

// buys reports whether a request on s each interval keeps its windows: only if
// the interval is below the retransmission timeout. The peer's is taken to be
// about what this side's is: both have the same way and, on Linux, the same rule.
func (a *admission) buys(s *slot, now instant) bool {
	interval := a.policy.Upkeep.Interval
	u := &s.endpoint.upkeep
	if interval < s.tcp.rto {
		if u.refused {
			u.refused = false
			a.tell(s, false, fmt.Sprintf("the interval %s is below the retransmission timeout %s again", interval, s.tcp.rto))
		}
		return true
	}
	if !u.refused {
		u.refused = true
		a.tell(s, true, fmt.Sprintf("the interval %s is not below the retransmission timeout %s (round trip %s), so the windows would be lowered all the same",
			interval, s.tcp.rto, s.tcp.rtt))
	}
	a.leaveAlone(s.endpoint, now+sampleEvery) // the next figures may say something else
	return false
}

// leaveAlone ends upkeep at e until then.
func (a *admission) leaveAlone(e *endpoint, until instant) {
	e.upkeep.after = until
	a.remind(until)
}

func (a *admission) tell(s *slot, refused bool, because string) {
	a.orders = append(a.orders, order{kind: orderTell, slot: s, upkeep: UpkeepChange{
		Endpoint: s.endpoint.addr, Refused: refused, Because: because,
	}})
}

// tendedBadly: a connection was lost while a request of upkeep was on it. So as not to
// lose the warm ones in turn, the endpoint gets none for a while.
func (a *admission) tendedBadly(s *slot, why CloseReason, now instant) {
	switch why {
	case CloseByPeer, CloseOldVersion, CloseDelimited, CloseResponseTimeout, CloseDeadlineExceeded, CloseTooLarge,
		CloseConnectionClosed, CloseConnectionReset, CloseTruncated, CloseMalformedResponse, CloseAmbiguousFraming, CloseExtraBytes:
	default:
		return
	}
	a.leaveAlone(s.endpoint, now+upkeepPenalty)
	a.tell(s, true, fmt.Sprintf("the last such request ended its connection (%s); none for %s", why, upkeepPenalty))
}

// UpkeepChange says that keeping windows open has become impossible or possible.
type UpkeepChange struct {
	Upstream string
	Endpoint netip.AddrPort
	Refused  bool   // no requests are sent for it; false: again some are
	Because  string // in words
}

// tendTo sends a request that keeps windows open on s, which was made active for
// it.
func (u *Upstream) tendTo(s *slot, keep *UpkeepPolicy, now instant) {
	x := &Exchange{}
	req := &Request{Method: keep.Method, Path: keep.Path, Timeout: upkeepPatience}
	if failure := x.prepare(u, req, discard{}); failure != nil {
		panic("pool: a request of upkeep cannot be sent, though its policy was found valid: " + failure.Error())
	}
	x.upkeep, x.bodyLimit = true, upkeepMost
	x.counted = true // among its own kind
	u.mu.Lock()
	u.give(x, s, now)
	u.mu.Unlock()
	s.conn.start(x, now, false, nil) // a connection that is over meanwhile needs no upkeep
}

// discard is the sink of what nobody waits for.
type discard struct{}

func (discard) Head(*h1.Head, int64) error { return nil }
func (discard) Body([]byte) error          { return nil }
func (discard) End([]h1.Field, *Error)     {}
