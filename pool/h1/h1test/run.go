package h1test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// Options of [RunAll].
type Options struct {
	Parallel int // cases played at once; 4 when 0
	// Known holds, by the name of a case, why it is known not to pass. Only
	// should and either cases can be excused.
	Known map[string]string
	// Strict fails the test for a should or either case that does not pass and
	// is not in Known, and for one in Known that passes. Otherwise both are
	// logged.
	Strict bool
}

// RunAll plays cases as subtests cases/GROUP/NAME and returns the report when
// all have ended. A must case that fails fails the test; one that needs a
// feature which the client lacks is not played, and so reported.
//
// Steps of 200 ms judge the machine, too, when it is busy. So a case that fails
// beside others is played again, alone, three times, and has to pass each time.
func RunAll(t *testing.T, cases []Case, features Features, newClient NewClient, opt Options) *Report {
	t.Helper()
	slots := make(chan struct{}, max(opt.Parallel, 0))
	if opt.Parallel <= 0 {
		slots = make(chan struct{}, 4)
	}
	results := make([]*Result, len(cases)) // each of its own subtest
	t.Run("cases", func(t *testing.T) {
		for i, c := range cases {
			t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
				if f := c.Missing(features); f != "" {
					r := Skipped(c, "the client has no "+f)
					results[i] = &r
					return
				}
				// Played outside the subtest: t.Parallel gives way to only as many
				// at once as there are processors.
				played := make(chan Result, 1)
				ctx := t.Context()
				go func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					played <- Play(ctx, c, newClient)
				}()
				t.Parallel()
				r := <-played
				results[i] = &r
				if r.Verdict != Fail {
					opt.report(t, &r)
				}
			})
		}
	})
	t.Run("alone", func(t *testing.T) {
		for i, c := range cases {
			if results[i] == nil || results[i].Verdict != Fail {
				continue
			}
			t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
				t.Logf("failed beside others: %s", results[i].Explain())
				for range 3 {
					r := Play(t.Context(), c, newClient)
					if results[i] = &r; r.Verdict == Fail {
						break
					}
				}
				opt.report(t, results[i])
			})
		}
	})
	report := &Report{}
	names := make(map[string]Strictness)
	for i, r := range results {
		names[cases[i].Name] = cases[i].Strictness
		if r != nil { // nil: left out by -run
			report.Results = append(report.Results, *r)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(opt.Known)) {
		if s, ok := names[name]; !ok || s == Must {
			t.Errorf("Options.Known[%q]: only a should or either case of this run can be excused", name)
		}
	}
	return report
}

// report tells a subtest its result.
func (opt *Options) report(t *testing.T, r *Result) {
	t.Helper()
	why, known := opt.Known[r.Name]
	complain := t.Log
	if opt.Strict {
		complain = t.Error
	}
	switch {
	case r.Verdict == Pass && known:
		complain(fmt.Sprintf("passes: take it off the list of known ones (%s)", why))
	case r.Verdict == Pass:
	case r.Strictness == Must && r.Verdict == Fail:
		t.Error(r.Explain())
	case known:
		t.Logf("known %v (%s): %s", r.Verdict, why, r.Reason)
	default:
		complain(r.Explain())
	}
}
