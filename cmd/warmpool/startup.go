package main

import (
	"math"
	"runtime"
	"runtime/metrics"
	"strconv"
)

// startup is what the first line of the log says of the process: what runs, and
// how the Go runtime is set up, from which the sidecar's CPU and memory follow.
// fromCgroup is the memory limit that was taken from the cgroup, or 0.
//
// gogc and gomemlimit are what holds, as the variables of the environment of
// these names would be written, gomemlimit in bytes.
func startup(fromCgroup int64) []any {
	b := buildVersion()
	gogc, gomemlimit := collector()
	attrs := []any{"version", b.Version}
	if b.Revision != "" {
		attrs = append(attrs, "revision", b.Revision)
	}
	attrs = append(attrs, "go", b.Go, "procs", runtime.GOMAXPROCS(0), "gogc", gogc, "gomemlimit", gomemlimit)
	if fromCgroup > 0 {
		attrs = append(attrs, "gomemlimit_from", "cgroup")
	}
	return attrs
}

// collector reads how the garbage collector is set up. There is no other way to
// read it without setting it.
func collector() (gogc, gomemlimit string) {
	samples := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(samples)
	written := func(s metrics.Sample, none uint64) string {
		if s.Value.Kind() != metrics.KindUint64 || s.Value.Uint64() == none {
			return "off"
		}
		return strconv.FormatUint(s.Value.Uint64(), 10)
	}
	return written(samples[0], math.MaxUint64), written(samples[1], math.MaxInt64)
}
