package sidecar

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// collectAt is how far the heap may grow over what is in use, in per cent, before
// it is collected (GOGC). What is in use is small, a few MiB, so that collecting
// at Go's 100 means doing it hundreds of times a second under load: at 400 a
// request costs a fifth less CPU, for some 12 MiB more memory. The memory limit
// still holds.
//
// It is for a small heap alone. Large bodies make much more of what is in use, of
// which five times would be what a machine has: see boundGrowth.
const collectAt = 400

// growth is by how much, in bytes, the heap may grow over what is in use, where that
// is less than what is in use itself: Go's 100 per cent are the least.
const growth = 256 << 20

// collectAtFor is GOGC for a heap of which so many bytes are in use.
func collectAtFor(inUse uint64) int {
	return int(max(100, min(collectAt, 100*growth/max(1, inUse))))
}

// boundGrowth has GOGC follow, at each collection, what is in use. With 100 callers
// that send and get bodies of 3 MiB, all at once, a heap at 400 came to 2.8 GB.
func boundGrowth() (stop func()) {
	var stopped atomic.Bool
	now := collectAt
	debug.SetGCPercent(now)
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var collected func(*sentinel)
	collected = func(*sentinel) { // one after the other: the runtime has one goroutine for finalizers
		if stopped.Load() {
			return
		}
		runtimemetrics.Read(live)
		if at := collectAtFor(live[0].Value.Uint64()); at != now {
			now = at
			debug.SetGCPercent(now)
		}
		runtime.SetFinalizer(&sentinel{}, collected)
	}
	runtime.SetFinalizer(&sentinel{}, collected)
	return func() { stopped.Store(true) }
}

// sentinel is what nobody refers to, so that each collection finds it. It is not so
// small that it would share its place with other things, nor without a pointer.
type sentinel struct {
	_ *sentinel
	_ [64]byte
}

// TuneRuntime sets up the Go runtime of a process that is a sidecar: as many
// threads as the configuration says, the memory limit that the cgroup sets, and
// how often to collect. What the operator set by GOMEMLIMIT or GOGC stays. It
// returns the memory limit that it set, or 0.
func TuneRuntime(cfg *warmpoolv1.Config) (limit int64) {
	runtime.GOMAXPROCS(int(cfg.GetProcs()))
	if os.Getenv("GOGC") == "" {
		boundGrowth()
	}
	return limitMemory()
}

// memoryShare is how much of the container's memory the Go runtime may fill
// before it collects harder; the rest is for what it does not count: stacks of
// the kernel, socket buffers, the binary.
const memoryShare = 0.9

// limitMemory sets the soft memory limit (GOMEMLIMIT) from the cgroup, unless
// the operator set one. It returns the limit set, or 0.
func limitMemory() int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	most, ok := cgroupMemory(os.DirFS("/"))
	if !ok {
		return 0
	}
	limit := int64(memoryShare * float64(most))
	debug.SetMemoryLimit(limit)
	return limit
}

// cgroupMemory is the smallest memory.max from this process's cgroup up to the
// root of the hierarchy (cgroup v2 mounted at /sys/fs/cgroup), if there is one.
func cgroupMemory(root fs.FS) (int64, bool) {
	const mount = "sys/fs/cgroup"
	own, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	var group string
	for line := range strings.Lines(string(own)) {
		if name, ok := strings.CutPrefix(line, "0::"); ok {
			group = strings.TrimSpace(name)
		}
	}
	if !strings.HasPrefix(group, "/") {
		return 0, false
	}
	least := int64(math.MaxInt64)
	for group = path.Clean(group); ; group = path.Dir(group) {
		// A group of the host's hierarchy is not there in a container that has its own mount: its root is then the group.
		if text, err := fs.ReadFile(root, path.Join(mount, group, "memory.max")); err == nil {
			if most, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && most > 0 {
				least = min(least, most)
			}
		}
		if group == "/" {
			return least, least != math.MaxInt64
		}
	}
}
