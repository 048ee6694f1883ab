package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// upstreamName is what the origin is called in warmpool's configuration.
const upstreamName = "origin"

// sendExchange asks by HttpService.Send over one gRPC connection, with
// grpc-go as it comes.
func sendExchange(t target) (exchange, error) {
	address := t.address
	if t.network == "unix" {
		address = "unix:" + t.address
	}
	conn, err := grpc.NewClient(address, append(t.shows(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A sidecar that was started just now may not listen yet.
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))...)
	if err != nil {
		return nil, err
	}
	client := warmpoolv1.NewHttpServiceClient(conn)
	return func(ctx context.Context) (status, length int, err error) {
		answer, err := client.Send(ctx, &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{
			Upstream: upstreamName,
			Method:   "GET",
			Path:     t.path,
			Headers:  []*warmpoolv1.Header{{Name: "User-Agent", Value: userAgent}},
		}})
		if err != nil {
			return 0, 0, err
		}
		response := answer.GetResponse()
		return int(response.GetStatus()), len(response.GetBody()), nil
	}, nil
}

// bearer is a token as gRPC sends it with each call.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: a Unix socket
// needs none.
func (bearer) RequireTransportSecurity() bool { return false }

// shows is what a gRPC client is to be made with to be known as the target's caller.
func (t target) shows() []grpc.DialOption {
	if t.token == "" {
		return nil
	}
	return []grpc.DialOption{grpc.WithPerRPCCredentials(bearer(t.token))}
}
