//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package sidecar

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// lockPatience is how long whoever holds a folder's lock is waited for. It is held
// for two system calls, unless somebody else uses it for something else.
const lockPatience = 100 * time.Millisecond

// lockFolder has sidecars exchange and remove sockets in a folder one at a time. It
// locks the folder itself, so that no file is left behind. Where that is not
// possible it does nothing: what it keeps apart rarely meets.
func lockFolder(dir string) (unlock func()) {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(end) {
			return func() { _ = f.Close() } // which unlocks it
		}
	}
}
