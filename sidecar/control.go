package sidecar

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// poolService is the control plane. Its methods answer UNIMPLEMENTED so far.
type poolService struct {
	warmpoolv1.UnimplementedPoolServiceServer
}

// newControlServer makes the server that may look into pools and change them. It
// shares no listener with the data server: whoever may send requests may not do
// that.
func newControlServer(cfg *warmpoolv1.Config, shake *handshake, h *health) *grpc.Server {
	s := grpc.NewServer(append(limits(cfg.GetGrpc()),
		grpc.Creds(shake),
		grpc.UnaryInterceptor(shake.callers.guardUnary),
		grpc.StreamInterceptor(shake.callers.guardStream),
	)...)
	warmpoolv1.RegisterPoolServiceServer(s, &poolService{})
	h.register(s, controlServices...)
	reflection.Register(s)
	return s
}
