package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// columns is a table for people: a head, lines, each column as wide as it must be.
// With usual values a table is to fit into 80 columns; what has no place there is left
// out unless all of it is asked for.
type columns struct {
	heads []head
	lines [][]string
	wide  bool // every column
}

// head begins a column: its name, and before it, in this order, "+" where the column
// is for wide tables, and ">" where it is flush right, as numbers are read. With
// "=this|that" behind the name the column is also shown where a cell says anything
// else: there is something to see.
type head string

// parts takes a head apart.
func (h head) parts() (name string, wide, right bool, usual []string) {
	text, wide := strings.CutPrefix(string(h), "+")
	text, right = strings.CutPrefix(text, ">")
	name, list, ok := strings.Cut(text, "=")
	if ok {
		usual = strings.Split(list, "|")
	}
	return name, wide, right, usual
}

// shown reports whether the column that h begins is: c's, at i.
func (c *columns) shown(i int, h head) bool {
	_, wide, _, usual := h.parts()
	return !wide || c.wide || usual != nil && slices.ContainsFunc(c.lines, func(line []string) bool {
		return !slices.Contains(usual, line[i])
	})
}

func (c *columns) add(cells ...string) { c.lines = append(c.lines, cells) }

// print writes the table; empty is written in the place of no lines.
func (c *columns) print(w io.Writer, style style, empty string) {
	if len(c.lines) == 0 {
		fmt.Fprintln(w, empty)
		return
	}
	heads := make([]string, len(c.heads))
	widths := make([]int, len(c.heads)) // 0: the column is not shown
	rights := make([]bool, len(c.heads))
	for i, head := range c.heads {
		heads[i], _, rights[i], _ = head.parts()
		if !c.shown(i, head) {
			continue
		}
		widths[i] = utf8.RuneCountInString(heads[i])
		for _, line := range c.lines {
			widths[i] = max(widths[i], utf8.RuneCountInString(line[i]))
		}
	}
	write := func(cells []string) string {
		var b strings.Builder
		for i, cell := range cells {
			if widths[i] == 0 {
				continue
			}
			if b.Len() > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if rights[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		return strings.TrimRight(b.String(), " ")
	}
	fmt.Fprintln(w, style.bold(write(heads)))
	for _, line := range c.lines {
		fmt.Fprintln(w, write(line))
	}
}

// none stands in a cell of which nothing is known.
const none = "-"

// span writes a duration with two or three digits that matter and its unit.
func span(d time.Duration) string {
	switch {
	case d <= 0:
		return none
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return whole(d.Round(time.Second))
	default:
		return whole(d.Round(time.Minute))
	}
}

// whole leaves out the seconds of whole minutes, and the minutes of whole hours.
func whole(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// ago writes how long before now something was, and then sep; nothing where that
// is not known.
func ago(t *timestamppb.Timestamp, now time.Time, sep string) string {
	if t == nil {
		return ""
	}
	return span(max(now.Sub(t.AsTime()), time.Microsecond)) + " ago" + sep
}

// clock writes a time of day, as the clock on the wall shows it.
func clock(t *timestamppb.Timestamp) string {
	return t.AsTime().Local().Format("15:04:05.000") //nolint:gosmopolitan // a person compares it with the clock
}

// size writes a number of bytes.
func size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= 1023.5 && unit < 4 {
		value /= 1024
		unit++
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f %s", value, [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
	}
	return fmt.Sprintf("%.0f %s", value, [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// count writes a number, and nothing much for none.
func count[N uint32 | uint64 | int](n N) string {
	if n == 0 {
		return none
	}
	return fmt.Sprint(n)
}

// word is the name of an enum's value as people read it: "paused" for
// UPSTREAM_STATE_PAUSED.
func word(value fmt.Stringer, prefix string) string {
	text := strings.ToLower(strings.TrimPrefix(value.String(), prefix))
	if text == "unspecified" {
		return none
	}
	return text
}

func or(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}
