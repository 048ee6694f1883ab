package main

import (
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(slices.Clone(c.values)); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0},
		{hundred[:1], 0.99, 1},
		{hundred, 0.50, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred[:3], 0.5, 2},
	} {
		if got := quantile(c.sorted, c.q); got != c.want {
			t.Errorf("quantile of %d values at %v = %d, want %d", len(c.sorted), c.q, got, c.want)
		}
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	// The machine slows down from round to round; the ratio does not care.
	g := GroupReport{Load: Load{InFlight: 1, Body: 128}, Base: rowHAProxy, Rows: []Row{
		{Scenario: Scenario{Peer: Direct, Front: TCP}, Rounds: []Measurement{
			{P50: 100, ClientCPU: 10, Throughput: 400}, {P50: 200, ClientCPU: 20, Throughput: 200}, {P50: 400, ClientCPU: 40, Throughput: 100},
		}},
		{Scenario: Scenario{Name: rowHAProxy, Peer: HAProxy, Front: Unix}, Rounds: []Measurement{
			{P50: 150, PeerCPU: 10, ClientCPU: 10, Throughput: 200}, {P50: 300, PeerCPU: 20, ClientCPU: 20, Throughput: 100}, {P50: 600, PeerCPU: 40, ClientCPU: 40, Throughput: 50},
		}},
		{Scenario: Scenario{Peer: Warmpool, Front: Unix}, Rounds: []Measurement{
			{P50: 200, PeerCPU: 15, ClientCPU: 25, Throughput: 100}, {P50: 400, PeerCPU: 30, ClientCPU: 50, Throughput: 50}, {P50: 1200, PeerCPU: 80, ClientCPU: 80, Throughput: 25},
		}},
	}}
	g.conclude()
	want := []Ratios{
		{TotalCPU: Ratio{0.5, 0.5, 0.5}, Throughput: Ratio{2, 2, 2}},
		{PeerCPU: Ratio{1, 1, 1}, TotalCPU: Ratio{1, 1, 1}, Throughput: Ratio{1, 1, 1}, AddedP50: Ratio{1, 1, 1}},
		{PeerCPU: Ratio{1.5, 1.5, 2}, TotalCPU: Ratio{2, 2, 2}, Throughput: Ratio{0.5, 0.5, 0.5}, AddedP50: Ratio{2, 2, 4}},
	}
	for i, row := range g.Rows {
		if row.Ratios != want[i] {
			t.Errorf("%s: ratios %+v, want %+v", row.Peer, row.Ratios, want[i])
		}
	}
	if m := g.Rows[2].Median; m.P50 != 400 || m.PeerCPU != 30 || m.Throughput != 50 {
		t.Errorf("medians %+v", m)
	}
}

func TestEachRowComesFirstInTurnAndBehindEachOther(t *testing.T) {
	for round, want := range [][]int{{0, 1, 2}, {1, 0, 2}, {2, 0, 1}, {0, 2, 1}, {1, 2, 0}, {2, 1, 0}, {0, 1, 2}} {
		if got := turn(3, round); !slices.Equal(got, want) {
			t.Errorf("round %d: %v, want %v", round, got, want)
		}
	}
}

func TestRowsAreChosenByName(t *testing.T) {
	groups := suite(regexp.MustCompile("Send/in-flight=64|HAProxy/in-flight=64/body=128$"), false, false)
	var got []string
	for _, g := range groups {
		for _, s := range g.Scenarios {
			got = append(got, s.ID())
		}
	}
	want := []string{
		"net/http via HAProxy/in-flight=64/body=128",
		"warmpool Send/in-flight=64/body=128",
		"warmpool Send/in-flight=64/body=16384",
	}
	if !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
}

func TestTheOtherBinaryHasARowBesideEachOfTheFirst(t *testing.T) {
	groups := suite(regexp.MustCompile("(HAProxy|Session)/in-flight=64/body=128$"), false, true)
	if len(groups) != 1 || len(groups[0].Scenarios) != 3 {
		t.Fatalf("groups %+v", groups)
	}
	if s := groups[0].Scenarios[2]; s.Name != "other warmpool Session" || !s.Other || groups[0].Scenarios[1].Other {
		t.Errorf("rows %+v", groups[0].Scenarios)
	}
}

func TestTargetsAreHeldAgainstTheMedians(t *testing.T) {
	r := Report{Groups: []GroupReport{{Load: Load{InFlight: 64, Body: 128}, Rows: []Row{
		{Scenario: Scenario{Name: rowSession}, Ratios: Ratios{
			PeerCPU: Ratio{0.6, 0.5, 0.7}, TotalCPU: Ratio{0.46, 0.4, 0.5}, Throughput: Ratio{1.8, 1, 2},
		}},
		{Scenario: Scenario{Name: rowSend}, Missing: "not installed"},
	}}}}
	var got []string
	for _, g := range r.goals() {
		verdict := "missed"
		if g.Met {
			verdict = "met"
		}
		got = append(got, g.Row+" "+g.Ratio+" "+verdict)
	}
	want := []string{rowSession + " CPU met", rowSession + " CPU with client missed", rowSession + " requests/s met"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEachTargetIsOfARowThatIsMeasured(t *testing.T) {
	for _, g := range goals {
		if !slices.ContainsFunc(everything(), func(of Group) bool {
			l := of.Load
			return l.like(g.load) &&
				slices.ContainsFunc(of.Scenarios, func(s Scenario) bool { return s.Name == g.row })
		}) {
			t.Errorf("no row for %+v", g)
		}
	}
}
