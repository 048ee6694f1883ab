package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/machine"
	"github.com/warmpool-dev/warmpool/cmd/internal/program"
	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/link"
)

// Report is what a run found. Times in "rtt" fields are round trips of the link.
type Report struct {
	Environment Environment      `json:"environment"`
	Plan        Plan             `json:"plan"`
	Link        link.Setting     `json:"link"`
	RTT         time.Duration    `json:"rtt_ns"`
	Took        time.Duration    `json:"took_ns"`
	SelfTest    RoundTrips       `json:"self_test"`
	Passed      [2]link.Figures  `json:"link_passed"` // from the near end, and from the far end
	Parts       []Part           `json:"parts"`
	Missing     map[Way]string   `json:"missing,omitempty"`
	Cells       []CellReport     `json:"cells"`
	Objects     []ObjectsReport  `json:"objects"`
	Posts       []PostsFigures   `json:"posts"`
	Uploads     []UploadFigures  `json:"uploads"`
	Keeping     []KeepingFigures `json:"keeping"`
	Loaded      []LoadedFigures  `json:"loaded"`
	Targets     []Target         `json:"targets"`

	// What the summaries above are of.
	Samples []Measured    `json:"samples"`
	Fetched []ObjectsTook `json:"fetched"`
}

// Part is a section, when it was measured and on what.
type Part struct {
	Section  Section   `json:"section"`
	Began    time.Time `json:"began"`
	Load     float64   `json:"load_average"` // of the last minute of it; what it costs itself included
	Warmpool string    `json:"warmpool"`
}

// Environment is what a run ran on and with.
type Environment struct {
	Kernel    string  `json:"kernel"`
	CPUs      int     `json:"cpus"`
	Processor string  `json:"processor,omitempty"`
	Load      float64 `json:"load_average"` // of the last minute before the run
	Go        string  `json:"go"`
	Warmpool  string  `json:"warmpool"` // version and revision of the binary
	HAProxy   string  `json:"haproxy,omitempty"`
	Nginx     string  `json:"nginx,omitempty"`
}

func (e Environment) String() string {
	cpus := fmt.Sprintf("%d CPUs", e.CPUs)
	if e.Processor != "" {
		cpus += " (" + e.Processor + ")"
	}
	parts := []string{e.Kernel, cpus, fmt.Sprintf("load average %.2f before", e.Load), e.Go, "warmpool " + e.Warmpool}
	for _, p := range []struct{ name, version string }{{"HAProxy", e.HAProxy}, {"nginx", e.Nginx}} {
		if p.version == "" {
			p.version = "not installed"
		}
		parts = append(parts, p.name+" "+p.version)
	}
	return strings.Join(parts, ", ")
}

func (l *lab) environment(ctx context.Context) (e Environment, err error) {
	e = Environment{Kernel: machine.Kernel(), CPUs: runtime.NumCPU(), Processor: machine.Processor()}
	if e.Load, err = machine.LoadAverage(); err != nil {
		return e, err
	}
	info, err := buildinfo.ReadFile(l.warmpool)
	if err != nil {
		return e, fmt.Errorf("%s: not a Go binary: %w", l.warmpool, err)
	}
	e.Go, e.Warmpool = info.GoVersion, program.Revision(info)
	e.HAProxy = version(ctx, "haproxy") // "HAProxy version 2.6.12-1 2023/12/16 - …"
	e.Nginx = version(ctx, "nginx")     // "nginx version: nginx/1.22.1"
	return e, nil
}

// version is the third word of what a program says of itself; empty when it is
// not installed.
func version(ctx context.Context, name string) string {
	path := program.Find(name)
	if path == "" {
		return ""
	}
	said, err := exec.CommandContext(ctx, path, "-v").CombinedOutput() //nolint:gosec // found by program.Find
	words := strings.Fields(string(said))
	if err != nil || len(words) < 3 {
		return "of unknown version"
	}
	return strings.TrimPrefix(words[2], name+"/")
}

// RoundTrips is what the link's self-test showed.
type RoundTrips struct {
	Count    int           `json:"count"`
	Expected time.Duration `json:"expected_ns"`
	Median   time.Duration `json:"median_ns"`
	P99      time.Duration `json:"p99_ns"`
	Min      time.Duration `json:"min_ns"`
	Max      time.Duration `json:"max_ns"`
}

func selfTestOf(trips []time.Duration, expected time.Duration) RoundTrips {
	slices.Sort(trips)
	return RoundTrips{
		Count: len(trips), Expected: expected,
		Median: quantile(trips, 0.50), P99: quantile(trips, 0.99), Min: quantile(trips, 0), Max: quantile(trips, 1),
	}
}

func (r RoundTrips) String() string {
	return fmt.Sprintf("link: %d round trips of %.0f ms took %.2f ms (median), %.2f (p99), %.2f to %.2f: off by %+.2f ms",
		r.Count, milliseconds(r.Expected), milliseconds(r.Median), milliseconds(r.P99), milliseconds(r.Min), milliseconds(r.Max),
		milliseconds(r.Median-r.Expected))
}

// Summary is times in round trips.
type Summary struct {
	Count  int     `json:"count"`
	Median float64 `json:"median_rtt"`
	P99    float64 `json:"p99_rtt"`
	Max    float64 `json:"max_rtt"`
}

// summary sorts took.
func (r *Report) summary(took []time.Duration) Summary {
	slices.Sort(took)
	rtt := func(q float64) float64 { return float64(quantile(took, q)) / float64(r.RTT) }
	return Summary{len(took), rtt(0.50), rtt(0.99), rtt(1)}
}

// CellReport is what a cell showed in all rounds.
type CellReport struct {
	Cell
	Summary

	Requests   int    `json:"requests"` // those that only prepared included
	Failures   int    `json:"failures"`
	Handshakes int    `json:"handshakes"` // waited for; told by warmpool only
	First      string `json:"first_failure,omitempty"`
}

// ObjectsReport is what one way of fetching the objects showed.
type ObjectsReport struct {
	Way string `json:"way"`
	TLS bool   `json:"tls"`
	Summary

	Failures int    `json:"failures"`
	First    string `json:"first_failure,omitempty"`
}

// samples finds what a cell showed; a new record when it has shown nothing yet.
func (r *Report) samples(c Cell) *Measured {
	i := slices.IndexFunc(r.Samples, func(m Measured) bool { return m.Cell == c })
	if i < 0 {
		i = len(r.Samples)
		r.Samples = append(r.Samples, Measured{Cell: c})
	}
	return &r.Samples[i]
}

func (r *Report) add(cells []Measured) {
	for _, m := range cells {
		sum := r.samples(m.Cell)
		sum.Took = append(sum.Took, m.Took...)
		sum.Requests += m.Requests
		sum.Failures += m.Failures
		sum.Handshakes += m.Handshakes
		if sum.First == "" {
			sum.First = m.First
		}
	}
}

// conclude sums up what was measured.
func (r *Report) conclude() {
	r.Cells, r.Objects = nil, nil
	for _, m := range r.Samples {
		r.Cells = append(r.Cells, CellReport{m.Cell, r.summary(m.Took), m.Requests, m.Failures, m.Handshakes, m.First})
	}
	for _, tls := range []bool{false, true} {
		for _, f := range fetchings {
			o := ObjectsReport{Way: f.name, TLS: tls}
			var took []time.Duration
			for _, once := range r.Fetched {
				switch {
				case once.Way != f.name || once.TLS != tls:
				case once.Error == "":
					took = append(took, once.Took)
				default:
					o.Failures++
					o.First = once.Error
				}
			}
			if o.Summary = r.summary(took); len(took)+o.Failures > 0 {
				r.Objects = append(r.Objects, o)
			}
		}
	}
	r.Targets = r.targets()
}

// failures is how many requests warmpool failed.
func (r *Report) failures() (n int) {
	for _, c := range r.Cells {
		if c.Way == Warmpool {
			n += c.Failures
		}
	}
	for _, o := range r.Objects {
		n += o.Failures
	}
	for _, p := range r.Posts {
		if p.Way == Warmpool {
			n += p.Failed
		}
	}
	for _, u := range r.Uploads {
		n += u.Failures
	}
	for _, k := range r.Keeping {
		n += k.Failures
	}
	for _, l := range r.Loaded {
		n += l.Failures
	}
	return n
}

// quantile is the smallest value that at least a share q of the sorted values
// does not exceed; 0 when there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// size is a number of bytes as people say it.
func size(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d MB", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%d KB", n/1000)
	}
	return fmt.Sprintf("%d B", n)
}

// seconds is a time as people say it who compare it with others.
func seconds(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }
