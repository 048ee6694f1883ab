package client_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// sightings are the gRPC methods that an interceptor has seen called.
type sightings struct {
	mu      sync.Mutex
	methods []string
}

// option lets them be seen.
func (s *sightings) option() client.Option {
	return client.GRPC(grpc.WithChainStreamInterceptor(func(
		ctx context.Context, d *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, o ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		s.mu.Lock()
		s.methods = append(s.methods, method)
		s.mu.Unlock()
		return streamer(ctx, d, conn, method, o...)
	}))
}

func (s *sightings) has(method string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.methods, method)
}

// What traces gRPC, for example, is given by an option, and more than one may be.
func TestOptionsOfGRPCSeeEveryCall(t *testing.T) {
	inBothWays(t, func(t *testing.T, options ...client.Option) {
		method := warmpoolv1.HttpService_Session_FullMethodName
		if len(options) > 0 {
			method = warmpoolv1.HttpService_Stream_FullMethodName
		}
		var one, other sightings
		h := start(t, shortDir(t), web(t, echo))
		c := dial(t, h.socket, append(options, one.option(), other.option())...)
		if r := receive(t, asked(c, request(t, "GET", "/", http.NoBody)), "an answer"); r.err != nil {
			t.Error(r.err)
		}
		if !one.has(method) || !other.has(method) {
			t.Errorf("of %s one saw %q, the other %q", method, one.methods, other.methods)
		}
	})
}
