// Package table aligns what a command prints.
package table

import (
	"strings"
	"unicode/utf8"
)

// Table is lines of cells: the first column is flush left, the others flush
// right. A line of two cells is a name and a remark, and widens no column.
type Table [][]string

// Print writes the lines, indented by two blanks.
func (t Table) Print(b *strings.Builder) {
	var widths []int
	for _, line := range t {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if remark := len(line) == 2 && i == 1; !remark {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for _, line := range t {
		var text strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
			switch {
			case i == 0:
				text.WriteString("  " + cell + pad)
			case len(line) == 2:
				text.WriteString("  " + cell)
			default:
				text.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
}
