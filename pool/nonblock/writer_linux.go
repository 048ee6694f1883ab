package nonblock

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Writer writes to a connection. It is for one goroutine at a time.
type Writer struct {
	raw  syscall.RawConn
	give func(fd uintptr) bool
	rest []byte // not accepted by the kernel yet
	err  unix.Errno
}

// NewWriter makes a Writer to a socket that does not block.
func NewWriter(raw syscall.RawConn) *Writer {
	w := &Writer{raw: raw}
	w.give = func(fd uintptr) bool {
		for len(w.rest) > 0 {
			n, err := Write(fd, w.rest)
			switch err {
			case 0:
				w.rest = w.rest[n:]
			case unix.EAGAIN:
				return false
			default:
				w.err = err
				return true
			}
		}
		return true
	}
	return w
}

// Write implements io.Writer. It waits until the kernel has accepted all of p.
func (w *Writer) Write(p []byte) (int, error) {
	w.rest, w.err = p, 0
	err := w.raw.Write(w.give)
	n := len(p) - len(w.rest)
	w.rest = nil
	if err == nil && w.err != 0 {
		err = os.NewSyscallError("write", w.err)
	}
	return n, err
}
