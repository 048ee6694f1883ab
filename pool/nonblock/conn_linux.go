package nonblock

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// conn is what Conn makes of a connection with a socket.
type conn[B Buffers] struct {
	net.Conn
	raw    syscall.RawConn
	writer *Writer
	take   func(fd uintptr) bool

	// A read under way.
	into    []byte
	fetches bool // into comes from buffers, when there is something to read
	buffers B
	size    int
	held    *[]byte
	n       int
	err     unix.Errno
}

func wrap[B Buffers](c net.Conn) net.Conn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return c
	}
	f := &conn[B]{Conn: c, raw: raw, writer: NewWriter(raw)}
	f.take = func(fd uintptr) bool {
		if f.fetches {
			f.held = f.buffers.Get(f.size)
			f.into = *f.held
		}
		f.n, f.err = Read(fd, f.into)
		if f.fetches && f.n == 0 {
			f.buffers.Put(f.held)
			f.held, f.into = nil, nil
		}
		return f.err != unix.EAGAIN
	}
	return f
}

// Read implements net.Conn.
func (f *conn[B]) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.into = p
	n, err := f.read()
	f.into = nil
	return n, err
}

// ReadOnReady is what gRPC reads by where a connection has it: the buffer is
// taken from buffers only when there is something to read, so that connections at
// rest hold none.
func (f *conn[B]) ReadOnReady(size int, buffers B) (*[]byte, int, error) {
	f.fetches, f.buffers, f.size = true, buffers, size
	n, err := f.read()
	held := f.held
	var none B
	f.fetches, f.buffers, f.held, f.into = false, none, nil, nil
	return held, n, err
}

func (f *conn[B]) read() (int, error) {
	f.n, f.err = 0, 0
	err := f.raw.Read(f.take)
	switch {
	case err != nil:
	case f.err != 0:
		err = os.NewSyscallError("read", f.err)
	case f.n == 0:
		err = io.EOF
	}
	return f.n, err
}

// Write implements net.Conn.
func (f *conn[B]) Write(p []byte) (int, error) { return f.writer.Write(p) }

// SyscallConn implements syscall.Conn, for who wants to know the peer.
func (f *conn[B]) SyscallConn() (syscall.RawConn, error) { return f.raw, nil }
