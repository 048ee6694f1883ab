package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/warmpool-dev/warmpool/cmd/internal/table"
)

// none stands where a row has no such figure.
const none = "–"

// print writes the report for people: ratios first, then figures.
func (r *Report) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Environment)
	if r.Quick {
		b.WriteString("A smoke test: too short to conclude anything from.\n")
	}
	for i := range r.Groups {
		r.Groups[i].print(&b)
	}
	printGoals(&b, r.Goals)
	for _, g := range r.Groups {
		for _, row := range g.Rows {
			if row.Errors > 0 {
				fmt.Fprintf(&b, "\n%s: %d wrong answers, the first: %s\n", row.ID(), row.Errors, row.FirstError)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (g *GroupReport) print(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s: %d rounds of %d requests\n", g.Load, g.Rounds, g.Requests)

	fmt.Fprintf(b, "\n  ratio to %s: median of the rounds (smallest..largest)\n", g.Base)
	columns := g.columns()
	ratios := table.Table{{""}}
	for _, c := range columns {
		ratios[0] = append(ratios[0], c.name)
	}
	for _, row := range g.Rows {
		line := []string{row.Name}
		if row.Missing != "" {
			ratios = append(ratios, append(line, row.Missing))
			continue
		}
		for _, c := range columns {
			line = append(line, c.of(&row.Ratios).String())
		}
		ratios = append(ratios, line)
	}
	ratios.Print(b)

	b.WriteString("\n  median of the rounds\n")
	absolute := table.Table{{""}, {""}}
	shown := slices.DeleteFunc(slices.Clone(figures), func(f figure) bool { return f.about != Peers && f.about != g.About })
	for _, f := range shown {
		absolute[0] = append(absolute[0], f.name)
		absolute[1] = append(absolute[1], f.unit)
	}
	for _, row := range g.Rows {
		line := []string{row.Name}
		if row.Missing != "" {
			absolute = append(absolute, append(line, "not installed"))
			continue
		}
		for _, f := range shown {
			cell := strconv.FormatFloat(*f.of(&row.Median), 'f', f.digits, 64)
			if f.ofPeer && row.Peer == Direct {
				cell = none
			}
			line = append(line, cell)
		}
		absolute = append(absolute, line)
	}
	absolute.Print(b)
}

// column is a ratio as a table shows it.
type column struct {
	name string
	of   func(*Ratios) Ratio
}

// columns are the ratios that say something of the group.
func (g *GroupReport) columns() []column {
	if g.About == Callers {
		return []column{{"p99", latestPercent}}
	}
	columns := []column{{"CPU", peerCPU}, {"CPU with client", totalCPU}, {"requests/s", throughput}}
	if g.InFlight == 1 {
		columns = append(columns, column{"added p50", addedP50})
	}
	return columns
}

// String is the ratio as it stands in a table.
func (r Ratio) String() string {
	if r.IsZero() {
		return none
	}
	return fmt.Sprintf("%.2f (%.2f..%.2f)", r.Median, r.Min, r.Max)
}
