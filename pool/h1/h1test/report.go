package h1test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is the results of many cases.
type Report struct{ Results []Result }

// Count is the number of results with that verdict; strictness "" is any.
func (r *Report) Count(v Verdict, s Strictness) int {
	n := 0
	for i := range r.Results {
		if r.Results[i].Verdict == v && (s == "" || r.Results[i].Strictness == s) {
			n++
		}
	}
	return n
}

// WriteTo writes a table of group by strictness and then every result that is
// not Pass with its reason.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	r.table(&b)
	for _, v := range []Verdict{Fail, Deviation, Skip} {
		r.list(&b, v)
	}
	return b.WriteTo(w)
}

// String is what WriteTo writes.
func (r *Report) String() string {
	var b strings.Builder
	_, _ = r.WriteTo(&b) // cannot fail
	return b.String()
}

func (r *Report) table(w io.Writer) {
	type row struct {
		group string
		s     Strictness
	}
	counts := make(map[row]*[4]int)
	var total [4]int
	var rows []row
	for i := range r.Results {
		res := &r.Results[i]
		k := row{res.Group, res.Strictness}
		if counts[k] == nil {
			counts[k] = new([4]int)
			rows = append(rows, k)
		}
		counts[k][res.Verdict]++
		total[res.Verdict]++
	}
	rank := []Strictness{Must, Should, Either}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.group, b.group), slices.Index(rank, a.s)-slices.Index(rank, b.s))
	})
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(group, s string, n [4]int) {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t\n", group, s, n[Pass], n[Deviation], n[Fail], n[Skip])
	}
	fmt.Fprintln(t, "group\tstrictness\tpass\tdeviation\tfail\tskip\t")
	for _, k := range rows {
		line(k.group, string(k.s), *counts[k])
	}
	line("all", "", total)
	_ = t.Flush() // to a buffer
}

func (r *Report) list(w io.Writer, v Verdict) {
	n := r.Count(v, "")
	if n == 0 {
		return
	}
	fmt.Fprintf(w, "\n%v: %d\n", v, n)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range r.Results {
		if res := &r.Results[i]; res.Verdict == v {
			fmt.Fprintf(t, "  %s/%s\t%s\t%s\n", res.Group, res.Name, res.Strictness, res.Reason)
		}
	}
	_ = t.Flush()
}
