package sidecar

import (
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"testing"
	"testing/fstest"
	"time"
)

func TestTheHeapGrowsLessThanFivefoldWhereItIsLarge(t *testing.T) {
	for inUse, want := range map[uint64]int{0: 400, 4 << 20: 400, 64 << 20: 400, 128 << 20: 200, 256 << 20: 100, 600 << 20: 100, 1 << 40: 100} {
		if got := collectAtFor(inUse); got != want {
			t.Errorf("with %d MiB in use it is collected at %d %%, want %d", inUse>>20, got, want)
		}
	}
}

func TestWhenTheHeapIsCollectedFollowsWhatIsInUse(t *testing.T) {
	before := debug.SetGCPercent(100)
	stop := boundGrowth()
	defer func() {
		stop()
		debug.SetGCPercent(before)
	}()
	await := func(what string, so func(percent uint64) bool) {
		t.Helper()
		at := []runtimemetrics.Sample{{Name: "/gc/gogc:percent"}}
		for end := time.Now().Add(30 * time.Second); ; {
			runtime.GC()
			runtimemetrics.Read(at)
			switch percent := at[0].Value.Uint64(); {
			case so(percent):
				return
			case time.Now().After(end):
				t.Fatalf("%s: collected at %d %%", what, percent)
			}
		}
	}
	small := func(percent uint64) bool { return percent == collectAt }
	await("with little in use", small)
	func() {
		bodies := make([][]byte, 300)
		for i := range bodies {
			bodies[i] = make([]byte, 1<<20)
		}
		await("with 300 MiB in use", func(percent uint64) bool { return percent == 100 })
		runtime.KeepAlive(bodies)
	}()
	await("with little in use again", small)
}

func TestTheMemoryLimitIsTheSmallestOnTheWayToTheRoot(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64 // 0: none
	}{
		{"a container's own hierarchy", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n",
		}, gib},
		{"a parent allows less", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "2147483648\n", "sys/fs/cgroup/a/memory.max": "1073741824\n",
		}, gib},
		{"the group lies outside of what is mounted", map[string]string{
			"proc/self/cgroup": "0::/kubepods/pod1/c2\n", "sys/fs/cgroup/memory.max": "1073741824\n",
		}, gib},
		{"no limit", map[string]string{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n",
		}, 0},
		{"cgroup v1", map[string]string{
			"proc/self/cgroup": "4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1073741824\n",
		}, 0},
		{"beside v1, v2 without the memory controller", map[string]string{
			"proc/self/cgroup": "4:memory:/a\n0::/a\n",
		}, 0},
		{"nonsense", map[string]string{
			"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/memory.max": "-5\n",
		}, 0},
		{"no cgroups at all", nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range c.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			got, ok := cgroupMemory(root)
			if ok != (c.want != 0) || ok && got != c.want {
				t.Errorf("want %d, got %d, %v", c.want, got, ok)
			}
		})
	}
}

func TestTheOperatorsMemoryLimitIsLeftAlone(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "1GiB")
	if limit := limitMemory(); limit != 0 {
		t.Errorf("want the operator's GOMEMLIMIT left alone, got %d set", limit)
	}
}
