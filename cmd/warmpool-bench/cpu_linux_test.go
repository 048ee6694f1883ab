package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestCPUTimeIsWhatProcStatShowsInTicks(t *testing.T) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	before, err := cpuTime(0)
	if err != nil {
		t.Fatal(err)
	}
	shown := statTime(t)
	after, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// User and system time are cut to ticks each by itself.
	if shown < before-2*tick || shown > after {
		t.Errorf("/proc/self/stat shows %s, the clock showed %s before and %s after", shown, before, after)
	}
	if after <= before {
		t.Errorf("the clock went from %s to %s", before, after)
	}
}

func TestCPUTimeOfAProcessThatIsGoneIsAnError(t *testing.T) {
	const above = 1 << 22 // of the largest pid the kernel gives
	if d, err := cpuTime(above + 1); err == nil {
		t.Errorf("CPU time of no process is %s", d)
	}
}

func TestResidentBytesOfThisProcess(t *testing.T) {
	n, err := residentBytes(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if n < 1<<20 {
		t.Errorf("%d bytes of a Go process are resident", n)
	}
}

// statTime is utime plus stime of /proc/self/stat (proc(5), fields 14 and 15).
func statTime(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
