package sidecar

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// outgoing is a session's replies that wait to be sent, encoded: each of its
// messages is a SessionResponse.
type outgoing struct {
	messages []outMessage // in the order of their replies; the last one still grows
	size     int          // bytes in all of them
}

// outMessage is a SessionResponse in pieces. Short replies are written one behind
// the other; a long one stays where it was read into.
type outMessage struct {
	pieces  mem.BufferSlice
	tail    *[]byte // the piece that is being written; nil: none
	size    int
	replies int
}

const (
	// messageGoal is the size at which a message takes no further reply: a client
	// accepts 4 MiB by default, of which one reply alone may need all.
	messageGoal = 256 << 10
	// longReply is from where on to pass a reply on costs less than to copy it.
	longReply = 4 << 10
	// tailSize is the piece that short replies are written into.
	tailSize = 16 << 10
)

// response adds a SessionReply that holds a response.
func (o *outgoing) response(id uint64, r *reply) {
	n := len(r.message)
	size := protowire.SizeTag(sessionReplyID) + protowire.SizeVarint(id) +
		protowire.SizeTag(sessionReplyResponse) + protowire.SizeBytes(n)
	m, dst := o.open(size)
	dst = protowire.AppendTag(dst, sessionResponseReplies, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, sessionReplyID, protowire.VarintType)
	dst = protowire.AppendVarint(dst, id)
	dst = protowire.AppendTag(dst, sessionReplyResponse, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(n))
	if n < longReply {
		dst = append(dst, r.message...)
		*m.tail = dst
		return
	}
	*m.tail = dst
	m.seal()
	m.pieces = append(m.pieces, r.take())
}

// failure adds a SessionResponse that holds one reply.
func (o *outgoing) failure(encoded []byte) {
	m, dst := o.open(len(encoded))
	dst = append(dst, encoded...)
	*m.tail = dst
}

// open is the message that a reply of the given size goes into, and its tail.
func (o *outgoing) open(size int) (m *outMessage, tail []byte) {
	const around = 12 // at most: tag and length
	size += around
	if n := len(o.messages); n > 0 && o.messages[n-1].size+size <= messageGoal {
		m = &o.messages[n-1]
	} else {
		o.messages = append(o.messages, outMessage{})
		m = &o.messages[n]
	}
	room := min(size, longReply+2*around) // a longer one brings a piece of its own
	if m.tail != nil && cap(*m.tail)-len(*m.tail) < room {
		m.seal()
	}
	if m.tail == nil {
		m.tail = messages.Get(max(tailSize, room))
		*m.tail = (*m.tail)[:0]
	}
	m.size += size
	m.replies++
	o.size += size
	return m, *m.tail
}

// seal ends the piece that is being written.
func (m *outMessage) seal() {
	m.pieces = append(m.pieces, mem.NewBuffer(m.tail, &messages))
	m.tail = nil
}

// draining says in the message that the sidecar is about to stop.
func (m *outMessage) draining() {
	if m.tail == nil {
		m.tail = messages.Get(0)
		*m.tail = (*m.tail)[:0]
	}
	*m.tail = protowire.AppendTag(*m.tail, sessionResponseDraining, protowire.VarintType)
	*m.tail = protowire.AppendVarint(*m.tail, 1)
}

// give implements outbound.
func (m *outMessage) give() mem.BufferSlice {
	if m.tail != nil {
		m.seal()
	}
	pieces := m.pieces
	m.pieces = nil
	return pieces
}

// drop gives the memory of a message back that is not sent.
func (m *outMessage) drop() { m.give().Free() }
