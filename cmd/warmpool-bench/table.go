package main

import (
	"fmt"
	"io"
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

	b.WriteString("\n  ratio to net/http via HAProxy: median of the rounds (smallest..largest)\n")
	ratios := table.Table{{"", "CPU", "CPU with client", "requests/s"}}
	if g.InFlight == 1 {
		ratios[0] = append(ratios[0], "added p50")
	}
	for _, row := range g.Rows {
		line := []string{row.Name}
		if row.Missing != "" {
			ratios = append(ratios, append(line, row.Missing))
			continue
		}
		line = append(line, row.Ratios.PeerCPU.String(), row.Ratios.TotalCPU.String(), row.Ratios.Throughput.String())
		if g.InFlight == 1 {
			line = append(line, row.Ratios.AddedP50.String())
		}
		ratios = append(ratios, line)
	}
	ratios.Print(b)

	b.WriteString("\n  median of the rounds\n")
	absolute := table.Table{{""}, {""}}
	for _, f := range figures {
		absolute[0] = append(absolute[0], f.name)
		absolute[1] = append(absolute[1], f.unit)
	}
	for _, row := range g.Rows {
		line := []string{row.Name}
		if row.Missing != "" {
			absolute = append(absolute, append(line, "not installed"))
			continue
		}
		for _, f := range figures {
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

// String is the ratio as it stands in a table.
func (r Ratio) String() string {
	if r.IsZero() {
		return none
	}
	return fmt.Sprintf("%.2f (%.2f..%.2f)", r.Median, r.Min, r.Max)
}
