//go:build race

package nonblock

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Under the race detector the calls are the ordinary ones, from which it learns
// what happened before what.

// Read is as without the race detector.
func Read(fd uintptr, p []byte) (int, unix.Errno) { return again(syscall.Read, fd, p) }

// Write is as without the race detector.
func Write(fd uintptr, p []byte) (int, unix.Errno) { return again(syscall.Write, fd, p) }

func again(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, unix.Errno) {
	for {
		n, err := call(int(fd), p)
		switch number(err) {
		case 0:
			return n, 0
		case unix.EINTR:
		default:
			return 0, number(err)
		}
	}
}

// Poll is as without the race detector.
func Poll(fds []unix.PollFd) unix.Errno {
	_, err := unix.Poll(fds, 0)
	return number(err)
}

func number(err error) unix.Errno {
	n, _ := errors.AsType[unix.Errno](err) // they return nothing else
	return n
}
