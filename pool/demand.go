package pool

import "time"

// demand remembers how many connections were needed at once of late, and how long
// exchanges take. A plain value, fed with events and the time.
//
// A burst that comes again finds what the last one needed, even where the server
// closes idle connections in between; when it does not come again, the memory
// passes, and the connections go as their idle time ends.
type demand struct {
	peaks   [demandSteps]int // the most needed in each step of the window, oldest first behind at
	at      int              // the step that is running
	until   instant          // its end
	service time.Duration    // an exchange's time on its connection, averaged
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

// served takes note of an exchange's time.
func (d *demand) served(took time.Duration) {
	if d.service == 0 {
		d.service = took
	}
	d.service += (took - d.service) / 16
}

// The part of admission that decides what demand asks for beyond the floor.

// demanded is how many connections are to be kept for what was needed of late,
// and what may be needed next.
func (a *admission) demanded(now instant) int {
	n := 0
	if w := a.policy.PeakMemory; w > 0 && a.lasts(w/demandSteps, now) {
		if n = a.demand.peak(w, now); n > 0 {
			n += a.policy.Upkeep.Connections // which must not be missed
		}
	}
	return max(n, a.ahead())
}

// lasts reports that connections are not known to be closed sooner, unused. What
// demand keeps is replaced whenever its idle time ends: a server that ends it
// very soon would see many handshakes for each connection that is used at last.
func (a *admission) lasts(least time.Duration, now instant) bool {
	for _, e := range a.endpoints {
		if limit := e.letsUnused.learned(now); limit > 0 && limit < least {
			return false
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
// next, as a ratio of those in use. None are wanted beforehand where one that is
// in use will be free before a new one could stand: the dial would only take the
// upstream's time from the exchanges that are waited for.
func (a *admission) ahead() int {
	n := int(a.policy.Preconnect * float64(a.active))
	if n <= a.active {
		return 0
	}
	if a.connectTime > 0 && a.comeback() <= a.connectTime {
		return 0
	}
	return n
}

// comeback is the time within which one of the active connections comes free,
// all but surely: of n whose exchanges last some time on average, independently,
// the first ends after an nth of it on average, and in 98 of 100 cases within
// four times that.
func (a *admission) comeback() time.Duration {
	return 4 * a.demand.service / time.Duration(a.active)
}
