package child

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// CPUs are those that this thread, and what is started by it, may run on, by the
// kernel's numbers; nil where the kernel does not say.
func CPUs() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var cpus []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// onCPUs has start start a process that may run on cpus only; nil: on all that this
// thread may. The thread, to which the caller's goroutine is locked, keeps its own.
func onCPUs(cpus []int, start func() error) error {
	if cpus == nil {
		return start()
	}
	var own, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("sched_setaffinity to CPUs %d: %w", cpus, err)
	}
	started := start()
	if err := unix.SchedSetaffinity(0, &own); err != nil && started == nil {
		return fmt.Errorf("sched_setaffinity back to all CPUs: %w", err)
	}
	return started
}
