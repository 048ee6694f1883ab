package client

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// codec is protocol buffers by the generated code, but for the messages that read
// and write themselves (wire.go). What travels is the same.
type codec struct{ encoding.CodecV2 }

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

// ownCodec has a gRPC stream use codec.
var ownCodec = grpc.ForceCodecV2(codec{encoding.GetCodecV2(proto.Name)})

// bidirectional describes Session and Stream to gRPC.
var bidirectional = grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

const (
	sessionMethod = warmpoolv1.HttpService_Session_FullMethodName
	streamMethod  = warmpoolv1.HttpService_Stream_FullMethodName
)
