//go:build unix

package sidecar

import (
	"math"
	"syscall"
)

// descriptorLimit is how many files the process may have open; 0: it is not known,
// or there is no limit. The runtime has raised it as far as it may at the start.
func descriptorLimit() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0
	}
	if most := uint64(r.Cur); most <= math.MaxInt32 { //nolint:unconvert // the type differs between systems
		return int(most)
	}
	return 0
}
