//go:build !linux

package pool

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// socket is the file descriptor under a connection; what Linux can tell of it
// is not asked elsewhere.
type socket struct{}

func newSocket(net.Conn, *arrivals) socket { return socket{} }

func (socket) read([]byte) (int, error) { return 0, errors.ErrUnsupported }

func (socket) write([]byte) (int, error) { return 0, errors.ErrUnsupported }

func (socket) gather(bool) {}

func (socket) look() (readable, ended bool) { return false, false }

type sockets struct{}

func (*sockets) look([]*conn, instant) {}

func (socket) awaitReset(time.Duration) error { return nil }

func (socket) acked() (int64, bool) { return 0, false }

func (socket) over() bool { return false }

func (socket) rtt() time.Duration { return 0 }

func setSocketOptions(syscall.RawConn, *TCPPolicy) error { return nil }

func localPorts() int { return 0 }
