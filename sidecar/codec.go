package sidecar

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec is the data server's codec: protocol buffers by the generated code, but
// for the few messages that every request passes, which are read from and
// written to gRPC's own buffers (wire.go). What travels is the same; a fuzz test
// holds the two ways to each other.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// inbound is a message that reads itself. data is valid during the call; what is
// kept of it needs a reference.
type inbound interface {
	take(data mem.BufferSlice) error
}

// outbound is a message that writes itself. What it returns is gRPC's.
type outbound interface {
	give() mem.BufferSlice
}

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(outbound); ok {
		return m.give(), nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(inbound); ok {
		return m.take(data)
	}
	return c.CodecV2.Unmarshal(data, v)
}

// whole is data in one piece, with a reference for the caller.
func whole(data mem.BufferSlice) mem.Buffer {
	return data.MaterializeToBuffer(&messages)
}
