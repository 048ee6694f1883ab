//go:build !race

package nonblock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads what has come, at most len(p) bytes, which must be one at least. It
// returns 0 and no error at the end, EAGAIN when nothing has come.
func Read(fd uintptr, p []byte) (int, unix.Errno) {
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0) //nolint:gosec // as unix.Recvfrom does
		switch err {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, err
		}
	}
}

// Write writes what there is room for of p, which must hold one byte at least. It
// returns EAGAIN when there is room for none.
func Write(fd uintptr, p []byte) (int, unix.Errno) {
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0) //nolint:gosec // as unix.Sendto does
		switch err {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, err
		}
	}
}

// Poll asks what is the matter with descriptors, at least one, and does not wait
// for anything to be.
func Poll(fds []unix.PollFd) unix.Errno {
	var now unix.Timespec
	_, _, err := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), uintptr(unsafe.Pointer(&now)), 0, 0, 0) //nolint:gosec // as unix.Poll does
	return err
}
