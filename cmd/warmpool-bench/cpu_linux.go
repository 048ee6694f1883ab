package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time, user and system, that a process and all its threads,
// those that have ended included, have used so far. Pid 0 is this process.
//
// It reads the process's CPU clock (clock_getcpuclockid(3)), which is the sum
// that utime and stime of /proc/PID/stat show cut to ticks of 10 ms, here in
// nanoseconds.
func cpuTime(pid int) (time.Duration, error) {
	const schedulerClock = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|schedulerClock, &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// residentBytes is how much of a process is in memory (VmRSS).
func residentBytes(pid int) (int64, error) {
	name := fmt.Sprintf("/proc/%d/status", pid)
	status, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	_, rest, found := bytes.Cut(status, []byte("\nVmRSS:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	kib, unit := bytes.CutSuffix(bytes.TrimSpace(line), []byte(" kB"))
	if !found || !unit {
		return 0, fmt.Errorf("%s: no VmRSS in kB", name)
	}
	n, err := strconv.ParseInt(string(kib), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: VmRSS: %w", name, err)
	}
	return n << 10, nil
}
