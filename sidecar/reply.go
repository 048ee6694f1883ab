package sidecar

import (
	"slices"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// reply is an HttpResponse that is written, in its encoded form, while the
// response arrives: the sink of an exchange whose answer is one message. The body
// is read from the connection into its place in the message.
type reply struct {
	message []byte
	open    int // where the length of a body of unknown length is to stand; 0: nowhere
}

// Head implements pool.Sink.
func (r *reply) Head(head *h1.Head, length int64) error {
	m := r.message[:0]
	m = protowire.AppendTag(m, responseStatus, protowire.VarintType)
	m = protowire.AppendVarint(m, uint64(head.Status))
	for name, value := range head.EndToEnd {
		m = appendHeader(m, responseHeaders, name, value)
	}
	r.open = 0
	switch {
	case length > 0:
		m = protowire.AppendTag(m, responseBody, protowire.BytesType)
		m = protowire.AppendVarint(m, uint64(length))
		m = slices.Grow(m, int(length))
	case length < 0:
		m = protowire.AppendTag(m, responseBody, protowire.BytesType)
		r.open = len(m)
		m = append(m, make([]byte, openLength)...)
	}
	r.message = m
	return nil
}

// Body implements pool.Sink.
func (r *reply) Body(piece []byte) error {
	r.message = append(r.message, piece...)
	return nil
}

// Space implements pool.PlacedSink.
func (r *reply) Space(n int64) []byte {
	m := r.message
	return m[len(m):min(int64(len(m))+n, int64(cap(m)))]
}

// Filled implements pool.PlacedSink.
func (r *reply) Filled(n int) error {
	r.message = r.message[:len(r.message)+n]
	return nil
}

// complete ends the message.
func (r *reply) complete(trailers []h1.Field, receipt *pool.Receipt) {
	if r.open > 0 {
		putOpenLength(r.message[r.open:], len(r.message)-r.open-openLength)
		r.open = 0
	}
	for i := range trailers {
		r.message = appendHeader(r.message, responseTrailers, trailers[i].Name, trailers[i].Value)
	}
	if receipt != nil {
		r.message = protowire.AppendTag(r.message, responseReceipt, protowire.BytesType)
		encoded, err := proto.Marshal(receiptMessage(receipt))
		if err != nil {
			panic("sidecar: a receipt cannot be encoded: " + err.Error()) // it holds numbers and an address
		}
		r.message = protowire.AppendBytes(r.message, encoded)
	}
}

// messages is where the memory of messages comes from and, once gRPC has sent
// them, goes to.
var messages messagePool

const (
	messageSize  = 4 << 10   // to begin with
	messageLimit = 256 << 10 // of what is kept for the next one
)

type messagePool struct{ sync.Pool }

var _ mem.BufferPool = (*messagePool)(nil)

// Get implements mem.BufferPool.
func (p *messagePool) Get(length int) *[]byte {
	b, ok := p.Pool.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, 0, max(messageSize, length))
		b = &fresh
	}
	*b = slices.Grow((*b)[:0], length)[:length]
	return b
}

// Put implements mem.BufferPool.
func (p *messagePool) Put(b *[]byte) {
	if cap(*b) <= messageLimit {
		p.Pool.Put(b)
	}
}
