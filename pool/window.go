package pool

import "time"

// window follows one side's congestion window: what it was when that side last
// sent, and what idleness has made of it since.
//
// Linux lowers the window of a connection that lay idle when something is sent
// on it again, not before, so that TCP_INFO goes on showing the old one
// (tcp_slow_start_after_idle_check, tcp_cwnd_restart; RFC 2861): halved once for
// each full retransmission timeout since data was last sent, never below what a
// new connection begins with. It does not where net.ipv4.tcp_slow_start_after_idle
// is 0, and not under a congestion control with a model of its own, which bbr is.
type window struct {
	segments int           // when something was last sent
	initial  int           // of a new connection, segments
	sent     instant       // when something was last sent
	rto      time.Duration // retransmission timeout; 0: idleness does not lower this window
}

// initialWindow is what a connection begins with unless its route says otherwise
// (RFC 6928), in segments.
const initialWindow = 10

// at is what the window is for something that is sent now.
func (w *window) at(now instant) int {
	idle := now - w.sent
	if w.rto <= 0 || idle <= w.rto || w.segments <= w.initial {
		return w.segments
	}
	halvings := min((idle-1)/w.rto, 62)
	return max(w.segments>>halvings, w.initial)
}

// used: something is sent now.
func (w *window) used(now instant) {
	w.segments = w.at(now)
	w.sent = now
}

// carried: n segments have been sent, the last of them now. With each flight
// their sender's window has grown by as many segments as were acknowledged, which
// Linux allows up to twice what was in flight (RFC 5681, 3.1;
// tcp_is_cwnd_limited). It is for a window that can only be guessed, the peer's:
// losses would have lowered it.
func (w *window) carried(n int, now instant) {
	w.used(now)
	for n > 0 && w.segments < mostSegments {
		flight := min(n, max(w.segments, 1))
		w.segments = max(w.segments, 2*flight)
		n -= flight
	}
	w.segments = min(w.segments, mostSegments)
}

// mostSegments bounds a guessed window: about what the receive buffer that Linux
// allows by default lets come at once.
const mostSegments = 2048

// rounds is how many round trips it takes to bring n segments to the peer with a
// window that doubles with each: the least r for which w + 2w + … + 2^(r-1)w is n
// or more. Nothing takes none.
func rounds(n, w int) int {
	r := 0
	for w = max(w, 1); n > 0; w *= 2 {
		n -= w
		r++
	}
	return r
}
