package main

import (
	"fmt"
	"slices"
)

// Report is what a run found.
type Report struct {
	Environment Environment   `json:"environment"`
	Quick       bool          `json:"quick"` // a smoke test: too short to conclude anything from
	Groups      []GroupReport `json:"groups"`
	Goals       []Goal        `json:"targets"`
}

// GroupReport is what a group's rows showed.
type GroupReport struct {
	Load
	About  About  `json:"about,omitempty"`
	Base   string `json:"baseline"` // name of the row that ratios are taken to
	Rounds int    `json:"rounds"`
	Rows   []Row  `json:"rows"`
}

// Row is what a scenario showed.
type Row struct {
	Scenario
	Missing string        `json:"missing,omitempty"` // why it was not measured
	Rounds  []Measurement `json:"rounds,omitempty"`
	Median  Measurement   `json:"median"` // of each figure by itself
	Ratios  Ratios        `json:"ratios"`

	Errors     int64  `json:"errors"` // wrong answers, those of the warm-up included
	FirstError string `json:"first_error,omitempty"`
}

// Ratios compare a row with its group's baseline, among peers net/http through
// HAProxy over a Unix socket. One that cannot be told is absent: without HAProxy,
// and of an intermediary where there is none.
type Ratios struct {
	PeerCPU    Ratio `json:"peer_cpu,omitzero"`   // intermediary's CPU
	TotalCPU   Ratio `json:"total_cpu,omitzero"`  // intermediary's and client's CPU
	Throughput Ratio `json:"throughput,omitzero"` // requests per second
	AddedP50   Ratio `json:"added_p50,omitzero"`  // median latency beyond that of asking the origin directly; one in flight only
	P99        Ratio `json:"p99,omitzero"`        // of callers only
}

// Ratio is the median of the rounds' ratios, with the smallest and the largest.
type Ratio struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// IsZero reports whether there is no ratio.
func (r Ratio) IsZero() bool { return r == Ratio{} }

// figure is a field of a Measurement.
type figure struct {
	name      string // column
	unit      string
	digits    int  // after the point
	ofPeer    bool // no figure where there is no intermediary
	mayBeZero bool
	about     About // shown of these groups only; Peers: of all
	of        func(*Measurement) *float64
}

// figures are the fields of a Measurement whose medians are reported.
var figures = []figure{
	{name: "CPU", unit: "µs/request", digits: 1, ofPeer: true, of: func(m *Measurement) *float64 { return &m.PeerCPU }},
	{name: "client CPU", unit: "µs/request", digits: 1, of: func(m *Measurement) *float64 { return &m.ClientCPU }},
	{name: "origin CPU", unit: "µs/request", digits: 1, of: func(m *Measurement) *float64 { return &m.OriginCPU }},
	{name: "throughput", unit: "requests/s", of: func(m *Measurement) *float64 { return &m.Throughput }},
	{name: "p50", unit: "µs", of: func(m *Measurement) *float64 { return &m.P50 }},
	{name: "p99", unit: "µs", of: func(m *Measurement) *float64 { return &m.P99 }},
	{name: "memory", unit: "MiB RSS", digits: 1, ofPeer: true, of: func(m *Measurement) *float64 { return &m.PeerMemory }},
	{name: "dialled", unit: "per round", mayBeZero: true, of: func(m *Measurement) *float64 { return &m.Connections }},
	{name: "greedy one's", unit: "requests/s", mayBeZero: true, about: Callers, of: func(m *Measurement) *float64 { return &m.Greedy }},
}

// fail counts wrong answers.
func (r *Row) fail(n int64, first string) {
	r.Errors += n
	if r.FirstError == "" {
		r.FirstError = first
	}
}

// conclude takes the medians and the ratios from the rounds.
func (g *GroupReport) conclude() {
	for i := range g.Rows {
		g.Rows[i].Median = medians(g.Rows[i].Rounds)
	}
	base := g.find(func(s Scenario) bool { return s.Name == g.Base })
	if base == nil {
		return
	}
	direct := g.find(func(s Scenario) bool { return s.Peer == Direct })
	for i := range g.Rows {
		row := &g.Rows[i]
		ratio := func(of func(round int, m Measurement) float64) Ratio { return ratioOf(row.Rounds, base.Rounds, of) }
		if g.About == Callers {
			row.Ratios.P99 = ratio(func(_ int, m Measurement) float64 { return m.P99 })
			continue
		}
		row.Ratios.TotalCPU = ratio(func(_ int, m Measurement) float64 { return m.PeerCPU + m.ClientCPU })
		row.Ratios.Throughput = ratio(func(_ int, m Measurement) float64 { return m.Throughput })
		if row.Peer == Direct {
			continue
		}
		row.Ratios.PeerCPU = ratio(func(_ int, m Measurement) float64 { return m.PeerCPU })
		// With many in flight latency only says how many there are per second.
		if direct != nil && g.InFlight == 1 {
			row.Ratios.AddedP50 = ratio(func(round int, m Measurement) float64 { return m.P50 - direct.Rounds[round].P50 })
		}
	}
}

// find is the measured row whose scenario is wanted, or nil.
func (g *GroupReport) find(wanted func(Scenario) bool) *Row {
	i := slices.IndexFunc(g.Rows, func(r Row) bool { return r.Missing == "" && wanted(r.Scenario) })
	if i < 0 {
		return nil
	}
	return &g.Rows[i]
}

// errors is how many answers were wrong in all rows.
func (r *Report) errors() (n int64) {
	for _, g := range r.Groups {
		for _, row := range g.Rows {
			n += row.Errors
		}
	}
	return n
}

func medians(rounds []Measurement) (m Measurement) {
	for _, f := range figures {
		values := make([]float64, len(rounds))
		for i := range rounds {
			values[i] = *f.of(&rounds[i])
		}
		*f.of(&m) = median(values)
	}
	for _, round := range rounds {
		m.Errors = max(m.Errors, round.Errors)
	}
	return m
}

// ratioOf compares two rows round by round. Rounds in which the base shows
// nothing above zero are left out.
func ratioOf(rounds, base []Measurement, of func(round int, m Measurement) float64) Ratio {
	var ratios []float64
	for i := range min(len(rounds), len(base)) {
		if b := of(i, base[i]); b > 0 {
			ratios = append(ratios, of(i, rounds[i])/b)
		}
	}
	if len(ratios) == 0 {
		return Ratio{}
	}
	return Ratio{Median: median(ratios), Min: slices.Min(ratios), Max: slices.Max(ratios)}
}

// median is the middle of values, or the mean of the two in the middle; 0 when
// there are none. It sorts values.
func median(values []float64) float64 {
	slices.Sort(values)
	switch n := len(values); {
	case n == 0:
		return 0
	case n%2 == 1:
		return values[n/2]
	default:
		return (values[n/2-1] + values[n/2]) / 2
	}
}

func (l Load) String() string {
	text := fmt.Sprintf("%d in flight, %s", l.InFlight, l.bodies())
	if l.After > 0 {
		text += " after " + l.After.String()
	}
	return text
}

// bodies says how large they are, and which way they go.
func (l Load) bodies() string {
	if l.Upload {
		return "requests of " + size(l.Body)
	}
	return "answers of " + size(l.Body)
}

func size(n int) string {
	for _, unit := range []struct {
		name string
		bits int
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n >= 1<<unit.bits && n%(1<<unit.bits) == 0 {
			return fmt.Sprintf("%d %s", n>>unit.bits, unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
