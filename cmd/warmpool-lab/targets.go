package main

import (
	"fmt"
	"time"
)

// Target is what warmpool is to reach, and what it did.
type Target struct {
	What    string `json:"what"`
	Wanted  string `json:"wanted"`
	Shown   string `json:"shown"`
	Reached bool   `json:"reached"`
}

// What is aimed at, in round trips.
const (
	smallMedian   = 1.05
	smallP99      = 1.2
	burstLast     = 1.3
	uploadDecayed = 3.2 // with slow start after idleness
	uploadKept    = 1.2
	pipelinedWarm = 1.2
)

// targets compares what was measured with what is aimed at. What was not measured
// is left out.
func (r *Report) targets() (all []Target) {
	add := func(reached bool, what, wanted, shown string, args ...any) {
		all = append(all, Target{what, wanted, fmt.Sprintf(shown, args...), reached})
	}
	small := r.Plan.Sizes[0]

	if s, worst := r.over(func(c Cell) bool { return c.Shape.Size == small && c.Shape.Burst == 1 }); s.Count > 0 {
		add(worst.Median <= smallMedian && s.P99 <= smallP99,
			size(small)+" after any idleness, both origins, plain and TLS",
			fmt.Sprintf("median %.2f, p99 %.2f", smallMedian, smallP99),
			"median %.2f (worst of the cells %.2f: %s), p99 %.2f, max %.2f, %d requests", s.Median, worst.Median, worst.Cell, s.P99, s.Max, s.Count)
	}
	longest := r.Plan.longest()
	if s, _ := r.over(func(c Cell) bool { return c.Shape.Burst > 1 && c.Idle == longest }); s.Count > 0 {
		handshakes, within := 0, 0
		for _, c := range r.Cells {
			if c.Way != Warmpool || c.Shape.Burst == 1 || c.Idle != longest {
				continue
			}
			handshakes += c.Handshakes
			for _, took := range r.samples(c.Cell).Took {
				if float64(took) <= burstLast*float64(r.RTT) {
					within++
				}
			}
		}
		add(s.Max <= burstLast && handshakes == 0,
			fmt.Sprintf("burst of %d after %s, floor of %d, last answer", r.Plan.Burst, seconds(longest), r.Plan.Burst),
			fmt.Sprintf("%.1f, no handshake waited for", burstLast),
			"%d of %d bursts within, median %.2f, max %.2f, %d handshakes waited for", within, s.Count, s.Median, s.Max, handshakes)
	}
	all = append(all, r.failureTargets()...)
	for _, u := range r.Uploads {
		wanted, setting := uploadKept, 0
		if u.SlowStartAfterIdle {
			wanted, setting = uploadDecayed, 1
		}
		s := r.summary(u.Took)
		add(s.Count > 0 && s.Median <= wanted,
			fmt.Sprintf("%s up, one wide window among %d, tcp_slow_start_after_idle=%d", size(uploadSize), uploadAmong, setting),
			fmt.Sprintf("%.1f", wanted), "median %.2f, max %.2f, %d of %d on the wide one", s.Median, s.Max, u.Wide, s.Count)
	}
	for _, o := range r.Objects {
		if o.Way == pipelinedWarmName {
			add(o.Count > 0 && o.Median <= pipelinedWarm,
				fmt.Sprintf("%d objects pipelined on a warm connection, %s", objects, schemeName(o.TLS)),
				fmt.Sprintf("%.1f", pipelinedWarm), "median %.2f, max %.2f", o.Median, o.Max)
		}
	}
	return all
}

// failureTargets are that no request fails.
func (r *Report) failureTargets() []Target {
	requests, posts, twice := 0, 0, 0
	for _, c := range r.Cells {
		if c.Way == Warmpool {
			requests += c.Requests
		}
	}
	for _, u := range r.Uploads {
		requests += len(u.Took) + u.Failures
	}
	for _, k := range r.Keeping {
		requests += len(k.Took) + k.Failures
	}
	for _, l := range r.Loaded {
		requests += len(l.Took) + l.Failures
	}
	for _, o := range r.Objects {
		requests += objects * (o.Count + o.Failures)
	}
	for _, p := range r.Posts {
		if p.Way == Warmpool {
			posts, twice = posts+p.Sent, twice+p.Twice
		}
	}
	if requests+posts == 0 {
		return nil
	}
	failures := r.failures()
	return []Target{{
		"failed requests, POSTs around the moment of close included", "0",
		fmt.Sprintf("%d of %d requests and %d POSTs, %d of these carried out twice", failures, requests, posts, twice), failures+twice == 0,
	}}
}

// over sums up warmpool's cells that are wanted, and finds the one with the
// largest median.
func (r *Report) over(wanted func(Cell) bool) (all Summary, worst CellReport) {
	var took []time.Duration
	for _, c := range r.Cells {
		if c.Way != Warmpool || !wanted(c.Cell) {
			continue
		}
		took = append(took, r.samples(c.Cell).Took...)
		if c.Median > worst.Median {
			worst = c
		}
	}
	return r.summary(took), worst
}

// String is the cell in words, without its way.
func (c Cell) String() string {
	direction := "down"
	if c.Shape.Up {
		direction = "up"
	}
	return fmt.Sprintf("%s, closes after %s, %s, idle %s", schemeName(c.Origin.TLS), seconds(c.Origin.Closes), direction, seconds(c.Idle))
}

func schemeName(tls bool) string {
	if tls {
		return "TLS"
	}
	return "plain"
}
