package soak_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

// stock is what a process holds.
type stock struct {
	descriptors []string
	goroutines  goleak.Option
}

func takeStock(t *testing.T) stock {
	t.Helper()
	return stock{descriptors: descriptors(t), goroutines: goleak.IgnoreCurrent()}
}

// compare fails the test for what is held now and was not before.
func (s stock) compare(t *testing.T) {
	t.Helper()
	if err := goleak.Find(s.goroutines); err != nil {
		t.Error(err)
	}
	now := descriptors(t)
	if len(now) > len(s.descriptors) {
		t.Errorf("%d descriptors are open, %d were before:\nnow    %q\nbefore %q", len(now), len(s.descriptors), now, s.descriptors)
	}
}

// descriptors are the process's open ones, but for those of the runtime's own.
func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || slices.Contains([]string{"anon_inode:[eventpoll]", "anon_inode:[eventfd]"}, to) { // the first is ReadDir's own
			continue
		}
		open = append(open, to)
	}
	return open
}

// heapInUse is the memory that something still refers to.
func heapInUse() uint64 {
	for range 3 { // pools are emptied by the second collection
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
