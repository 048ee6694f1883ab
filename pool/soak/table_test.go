package soak_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// tally counts things by name and prints them, the most frequent first.
type tally map[string]uint64

func (c tally) print(w *tabwriter.Writer, title string) {
	names := make([]string, 0, len(c))
	for name, n := range c {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if c[a] != c[b] {
			return int(c[b]) - int(c[a])
		}
		return strings.Compare(a, b)
	})
	fmt.Fprintf(w, "%s\t\n", title)
	for _, name := range names {
		fmt.Fprintf(w, "  %s\t%d\t\n", name, c[name])
	}
}

// table prints what the run was made of.
func (s *soak) table(t *testing.T, took time.Duration) {
	t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	n := len(s.ledger.entries) - 1
	fmt.Fprintf(&text, "%d requests in %v, %.0f/s; %d callers, 32 connections\n", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), callersEach*len(s.origins))

	outcomes := tally{}
	for id := 1; id <= n; id++ {
		e := &s.ledger.entries[id]
		switch e.outcome {
		case outcomeFailed:
			outcomes[fmt.Sprintf("%v, %v", e.reason, e.delivery)]++
		case outcomeCrossed:
			outcomes["a 408 that crossed the request"]++
		default:
			outcomes["answered"]++
		}
	}
	outcomes.print(w, "outcomes, by reason and delivery")

	work, closed, refused := tally{}, tally{}, tally{}
	for _, c := range s.counters {
		work["connections opened"] += c.Opened
		work["attempts"] += c.Exchanges
		work["attempts on a used connection"] += c.Reused
		work["retries"] += c.Retries
		work["retries that the budget refused"] += c.RetriesRefused
		work["dials failed"] += c.DialsFailed
		for _, why := range pool.CloseReasons() {
			closed[why.String()] += c.Closed[why]
		}
		for _, why := range pool.Reasons() {
			refused[why.String()] += c.Refused[why]
		}
	}
	work["upstreams made anew"] = uint64(len(s.counters) - len(s.origins))
	work["starts of requests too short to name one"] = s.ledger.fragments.Load()
	faults := tally{}
	for _, o := range s.origins {
		work["requests there before the one ahead was answered"] += o.behind.Load()
		for f := range faultCount {
			faults[f.String()] += o.did[f].Load()
		}
	}
	work.print(w, "work")
	closed.print(w, "connections closed")
	refused.print(w, "requests refused a connection")
	faults.print(w, "faults played")
	w.Flush()
	t.Log(text.String())
}
