package sidecar

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// guardUnary lets through to the control plane who may do what is asked.
func (cs *callers) guardUnary(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := cs.guard(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, in)
}

// guardStream is guardUnary for streams.
func (cs *callers) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := cs.guard(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, stream)
}

// guard refuses a method of PoolService to who may not call it. On a Unix socket
// its permissions have decided that already. Health and reflection are for
// everybody who can connect.
func (cs *callers) guard(ctx context.Context, method string) error {
	name, isPool := strings.CutPrefix(method, "/"+warmpoolv1.PoolService_ServiceDesc.ServiceName+"/")
	if !isPool {
		return nil
	}
	p, _ := peer.FromContext(ctx)
	if c, _ := p.AuthInfo.(*connection); c.overUnix {
		return nil
	}
	who := cs.asks(ctx)
	switch may := who.grants().control; {
	case may == controlAll, may == controlRead && onlyReads(name):
		return nil
	case may == controlRead:
		return refused(codes.PermissionDenied, reasonNotAllowed, nil, "%s changes something, and the caller (%s) may only read: allow[].control is %q", name, who.name, controlRead)
	default:
		return refused(codes.PermissionDenied, reasonNotAllowed, nil, "the caller (%s) may not use the control plane over TCP: no rule in allow gives it control", who.name)
	}
}

// onlyReads reports that a method of PoolService changes nothing.
func onlyReads(method string) bool {
	return strings.HasPrefix(method, "Get") || strings.HasPrefix(method, "List") || strings.HasPrefix(method, "Watch")
}
