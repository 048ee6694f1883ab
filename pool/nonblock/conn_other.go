//go:build !linux

package nonblock

import "net"

func wrap[B Buffers](c net.Conn) net.Conn { return c }
