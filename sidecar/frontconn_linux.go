package sidecar

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/mem"

	"github.com/warmpool-dev/warmpool/pool/nonblock"
)

// frontConn is a connection that requests come on, read and written without
// telling Go's scheduler (package nonblock). Reading is for one goroutine, and so
// is writing: as gRPC does it.
type frontConn struct {
	net.Conn
	raw    syscall.RawConn
	writer *nonblock.Writer
	take   func(fd uintptr) bool

	// A read under way.
	into []byte
	pool mem.BufferPool // where into comes from, when there is something to read; nil: it is there
	size int
	held *[]byte
	n    int
	err  unix.Errno
}

// newFrontConn takes over a connection; one without a socket stays as it is.
func newFrontConn(c net.Conn) net.Conn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return c
	}
	f := &frontConn{Conn: c, raw: raw, writer: nonblock.NewWriter(raw)}
	f.take = func(fd uintptr) bool {
		if f.pool != nil {
			f.held = f.pool.Get(f.size)
			f.into = *f.held
		}
		f.n, f.err = nonblock.Read(fd, f.into)
		if f.pool != nil && f.n == 0 {
			f.pool.Put(f.held)
			f.held, f.into = nil, nil
		}
		return f.err != unix.EAGAIN
	}
	return f
}

// Read implements net.Conn.
func (f *frontConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.into = p
	n, err := f.read()
	f.into = nil
	return n, err
}

// ReadOnReady is what gRPC reads by where a connection has it: the buffer is
// taken from pool only when there is something to read, so that connections at
// rest hold none.
func (f *frontConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	f.pool, f.size = pool, size
	n, err := f.read()
	held := f.held
	f.pool, f.held, f.into = nil, nil, nil
	return held, n, err
}

func (f *frontConn) read() (int, error) {
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
func (f *frontConn) Write(p []byte) (int, error) { return f.writer.Write(p) }

// SyscallConn implements syscall.Conn, for who wants to know the peer.
func (f *frontConn) SyscallConn() (syscall.RawConn, error) { return f.raw, nil }
