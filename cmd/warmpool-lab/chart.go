package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// The chart has two panels of times after idleness and one of bars below them.
// It carries its own ground and both sets of colours, so that it can be read
// wherever it is shown.
const (
	chartWidth  = 860
	chartHeight = 586
	panelTop    = 126
	panelHeight = 190
	panelWidth  = 352
	panelLeft   = 48
	panelRight  = 472
	barsTop     = 430
	barsLeft    = 290
	barsWidth   = 480
	barPitch    = 26
)

const chartStyle = `<style>
  .ground { fill: #ffffff; stroke: #d0d7de }
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
  .title { font-size: 16px; font-weight: 600; fill: #1f2328 }
  .head { font-size: 13px; font-weight: 600; fill: #1f2328 }
  .strong { font-weight: 600; fill: #1f2328 }
  .end { text-anchor: end } .middle { text-anchor: middle }
  .grid { stroke: #d8dee4; stroke-width: 1 }
  .w0 { color: #8c959f } .w1 { color: #8250df } .w2 { color: #0969da } .w3 { color: #1a7f37 } .w4 { color: #d9480f }
  .line { fill: none; stroke: currentColor; stroke-width: 1.5; opacity: .5 } .w4 .line { stroke-width: 2.5; opacity: 1 }
  .dot { fill: currentColor } .tail { stroke: currentColor; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #30363d }
    text { fill: #9198a1 } .title, .head, .strong { fill: #f0f6fc }
    .grid { stroke: #2a313c }
    .w0 { color: #7d8590 } .w1 { color: #bc8cff } .w2 { color: #58a6ff } .w3 { color: #3fb950 } .w4 { color: #ff8f52 }
  }
</style>
`

// chart is an SVG document under construction.
type chart struct{ strings.Builder }

func (c *chart) textf(x, y float64, class, format string, args ...any) {
	fmt.Fprintf(c, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", x, y, class, html.EscapeString(fmt.Sprintf(format, args...)))
}

func (c *chart) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(c, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2)
}

// draw writes the chart: what is worth showing of the report.
func (r *Report) draw(w io.Writer) error {
	var c chart
	fmt.Fprintf(&c, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %[1]d %[2]d\" width=\"%[1]d\" height=\"%[2]d\" role=\"img\">\n", chartWidth, chartHeight)
	fmt.Fprintf(&c, "<title>What warm connections are worth, in round trips</title>\n%s", chartStyle)
	fmt.Fprintf(&c, "<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", chartWidth-1, chartHeight-1)
	c.textf(24, 32, "title", "From request to answer, in round trips of %.0f ms", milliseconds(r.RTT))
	r.legend(&c)

	origin, small := r.Plan.impatient(true), r.Plan.Sizes[0]
	under := fmt.Sprintf("TLS 1.3, the server closes idle connections after %s", seconds(origin.Closes))
	r.panel(&c, panelLeft, "One request of "+size(small)+" after idleness", under, origin, Shape{small, false, 1})
	r.panel(&c, panelRight, fmt.Sprintf("%d such requests at once, the last answer", r.Plan.Burst), under, origin, Shape{small, false, r.Plan.Burst})
	r.bars(&c)
	fmt.Fprint(&c, "</svg>\n")
	_, err := io.WriteString(w, c.String())
	return err
}

// chartWays are the ways in the order of their colours.
var chartWays = append([]Way{NewConnection}, pooled...)

func (r *Report) legend(c *chart) {
	x := 24.0
	for i, w := range chartWays {
		fmt.Fprintf(c, "<circle class=\"dot w%d\" cx=\"%.1f\" cy=\"54\" r=\"4.5\"/>\n", i, x+5)
		c.textf(x+15, 58, map[bool]string{true: "strong", false: ""}[w == Warmpool], "%s", w)
		x += 38 + 7*float64(len(w))
	}
	c.textf(chartWidth-24, 58, "end", "dot: median, tail: up to p99")
}

// panel draws each way's times over idleness.
func (r *Report) panel(c *chart, left float64, title, under string, o Origin, s Shape) {
	const head = 36
	c.textf(left-24, panelTop-head, "head", "%s", title)
	c.textf(left-24, panelTop-head+17, "", "%s", under)
	most := 1.0
	for _, w := range chartWays {
		for _, idle := range r.Plan.Idles {
			if m := r.cell(w, o, s, idle); m != nil {
				most = max(most, m.P99)
			}
		}
	}
	top := math.Ceil(most*2) / 2
	y := func(rtt float64) float64 { return panelTop + panelHeight*(1-rtt/top) }
	for rtt := 0.0; rtt <= top; rtt++ {
		c.line("grid", left, y(rtt), left+panelWidth, y(rtt))
		c.textf(left-8, y(rtt)+4, "end", "%.0f", rtt)
	}
	c.textf(left+panelWidth, panelTop+panelHeight+36, "end", "idle before the request")
	pitch := panelWidth / float64(len(r.Plan.Idles))
	for i, idle := range r.Plan.Idles {
		c.textf(left+pitch*(float64(i)+0.5), panelTop+panelHeight+18, "middle", "%s", seconds(idle))
	}
	const apart = 11.0 // ways beside each other
	for i, w := range chartWays {
		var path, marks strings.Builder
		for j, idle := range r.Plan.Idles {
			m := r.cell(w, o, s, idle)
			if m == nil || m.Count == 0 {
				continue
			}
			x := left + pitch*(float64(j)+0.5) + apart*(float64(i)-float64(len(chartWays)-1)/2)
			fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[path.Len() == 0], x, y(m.Median))
			fmt.Fprintf(&marks, "<line class=\"tail\" x1=\"%.1[1]f\" x2=\"%.1[1]f\" y1=\"%.1[2]f\" y2=\"%.1[3]f\"/><circle class=\"dot\" cx=\"%.1[1]f\" cy=\"%.1[2]f\" r=\"4\"/>",
				x, y(m.Median), y(m.P99))
		}
		if path.Len() > 0 {
			fmt.Fprintf(c, "<g class=\"w%d\"><path class=\"line\" d=\"%s\"/>%s</g>\n", i, path.String(), marks.String())
		}
	}
}

// bars draws the comparison of the objects.
func (r *Report) bars(c *chart) {
	c.textf(panelLeft-24, barsTop-34, "head", "%d objects of %s through warmpool, without TLS", objects, size(objectSize))
	most := 0.0
	for _, o := range r.Objects {
		if !o.TLS {
			most = max(most, o.Median)
		}
	}
	y := float64(barsTop - 14)
	for _, o := range r.Objects {
		if o.TLS || o.Count == 0 {
			continue
		}
		long := barsWidth * o.Median / most
		c.textf(barsLeft-10, y+13, "end", "%s", o.Way)
		fmt.Fprintf(c, "<rect class=\"dot w%d\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"16\" rx=\"2\"/>\n",
			map[bool]int{true: 0, false: len(chartWays) - 1}[strings.HasPrefix(o.Way, "new")], barsLeft, y, max(long, 2))
		c.textf(barsLeft+long+8, y+13, "strong", "%.1f", o.Median)
		y += barPitch
	}
}
