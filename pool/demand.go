package pool

import "time"

// demand remembers how many connections were needed at once of late. A plain value,
// fed with events and the time.
//
// A burst that comes again finds what the last one needed, even where the server
// closes idle connections in between; when it does not come again, the memory
// passes, and the connections go as their idle time ends.
type demand struct {
	peaks [demandSteps]int // the most needed in each step of the window, oldest first behind at
	at    int              // the step that is running
	until instant          // its end
}

const demandSteps = 8

// need takes note that n connections are needed now.
func (d *demand) need(n int, window time.Duration, now instant) {
	if now >= d.until {
		d.pass(window, now)
	}
	d.peaks[d.at] = max(d.peaks[d.at], n)
}

// pass begins the step that now belongs to.
func (d *demand) pass(window time.Duration, now instant) {
	step := max(1, window/demandSteps)
	for range min(demandSteps, 1+(now-d.until)/step) {
		d.at = (d.at + 1) % demandSteps
		d.peaks[d.at] = 0
	}
	d.until = now + step
}

// peak is the most that was needed at once within the window.
func (d *demand) peak(window time.Duration, now instant) int {
	if now >= d.until {
		d.pass(window, now)
	}
	most := 0
	for _, n := range d.peaks {
		most = max(most, n)
	}
	return most
}

// The part of admission that decides what demand asks for beyond the floor.

// demanded is how many connections are to be kept for what was needed of late,
// and what may be needed next. For the former those that stand are replaced before
// they end; what the upstream has closed is not dialed anew before a request asks.
// An upstream that is stopped closes what is idle, and some wait for connections
// on which no request has come yet (nginx, for client_header_timeout).
func (a *admission) demanded(now instant) int {
	n := 0
	if w := a.policy.PeakMemory; w > 0 && a.lasts(w/demandSteps, now) {
		if n = min(a.demand.peak(w, now), a.idle+a.active); n > 0 {
			n += a.policy.Upkeep.Connections // which must not be missed
		}
	}
	return max(n, a.ahead())
}

// lasts reports that connections are not known to be closed sooner. What demand
// keeps is replaced whenever its idle time ends: a server that ends it very soon
// would see many handshakes for each connection that is used at last.
func (a *admission) lasts(least time.Duration, now instant) bool {
	for _, e := range a.endpoints {
		for _, limit := range []time.Duration{e.lets.learned(now), e.letsUnused.learned(now)} {
			if limit > 0 && limit < least {
				return false
			}
		}
	}
	return true
}

// needed takes note of how many connections are in use or waited for.
func (a *admission) needed(now instant) {
	if w := a.policy.PeakMemory; w > 0 {
		a.demand.need(a.active-a.tending+a.wanting(), w, now)
	}
}

// ahead is how many connections there should be for the requests that may come
// next, as a ratio of those in use.
//
// That a connection in use may come free before a new one stands is no reason
// against it. It was measured (BenchmarkSpeculativeDials, 80 % load): to leave out
// the dials where one of n active connections should come free within a dial's
// time saves 3 dials in 100 near by and changes nothing in the tail, and far away,
// where everything is in use for a while whenever it is, p99 goes from 97 to
// 109 ms. Nor does the tail get worse where a handshake takes the upstream three
// times as long as an exchange. On real sockets, a link of 50 ms and 16 connections of
// 50 requests each (the lab's part loaded), p99 is 1.53 round trips when dialed as
// requests ask and 1.47 ahead, with TLS 1.52 and 1.56: no difference.
func (a *admission) ahead() int {
	n := int(a.policy.Preconnect * float64(a.active))
	if n <= a.active {
		return 0
	}
	return n
}
