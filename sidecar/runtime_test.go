package sidecar

import (
	"testing"
	"testing/fstest"
)

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
