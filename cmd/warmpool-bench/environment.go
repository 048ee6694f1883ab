package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"github.com/warmpool-dev/warmpool/cmd/internal/machine"
	"github.com/warmpool-dev/warmpool/cmd/internal/program"
)

// Environment is what a run ran on and with.
type Environment struct {
	Kernel      string  `json:"kernel"`
	CPUs        int     `json:"cpus"`         // that this process may use
	Placement   string  `json:"placement"`    // which CPUs the processes run on, in words
	ClientProcs int     `json:"client_procs"` // GOMAXPROCS of the clients
	Processor   string  `json:"processor,omitempty"`
	Load        float64 `json:"load_average"` // of the last minute before the run; of other work, the ratios still hold
	Go          string  `json:"go"`
	GRPC        string  `json:"grpc"`              // grpc-go, of warmpool
	HAProxy     string  `json:"haproxy,omitempty"` // empty: not installed
	Warmpool    string  `json:"warmpool"`          // version and revision of the binary
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
		e.Kernel, cpus, e.Placement, fmt.Sprintf("GOMAXPROCS=%d for clients", e.ClientProcs), fmt.Sprintf("load average %.2f before", e.Load), e.Go, "grpc-go " + e.GRPC, haproxy, "warmpool " + e.Warmpool,
	}, ", ")
}

// environment looks at the machine and the binaries.
func (b *bench) environment(ctx context.Context) (Environment, error) {
	e := Environment{Kernel: machine.Kernel(), CPUs: runtime.NumCPU(), Placement: b.placement.String(), ClientProcs: b.clientProcs, Processor: machine.Processor()}
	var err error
	if e.Load, err = machine.LoadAverage(); err != nil {
		return e, err
	}
	info, err := buildinfo.ReadFile(b.warmpool)
	if err != nil {
		return e, fmt.Errorf("%s: not a Go binary: %w", b.warmpool, err)
	}
	e.Go, e.GRPC, e.Warmpool = info.GoVersion, program.Dependency(info, "google.golang.org/grpc"), program.Revision(info)
	if b.haproxy != "" {
		said, err := exec.CommandContext(ctx, b.haproxy, "-v").Output() //nolint:gosec // found by program.Find
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
