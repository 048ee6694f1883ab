package sidecar

import (
	"fmt"
	"os"
	"strings"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/warmpool-dev/warmpool/pool"
)

func TestTheReadmeListsEveryMetric(t *testing.T) {
	provider := sdkmetric.NewMeterProvider()
	m, err := newMetrics(provider.Meter(scope))
	if err != nil {
		t.Fatal(err)
	}
	p := pool.New(pool.Options{})
	if err := m.observeFigures(p, func() int { return 0 }, func() filesRead { return filesRead{} }, func() (pool.Stats, bool) { return pool.Stats{}, false }); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| metric | in Prometheus | kind | told apart by | meaning |\n|---|---|---|---|---|\n")
	for _, d := range m.described {
		fmt.Fprintf(&want, "| `%s` | `%s` | %s | %s | %s |\n", d.name, inPrometheus(d), d.kind, d.by, d.description)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "<!-- metrics -->\n\n")
	got, _, _ := strings.Cut(after, "\n<!-- /metrics -->")
	if got != want.String() {
		t.Errorf("README.md does not list the metrics as they are. Between its marks must stand:\n%s", want.String())
	}
}

// inPrometheus is a metric's name there, without the suffixes of a histogram.
func inPrometheus(d described) string {
	name := strings.ReplaceAll(d.name, ".", "_")
	switch d.unit {
	case "s":
		name += "_seconds"
	case "By":
		name += "_bytes"
	}
	if d.kind == "counter" {
		name += "_total"
	}
	return name
}
