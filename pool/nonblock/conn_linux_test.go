package nonblock_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool/nonblock"
)

// counted is Buffers that know how many are out.
type counted struct{ out atomic.Int64 }

func (c *counted) Get(n int) *[]byte {
	c.out.Add(1)
	b := make([]byte, n)
	return &b
}

func (c *counted) Put(*[]byte) { c.out.Add(-1) }

// onReady is a connection as gRPC reads it.
type onReady interface {
	ReadOnReady(size int, buffers *counted) (*[]byte, int, error)
}

func TestABufferIsTakenOnlyWhenThereIsSomethingToRead(t *testing.T) {
	near, far := pair(t)
	c := nonblock.Conn[*counted](near)
	r, ok := c.(onReady)
	if !ok {
		t.Fatalf("%T has no ReadOnReady", c)
	}
	var buffers counted
	type result struct {
		held *[]byte
		n    int
		err  error
	}
	read := make(chan result)
	next := func() {
		held, n, err := r.ReadOnReady(8, &buffers)
		read <- result{held, n, err}
	}
	go next()
	if _, err := far.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got.err != nil || got.n != 3 || string((*got.held)[:3]) != "abc" {
		t.Fatalf("%d bytes, %v", got.n, got.err)
	}
	if n := buffers.out.Load(); n != 1 {
		t.Errorf("%d buffers are out, want the one that was returned", n)
	}

	go next() // nothing is there any more: whatever it tried with has to be back while it waits
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := <-read; !errors.Is(got.err, io.EOF) || got.n != 0 || got.held != nil {
		t.Errorf("at the end: %v, %d bytes, %v", got.held, got.n, got.err)
	}
	if n := buffers.out.Load(); n != 1 {
		t.Errorf("after the end %d buffers are out, want 1", n)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read at the end: %d, %v", n, err)
	}
}

func TestAConnIsANetConn(t *testing.T) {
	near, far := pair(t)
	c := nonblock.Conn[*counted](near)
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("reading nothing: %d, %v", n, err)
	}
	if n, err := c.Write([]byte("hello")); n != 5 || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(got); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after its deadline: %d, %v", n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := c.Read(got)
		ended <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while reading: %v", err)
	}
}

func TestAReadTellsOfAReset(t *testing.T) {
	near, far := pair(t)
	c := nonblock.Conn[*counted](near)
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	far.Close()
	n, err := c.Read(make([]byte, 1))
	if call, ok := errors.AsType[*os.SyscallError](err); n != 0 || !ok || call.Syscall != "read" {
		t.Errorf("%d, %v, want an error of read", n, err)
	}
}

func TestAConnectionWithoutASocketStaysAsItIs(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if c := nonblock.Conn[*counted](near); c != near {
		t.Errorf("%T", c)
	}
}
