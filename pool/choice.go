package pool

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// The part of admission that chooses between idle connections, by what the
// kernel says of them.
//
// Small requests take what the policy selects; which window they find is of no
// matter, since they fit into any. A large one, whose body does not fit into the
// window that a new connection begins with (or is of unknown length), takes the
// largest effective window, because it needs a round trip for each doubling. In
// either case a connection that stands out badly is taken last.

// choose is which of e's idle connections t's request is to have.
func (a *admission) choose(e *endpoint, t *ticket, now instant) *slot {
	last := len(e.idle) - 1
	s := e.idle[last]
	warmest := a.policy.Selection == SelectWarmest
	switch {
	case last == 0:
		return s
	case warmest, s.large(t):
		return widest(e.idle, warmest, now)
	case a.policy.Selection == SelectRoundRobin:
		s = e.idle[0]
		for i := 0; s.outlier && i < last; {
			i++
			if !e.idle[i].outlier {
				return e.idle[i]
			}
		}
	case s.outlier:
		for i := last - 1; i >= 0; i-- {
			if !e.idle[i].outlier {
				return e.idle[i]
			}
		}
	}
	return s
}

// large reports whether t's request does not fit into the window that every
// connection begins with, s's being as good as another's.
func (s *slot) large(t *ticket) bool {
	return t.size != 0 && s.sampled != 0 && (t.size < 0 || t.size > s.flight())
}

// flight is how many bytes a new connection sends at once.
func (s *slot) flight() int64 { return int64(s.own.initial) * int64(s.tcp.mss) }

// compared is how many of the idle connections are compared, the most recently
// used ones: with the number that is kept idle the lock would be held for longer
// than the choice is worth.
const compared = 256

// widest is the one of idle, none of which stands out, that has the largest
// effective window; both counts the peer's too, which responses come through. Of
// equal ones it is the one used last.
func widest(idle []*slot, both bool, now instant) *slot {
	var best *slot
	most := 0
	for _, s := range slices.Backward(idle[max(0, len(idle)-compared):]) {
		w := s.own.at(now)
		if both {
			w += s.peer.at(now)
		}
		w *= s.tcp.mss
		if best == nil || best.outlier && !s.outlier || best.outlier == s.outlier && w > most {
			best, most = s, w
		}
	}
	return best
}

// sends: a request is about to be sent on s.
func (s *slot) sends(now instant) {
	if s.sampled == 0 {
		return
	}
	s.own.used(now)
	s.begun = s.own.segments
}

// measured takes what the kernel said at now of s's TCP. decays says that
// idleness lowers its window.
func (a *admission) measured(s *slot, sample tcpSample, decays bool, now instant) {
	if s.state == slotLost {
		return
	}
	if s.sampled == 0 { // nothing has been sent on it but its handshakes
		s.own.initial = sample.window
		s.peer = window{segments: initialWindow, initial: initialWindow, sent: now}
		s.endpoint.told.add(s)
	} else {
		s.losses.count(s.tcp, sample, now-s.sampled)
	}
	s.tcp, s.sampled = sample, now
	s.own.segments, s.own.sent, s.own.rto = sample.window, now-sample.lastSent, 0
	if decays {
		s.own.rto = sample.rto
	}
	s.peer.rto = sample.rto // that its system lowers windows is the default, and its timeout about the same
	s.outlier = s.endpoint.told.standsOut(s, now)
}

// told is what the kernel says of an endpoint's connections, taken together.
type told struct {
	slots    []*slot // of which it says anything, in no order
	judged   instant // when the rest was computed
	rtt      time.Duration
	lossRate float64
	troubled bool // most have something unanswered: it is the path that is in trouble, or the endpoint
}

func (e *told) add(s *slot) {
	s.place = len(e.slots)
	e.slots = append(e.slots, s)
}

func (e *told) forget(s *slot) {
	if s.sampled == 0 {
		return
	}
	last := len(e.slots) - 1
	e.slots[s.place] = e.slots[last]
	e.slots[s.place].place = s.place
	e.slots[last] = nil
	e.slots = e.slots[:last]
}

// What standing out is. A connection is compared with the median of its
// siblings, the connections to the same endpoint, for which the way is the same
// unless something is wrong with it; where all are bad none stands out.
const (
	outlierFactor = 2                    // times the siblings' median
	outlierRTT    = 5 * time.Millisecond // a round trip must be longer by this much at least: less is a machine that is busy
	outlierLosses = 0.02                 // and a share of segments sent again higher by this much
	judgedEvery   = time.Second
	judgedMost    = 65 // siblings of which the median is taken
)

// standsOut reports whether s stands out badly among its siblings: by its round
// trip, by what it had to send again, or by waiting for an answer that does not
// come.
func (e *told) standsOut(s *slot, now instant) bool {
	if e.judged == 0 || now-e.judged >= judgedEvery {
		e.judge(now)
	}
	rtt, lossRate := s.tcp.certainRTT(), s.losses.rate()
	return rtt > outlierFactor*e.rtt && rtt > e.rtt+outlierRTT ||
		lossRate > outlierFactor*e.lossRate+outlierLosses ||
		s.tcp.unanswered > 0 && !e.troubled
}

// judge computes the medians, of a bounded number of connections spread evenly.
func (e *told) judge(now instant) {
	e.judged = now
	var rtts [judgedMost]time.Duration
	var rates [judgedMost]float64
	n, unanswered := 0, 0
	stride := (len(e.slots) + judgedMost - 1) / judgedMost
	for i := 0; i < len(e.slots); i += stride {
		s := e.slots[i]
		rtts[n], rates[n] = s.tcp.certainRTT(), s.losses.rate()
		if s.tcp.unanswered > 0 {
			unanswered++
		}
		n++
	}
	e.rtt, e.lossRate = lowerMedian(rtts[:n]), lowerMedian(rates[:n])
	e.troubled = 2*unanswered > n
}

// lowerMedian is the middle of values, of two middles the smaller, so that one
// of two connections can stand out.
func lowerMedian[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	if len(values) == 0 {
		var none T
		return none
	}
	return values[(len(values)-1)/2]
}

// certainRTT is the part of the round trip that is the way's: the shortest one of
// the last minutes, or of the smoothed one what is longer than a peer may
// withhold an acknowledgement while its answer takes its time.
func (t *tcpSample) certainRTT() time.Duration {
	if t.leastRTT == 0 {
		return t.rtt
	}
	return max(t.leastRTT, t.rtt-mostDelayedAck)
}

// mostDelayedAck is for how long Linux withholds an acknowledgement (TCP_DELACK_MAX).
const mostDelayedAck = 200 * time.Millisecond

// losses counts what had to be sent again, and forgets half of it every
// lossMemory.
type losses struct{ segments, again float64 }

const (
	lossMemory   = 10 * time.Second
	lossEvidence = 3 // segments sent again before anything is concluded
)

// count takes what happened in the time since the sample before.
func (l *losses) count(before, now tcpSample, passed time.Duration) {
	kept := math.Exp2(-float64(passed) / float64(lossMemory))
	l.segments = l.segments*kept + float64(max(0, int64(now.segments-before.segments))) // the kernel's counters are short: they begin anew
	l.again = l.again*kept + float64(max(0, int64(now.retransmits-before.retransmits)))
}

// rate is the share of segments that had to be sent again.
func (l *losses) rate() float64 {
	if l.again < lossEvidence {
		return 0
	}
	return l.again / max(l.segments, 1)
}

// figures are what is known of s's TCP, for people.
func (s *slot) figures(now instant) TCPFigures {
	if s.sampled == 0 {
		return TCPFigures{}
	}
	mss := int64(s.tcp.mss)
	return TCPFigures{
		Age: now - s.sampled,
		RTT: s.tcp.rtt, RTTDeviation: s.tcp.deviation, RTO: s.tcp.rto,
		MSS: s.tcp.mss, Window: int64(s.tcp.window) * mss, EffectiveWindow: int64(s.own.at(now)) * mss,
		LastSent: now - s.own.sent, Unacked: int64(s.tcp.unacked) * mss,
		Retransmits: s.tcp.retransmits, DeliveryRate: s.tcp.deliveryRate,
	}
}

// keepsWindow reports whether a congestion control, by the kernel's name, has a
// model of its own that idleness does not touch (cong_control in the kernel's
// table): bbr and its later versions.
func keepsWindow(congestion string) bool { return strings.HasPrefix(congestion, "bbr") }
