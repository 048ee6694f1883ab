package nonblock

import "net"

// Buffers is a pool of buffers as gRPC's mem.BufferPool is one.
type Buffers interface {
	Get(length int) *[]byte
	Put(buffer *[]byte)
}

// Conn is c, read and written without telling Go's scheduler. Reading is for one
// goroutine at a time, and so is writing. It also has gRPC's
//
//	ReadOnReady(size int, buffers B) (*[]byte, int, error)
//
// A connection that has no socket, and on other systems than Linux any, stays
// what it is.
func Conn[B Buffers](c net.Conn) net.Conn { return wrap[B](c) }
