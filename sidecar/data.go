package sidecar

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// Settings of the data server that are measured, not configured.
const (
	// streamWorkers is how many goroutines wait for calls. A call that finds none
	// gets a goroutine of its own, so this bounds nothing; it saves starting one
	// and growing its stack.
	streamWorkers = 64
	// connBuffer is the read buffer of each gRPC connection, and the write
	// buffer that connections borrow while they write: what one system call moves.
	connBuffer = 64 << 10
	// streamWindow and connWindow are HTTP/2's flow control towards the sidecar.
	// Fixed ones keep grpc-go from measuring the bandwidth, which answers nearly
	// every request's data with a ping of its own: at one request in flight that
	// took 5.8 instead of 4.0 read calls and 64 instead of 56 µs of CPU a request,
	// at 64 in flight it made no difference. A message may be larger than the
	// stream's window: grpc-go opens it for the rest. The connection's decides how
	// often a window update is sent, once per quarter.
	streamWindow = 256 << 10
	connWindow   = 4 << 20
)

// newDataServer makes the server that carries requests. Nothing stands between a
// call and its method: no interceptor and no stats handler, both of which cost
// every call whether they do something or not.
func newDataServer(cfg *warmpoolv1.Config, service *httpService, shake *handshake, h *health) *grpc.Server {
	s := grpc.NewServer(append(limits(cfg.GetGrpc()),
		grpc.Creds(shake),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ReadBufferSize(connBuffer),
		grpc.WriteBufferSize(connBuffer),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		experimental.BufferPool(&messages),
	)...)
	s.RegisterService(&dataService, service)
	h.register(s, dataServices...)
	reflection.Register(s)
	return s
}

// limits are the bounds that the configuration sets for every gRPC client.
func limits(g *warmpoolv1.Grpc) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(int(g.GetMaxMessageBytes())),
		grpc.MaxConcurrentStreams(g.GetMaxConcurrentStreams()),
		grpc.MaxHeaderListSize(uint32(g.GetMaxMetadataBytes())),
		grpc.ConnectionTimeout(g.GetConnectionTimeout().AsDuration()),
		// Clients in several languages ping without a call open, and by default more
		// often than grpc-go tolerates.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             g.GetMinPingInterval().AsDuration(),
			PermitWithoutStream: true,
		}),
		grpc.WaitForHandlers(true), // so that nothing uses the pool after Stop
	}
}

// dataService is HttpService with methods of our own where each call counts: they
// read and write gRPC's buffers directly.
var dataService = func() grpc.ServiceDesc {
	d := warmpoolv1.HttpService_ServiceDesc
	d.Methods = []grpc.MethodDesc{{MethodName: "Send", Handler: sendHandler}}
	d.Streams = []grpc.StreamDesc{
		{StreamName: "Stream", Handler: streamHandler, ServerStreams: true, ClientStreams: true},
		{StreamName: "Session", Handler: sessionHandler, ServerStreams: true, ClientStreams: true},
	}
	return d
}()
