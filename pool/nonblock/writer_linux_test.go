package nonblock_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warmpool-dev/warmpool/pool/nonblock"
)

// pair is both ends of a TCP connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func raw(t *testing.T, c *net.TCPConn) syscall.RawConn {
	t.Helper()
	r, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAWriteWaitsForAReaderThatIsSlow(t *testing.T) {
	near, far := pair(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than the kernel's buffers hold
	got := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(far)
		got <- all
	}()
	if n, err := nonblock.NewWriter(raw(t, near)).Write(want); n != len(want) || err != nil {
		t.Fatalf("wrote %d of %d: %v", n, len(want), err)
	}
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, want) {
		t.Error("what arrived is not what was written")
	}
}

func TestAWriteThatFailsSaysHowFarItCame(t *testing.T) {
	near, far := pair(t)
	w := nonblock.NewWriter(raw(t, near))
	const size = 64 << 20 // more than the kernel's buffers hold
	go func() {
		_, _ = far.Read(make([]byte, 1)) // the write has begun
		_ = far.SetLinger(0)
		far.Close()
	}()
	n, err := w.Write(make([]byte, size))
	if n <= 0 || n >= size || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("to a peer that resets the connection: wrote %d: %v", n, err)
	}
	near.Close()
	if n, err := w.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: wrote %d: %v", n, err)
	}
}

func TestReadAndPollTellWhatHasCome(t *testing.T) {
	near, far := pair(t)
	r := raw(t, near)
	look := func() unix.PollFd {
		fds := make([]unix.PollFd, 2) // the other one is nothing's
		fds[1].Fd = -1
		if err := r.Control(func(n uintptr) {
			fds[0] = unix.PollFd{Fd: int32(n), Events: unix.POLLIN | unix.POLLRDHUP}
			if err := nonblock.Poll(fds); err != 0 {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		return fds[0]
	}
	read := func() (n int, err unix.Errno) {
		if failed := r.Control(func(fd uintptr) { n, err = nonblock.Read(fd, make([]byte, 8)) }); failed != nil {
			t.Fatal(failed)
		}
		return n, err
	}
	if fd := look(); fd.Revents != 0 {
		t.Errorf("nothing has come: events %x", fd.Revents)
	}
	if n, err := read(); n != 0 || err != unix.EAGAIN {
		t.Errorf("nothing has come: read %d, %v", n, err)
	}
	if _, err := far.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for look().Revents != unix.POLLIN|unix.POLLRDHUP {
		time.Sleep(time.Millisecond) // the kernel tells no later
	}
	if n, err := read(); n != 3 || err != 0 {
		t.Errorf("three bytes have come: read %d, %v", n, err)
	}
	if n, err := read(); n != 0 || err != 0 {
		t.Errorf("the end has come: read %d, %v", n, err)
	}
}
