package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// Environment is what a run ran on and with.
type Environment struct {
	Kernel    string  `json:"kernel"`
	CPUs      int     `json:"cpus"` // that this process may use
	Processor string  `json:"processor,omitempty"`
	Load      float64 `json:"load_average"` // of the last minute before the run; of other work, the ratios still hold
	Go        string  `json:"go"`
	GRPC      string  `json:"grpc"`              // grpc-go, of warmpool
	HAProxy   string  `json:"haproxy,omitempty"` // empty: not installed
	Warmpool  string  `json:"warmpool"`          // version and revision of the binary
}

// String is the environment on one line.
func (e Environment) String() string {
	cpus := fmt.Sprintf("%d CPUs", e.CPUs)
	if e.Processor != "" {
		cpus += " (" + e.Processor + ")"
	}
	haproxy := "HAProxy " + e.HAProxy
	if e.HAProxy == "" {
		haproxy = "HAProxy not installed"
	}
	return strings.Join([]string{
		e.Kernel, cpus, fmt.Sprintf("load average %.2f before", e.Load), e.Go, "grpc-go " + e.GRPC, haproxy, "warmpool " + e.Warmpool,
	}, ", ")
}

// environment looks at the machine and the binaries.
func (b *bench) environment(ctx context.Context) (Environment, error) {
	e := Environment{Kernel: kernel(), CPUs: runtime.NumCPU(), Processor: processor()}
	var err error
	if e.Load, err = loadAverage(); err != nil {
		return e, err
	}
	info, err := buildinfo.ReadFile(b.warmpool)
	if err != nil {
		return e, fmt.Errorf("%s: not a Go binary: %w", b.warmpool, err)
	}
	e.Go, e.GRPC, e.Warmpool = info.GoVersion, dependency(info, "google.golang.org/grpc"), revision(info)
	if b.haproxy != "" {
		said, err := exec.CommandContext(ctx, b.haproxy, "-v").Output() //nolint:gosec // found by findHAProxy
		if err != nil {
			return e, fmt.Errorf("%s -v: %w", b.haproxy, err)
		}
		// "HAProxy version 2.6.12-1+deb12u1 2023/12/16 - https://haproxy.org/"
		e.HAProxy = "of unknown version"
		if words := strings.Fields(string(said)); len(words) > 2 {
			e.HAProxy = words[2]
		}
	}
	return e, nil
}

func dependency(info *debug.BuildInfo, path string) string {
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return "unknown"
}

func revision(info *debug.BuildInfo) string {
	text := []string{info.Main.Version}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text = append(text, s.Value[:min(12, len(s.Value))])
		case s.Key == "vcs.modified" && s.Value == "true":
			text = append(text, "modified")
		}
	}
	return strings.Join(text, " ")
}
