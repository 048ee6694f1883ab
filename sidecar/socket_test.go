package sidecar

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestWhoLeavesASocketDoesNotRemoveThatOfASuccessorWhoComesAtThatMoment(t *testing.T) {
	dir, err := os.MkdirTemp("", "wp") //nolint:usetesting // t.TempDir's names contain the test's, which is a sentence
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	bind := func() *unixSocket {
		s, err := listenUnix(path, socketAccess{mode: 0o600, group: -1})
		if err != nil {
			t.Error(err)
		}
		return s
	}
	now := bind()
	for range 1000 {
		old := now
		var both sync.WaitGroup
		both.Go(func() { _ = old.Close() })
		both.Go(func() { now = bind() })
		both.Wait()
		if t.Failed() {
			return
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("the successor cannot be reached: %v", err)
		}
		_ = conn.Close()
	}
	_ = now.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the last one has left its socket")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
