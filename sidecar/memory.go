package sidecar

import (
	"math/bits"
	"sync"

	"google.golang.org/grpc/mem"
)

// messages is where the memory of messages comes from, those that gRPC receives
// and those that it sends, and where it goes to when they are over.
//
// gRPC's own pool clears what it lends, all of it, and its size above 32 KiB is
// 1 MiB: a message of 33 KiB costs clearing 1 MiB. Here nothing is cleared, since
// all that is lent is written before it is read, and the sizes are the powers of
// two.
var messages messagePool

const (
	leastMessage = 12 // 4 KiB; bits of the size
	mostMessage  = 18 // 256 KiB; what is larger is not kept for the next one
)

type messagePool struct {
	sizes [mostMessage - leastMessage + 1]sync.Pool
}

var _ mem.BufferPool = (*messagePool)(nil)

// Get implements mem.BufferPool.
func (p *messagePool) Get(length int) *[]byte {
	size := leastMessage
	if length > 1<<leastMessage {
		size = bits.Len(uint(length - 1))
	}
	if size > mostMessage {
		b := make([]byte, length)
		return &b
	}
	b, ok := p.sizes[size-leastMessage].Get().(*[]byte)
	if !ok {
		fresh := make([]byte, 1<<size)
		b = &fresh
	}
	*b = (*b)[:length]
	return b
}

// Put implements mem.BufferPool.
func (p *messagePool) Put(b *[]byte) {
	size := bits.Len(uint(cap(*b))) - 1
	if size < leastMessage || size > mostMessage {
		return
	}
	p.sizes[size-leastMessage].Put(b)
}
