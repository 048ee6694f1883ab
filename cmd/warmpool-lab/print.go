package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/table"
)

// none stands where nothing was measured.
const none = "–"

// print writes the report for people.
func (r *Report) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", r.Environment, r.SelfTest)
	for i, from := range []string{"near", "far"} {
		p := r.Passed[i]
		fmt.Fprintf(&b, "from the %s end: %d packets, %.1f MB, %d dropped; %.1f %% within 1 ms, late by %.2f ms (median), %.2f (p99), %.2f (max)\n",
			from, p.Packets, float64(p.Bytes)/1e6, p.Dropped, 100*p.OnTime, milliseconds(p.LateMedian), milliseconds(p.LateP99), milliseconds(p.LateMax))
	}
	for _, p := range r.Parts {
		fmt.Fprintf(&b, "%s: measured at %s by warmpool %s, load average %.2f\n", p.Section, p.Began.Format("15:04"), p.Warmpool, p.Load)
	}
	if r.Plan.Quick {
		b.WriteString("A smoke test: too little to conclude anything from.\n")
	}
	fmt.Fprintf(&b, "All times are round trips (RTT) of %.0f ms, caller to answer: median, and p99 in brackets.\n", milliseconds(r.RTT))
	for _, w := range pooled {
		if m := r.Missing[w]; m != "" {
			fmt.Fprintf(&b, "%s: %s\n", w, m)
		}
	}
	for _, s := range r.shapes() {
		r.printShape(&b, s)
	}
	r.printObjects(&b)
	r.printPosts(&b)
	r.printUploads(&b)
	r.printKeeping(&b)
	r.printLoaded(&b)
	r.printTargets(&b)
	r.printFailures(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) shapes() (shapes []Shape) {
	for _, c := range r.Cells {
		if !slices.Contains(shapes, c.Shape) {
			shapes = append(shapes, c.Shape)
		}
	}
	slices.SortFunc(shapes, func(a, b Shape) int {
		if a.Burst != b.Burst {
			return a.Burst - b.Burst
		}
		if a.Size != b.Size {
			return a.Size - b.Size
		}
		return strings.Compare(a.direction(), b.direction())
	})
	return shapes
}

func (s Shape) direction() string {
	if s.Up {
		return "up"
	}
	return "down"
}

// String is the shape in words.
func (s Shape) String() string {
	text := size(s.Size) + " " + s.direction()
	if s.Burst > 1 {
		return fmt.Sprintf("%d requests at once, %s each, to the last answer", s.Burst, text)
	}
	return text
}

func (r *Report) printShape(b *strings.Builder, s Shape) {
	fmt.Fprintf(b, "\n%s, after idleness of\n", s)
	t := table.Table{{""}}
	for _, idle := range r.Plan.Idles {
		t[0] = append(t[0], seconds(idle))
	}
	t[0] = append(t[0], "requests each")
	for _, o := range r.Plan.origins() {
		t = append(t, []string{fmt.Sprintf("%s, origin closes after %s", schemeName(o.TLS), seconds(o.Closes)), ""})
		for _, w := range append([]Way{NewConnection}, pooled...) {
			line := []string{"  " + string(w)}
			most := 0
			for _, idle := range r.Plan.Idles {
				c := r.cell(w, o, s, idle)
				text := none
				if c != nil && c.Count > 0 {
					text = c.Summary.String()
					most = max(most, c.Count)
				}
				line = append(line, text)
			}
			if most > 0 {
				t = append(t, append(line, fmt.Sprint(most)))
			}
		}
	}
	t.Print(b)
}

// String is the summary as it stands in a table.
func (s Summary) String() string { return fmt.Sprintf("%.2f (%.2f)", s.Median, s.P99) }

// cell finds what was measured; nil when it was not. To a new connection idleness
// and the origin's patience are nothing.
func (r *Report) cell(w Way, o Origin, s Shape, idle time.Duration) *CellReport {
	if w == NewConnection {
		o, idle = r.Plan.patient(o.TLS), 0
	}
	i := slices.IndexFunc(r.Cells, func(c CellReport) bool { return c.Cell == Cell{w, o, s, idle} })
	if i < 0 {
		return nil
	}
	return &r.Cells[i]
}

func (r *Report) printObjects(b *strings.Builder) {
	if len(r.Objects) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%d objects of %s through warmpool, to the last one\n", objects, size(objectSize))
	t := table.Table{{"", "plain", "TLS"}}
	for _, f := range fetchings {
		line := []string{f.name}
		for _, tls := range []bool{false, true} {
			text := none
			for _, o := range r.Objects {
				if o.Way == f.name && o.TLS == tls && o.Count > 0 {
					text = fmt.Sprintf("%.1f", o.Median)
				}
			}
			line = append(line, text)
		}
		t = append(t, line)
	}
	t.Print(b)
}

func (r *Report) printPosts(b *strings.Builder) {
	if len(r.Posts) == 0 {
		return
	}
	fmt.Fprintf(b, "\nPOSTs sent from %s before to %s after the origin closes the idle connection\n", postsBefore, postsAfter)
	t := table.Table{{"", "sent", "failed", "sent when they fail", "carried out twice", "RTT"}}
	for _, p := range r.Posts {
		name := string(p.Way)
		if p.Way == Warmpool {
			name = p.name()
		}
		when := none
		if p.Failed > 0 {
			when = fmt.Sprintf("%+.0f to %+.0f ms", milliseconds(p.Earliest), milliseconds(p.Latest))
		}
		t = append(t, []string{name, fmt.Sprint(p.Sent), fmt.Sprint(p.Failed), when, fmt.Sprint(p.Twice), r.summary(p.Took).String()})
	}
	t.Print(b)
}

func (f *PostsFigures) name() string {
	switch f.Kind {
	case PostNoFloor:
		return "warmpool, no floor, has seen none"
	case PostFirst:
		return "warmpool, floor of 1, has seen none"
	}
	return "warmpool, floor of 1, has seen 3 closes"
}

func (r *Report) printUploads(b *strings.Builder) {
	if len(r.Uploads) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s up through warmpool, %s after the last use of any of %d connections, one of which has a wide window\n",
		size(uploadSize), uploadIdle, uploadAmong)
	t := table.Table{{"tcp_slow_start_after_idle", "RTT", "on the wide one", "of"}}
	for _, u := range r.Uploads {
		setting := "0"
		if u.SlowStartAfterIdle {
			setting = "1"
		}
		t = append(t, []string{setting, r.summary(u.Took).String(), fmt.Sprint(u.Wide), fmt.Sprint(len(u.Took))})
	}
	t.Print(b)
}

func (r *Report) printKeeping(b *strings.Builder) {
	if len(r.Keeping) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s down through warmpool, %s after others have opened the origin's window\n", size(keptSize), keptIdle)
	t := table.Table{{"", "RTT", "downloads", "requests of upkeep"}}
	for _, k := range r.Keeping {
		name := "left alone"
		if k.Kept {
			name = "kept open on request (warm --upkeep)"
		}
		t = append(t, []string{name, r.summary(k.Took).String(), fmt.Sprint(len(k.Took)), fmt.Sprint(k.Requests)})
	}
	t.Print(b)
}

func (r *Report) printLoaded(b *strings.Builder) {
	if len(r.Loaded) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s down through %d connections of warmpool that carry %d requests each, at %.0f %% of their load\n",
		size(r.Plan.Sizes[0]), loadedMax, loadedRequests, 100*loadedShare)
	t := table.Table{{"", "median", "p99", "p99.9", "requests", "dials"}}
	for _, tls := range []bool{false, true} {
		for _, ahead := range []bool{false, true} {
			var took []time.Duration
			var dialed uint64
			for _, l := range r.Loaded {
				if l.TLS == tls && l.Ahead == ahead {
					took, dialed = append(took, l.Took...), dialed+l.Dialed
				}
			}
			slices.Sort(took)
			name := schemeName(tls) + ", dialed when a request asks (preconnect: 1)"
			if ahead {
				name = schemeName(tls) + ", dialed ahead (default)"
			}
			rtt := func(q float64) string { return fmt.Sprintf("%.2f", float64(quantile(took, q))/float64(r.RTT)) }
			t = append(t, []string{name, rtt(0.5), rtt(0.99), rtt(0.999), fmt.Sprint(len(took)), fmt.Sprint(dialed)})
		}
	}
	t.Print(b)
}

func (r *Report) printTargets(b *strings.Builder) {
	if len(r.Targets) == 0 {
		return
	}
	b.WriteString("\nTargets of warmpool, in RTT\n")
	for _, t := range r.Targets {
		verdict := "reached"
		if !t.Reached {
			verdict = "MISSED "
		}
		fmt.Fprintf(b, "  %s  %s\n           wanted: %s\n           shown:  %s\n", verdict, t.What, t.Wanted, t.Shown)
	}
}

func (r *Report) printFailures(b *strings.Builder) {
	say := func(n int, what, first string) {
		if n > 0 {
			fmt.Fprintf(b, "\n%s: %d failed, the first: %s\n", what, n, first)
		}
	}
	for _, c := range r.Cells {
		say(c.Failures, fmt.Sprintf("%s, %s, %s", c.Way, c.Shape, c.Cell), c.First)
	}
	for _, o := range r.Objects {
		say(o.Failures, fmt.Sprintf("%s, %s", o.Way, schemeName(o.TLS)), o.First)
	}
	for _, p := range r.Posts {
		say(p.Failed, fmt.Sprintf("POSTs, %s", p.Way), p.First)
	}
	for _, u := range r.Uploads {
		say(u.Failures, "uploads", u.First)
	}
	for _, l := range r.Loaded {
		say(l.Failures, "requests under load", l.First)
	}
	for _, k := range r.Keeping {
		say(k.Failures, "downloads on a window that was opened before", k.First)
	}
}
