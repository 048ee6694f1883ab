package main

import (
	"fmt"
	"strings"

	"github.com/warmpool-dev/warmpool/cmd/internal/table"
)

// goal is what a ratio of a row to its group's baseline should be.
type goal struct {
	row     string
	load    Load   // Requests does not matter
	ratio   string // name for people
	of      func(*Ratios) Ratio
	limit   float64
	atLeast bool // else at most
}

func peerCPU(r *Ratios) Ratio    { return r.PeerCPU }
func totalCPU(r *Ratios) Ratio   { return r.TotalCPU }
func throughput(r *Ratios) Ratio { return r.Throughput }
func addedP50(r *Ratios) Ratio   { return r.AddedP50 }

func latestPercent(r *Ratios) Ratio { return r.P99 }

// goals are what is to be reached. They are printed beside what was, and fail
// nothing: a run on a machine that does other things proves nothing.
var goals = append([]goal{
	{rowSession, Load{InFlight: 64, Body: 128}, "CPU", peerCPU, 0.6, false},
	{rowSession, Load{InFlight: 64, Body: 128}, "CPU with client", totalCPU, 0.45, false},
	{rowSession, Load{InFlight: 64, Body: 128}, "requests/s", throughput, 1.8, true},
	{rowPipelined, Load{InFlight: 64, Body: 128}, "CPU", peerCPU, 0.45, false},
	{rowPipelined, Load{InFlight: 64, Body: 128}, "CPU with client", totalCPU, 0.4, false},
	{rowPipelined, Load{InFlight: 64, Body: 128}, "requests/s", throughput, 2.2, true},
	{rowSend, Load{InFlight: 64, Body: 128}, "CPU", peerCPU, 1.8, false},
	{rowSession, Load{InFlight: 64, Body: 16 << 10}, "CPU", peerCPU, 1.5, false},
	{rowSession, Load{InFlight: 1, Body: 128}, "added p50", addedP50, 1, false},
	{rowSend, Load{InFlight: 1, Body: 128}, "added p50", addedP50, 1.8, false},
	{rowStream, Load{InFlight: 4, Body: 1 << 20}, "CPU", peerCPU, 1.5, false},
	{rowStream, Load{InFlight: 4, Body: 32 << 20}, "CPU", peerCPU, 1.5, false},
	{rowStream, Load{InFlight: 1, Body: 1 << 30}, "CPU", peerCPU, 1.5, false},
	{rowStream, Load{InFlight: 4, Body: 1 << 20, Upload: true}, "CPU", peerCPU, 1.5, false},
	{rowStream, Load{InFlight: 4, Body: 32 << 20, Upload: true}, "CPU", peerCPU, 1.5, false},
	{rowStream, Load{InFlight: 1, Body: 1 << 30, Upload: true}, "CPU", peerCPU, 1.5, false},
}, goalsWithin()...)

// goalsWithin are those of groups that compare warmpool with itself.
func goalsWithin() []goal {
	var goals []goal
	for _, g := range callerGroups() {
		if g.After == 0 { // what callers share there is the machine, with the greedy client itself
			continue
		}
		goals = append(goals, goal{g.Scenarios[1].Name, g.Load, "p99", latestPercent, 2, false})
	}
	for _, g := range telemetryGroups() {
		for _, s := range g.Scenarios[1:] {
			goals = append(goals, goal{s.Name, g.Load, "CPU", peerCPU, 1.05, false})
		}
	}
	return goals
}

// Goal is a target and what was reached of it.
type Goal struct {
	Row      string  `json:"row"`
	InFlight int     `json:"in_flight"`
	Body     int     `json:"body_bytes"`
	Upload   bool    `json:"upload,omitempty"`
	Ratio    string  `json:"ratio"` // to the baseline of its group
	Limit    float64 `json:"limit"`
	AtLeast  bool    `json:"at_least"` // else at most
	Reached  Ratio   `json:"reached"`
	Met      bool    `json:"met"` // by the median
}

// goals are those whose row was measured.
func (r *Report) goals() []Goal {
	var reached []Goal
	for _, g := range goals {
		ratio := r.ratio(g)
		if ratio.IsZero() {
			continue
		}
		met := ratio.Median <= g.limit
		if g.atLeast {
			met = ratio.Median >= g.limit
		}
		reached = append(reached, Goal{
			Row: g.row, InFlight: g.load.InFlight, Body: g.load.Body, Upload: g.load.Upload, Ratio: g.ratio,
			Limit: g.limit, AtLeast: g.atLeast, Reached: ratio, Met: met,
		})
	}
	return reached
}

// like reports whether two loads differ in nothing but the number of requests.
func (l Load) like(other Load) bool {
	other.Requests = l.Requests
	return l == other
}

func (r *Report) ratio(g goal) Ratio {
	for i := range r.Groups {
		group := &r.Groups[i]
		if !group.like(g.load) {
			continue
		}
		if row := group.find(func(s Scenario) bool { return s.Name == g.row }); row != nil {
			return g.of(&row.Ratios)
		}
	}
	return Ratio{}
}

func printGoals(b *strings.Builder, goals []Goal) {
	if len(goals) == 0 {
		return
	}
	b.WriteString("\nTargets, as ratios to the first or, among peers, to " + rowHAProxy + "\n")
	t := table.Table{{"", "in flight", "", "ratio", "target", "reached", ""}}
	for _, g := range goals {
		bound, verdict := "<=", "missed"
		if g.AtLeast {
			bound = ">="
		}
		if g.Met {
			verdict = "met"
		}
		t = append(t, []string{
			g.Row, fmt.Sprint(g.InFlight), Load{Body: g.Body, Upload: g.Upload}.bodies(), g.Ratio, fmt.Sprintf("%s %.2f", bound, g.Limit), g.Reached.String(), verdict,
		})
	}
	t.Print(b)
}
