package sidecar

import (
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
	memory  *[]byte // message's, of messages; nil: none yet
	open    int     // where the length of a body of unknown length is to stand; 0: nowhere
	alone   bool    // it is a SendResponse of its own
}

// Head implements pool.Sink.
func (r *reply) Head(head *h1.Head, length int64) error {
	if r.memory == nil {
		r.memory = messages.Get(0)
	}
	m := (*r.memory)[:0]
	if r.alone {
		m = protowire.AppendTag(m, sendResponseResponse, protowire.BytesType)
		m = append(m, make([]byte, openLength)...)
	}
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
		m = r.grow(m, int(length))
	case length < 0:
		m = protowire.AppendTag(m, responseBody, protowire.BytesType)
		r.open = len(m)
		m = append(m, make([]byte, openLength)...)
	}
	r.message = m
	return nil
}

// grow is m, what is written so far, with room for n more bytes.
func (r *reply) grow(m []byte, n int) []byte {
	if cap(m)-len(m) >= n {
		return m
	}
	larger := messages.Get(len(m) + n)
	m = append((*larger)[:0], m...)
	messages.Put(r.memory)
	r.memory = larger
	return m
}

// release gives the memory back, unless it was taken.
func (r *reply) release() {
	if r.memory != nil {
		*r.memory = r.message
		messages.Put(r.memory)
	}
	r.memory, r.message = nil, nil
}

// take is the message as a buffer of gRPC's, which has the memory from now on.
func (r *reply) take() mem.Buffer {
	*r.memory = r.message
	b := mem.NewBuffer(r.memory, &messages)
	r.memory, r.message = nil, nil
	return b
}

// Body implements pool.Sink.
func (r *reply) Body(piece []byte) error {
	if cap(r.message)-len(r.message) < len(piece) {
		r.message = r.grow(r.message, max(len(piece), len(r.message)))
	}
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

// aloneTag is the tag's length before a response that is a message of its own.
const aloneTag = 1

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
	if r.alone {
		putOpenLength(r.message[aloneTag:], len(r.message)-aloneTag-openLength)
	}
}
