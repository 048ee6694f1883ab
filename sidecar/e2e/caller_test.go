package e2e

import (
	"context"
	"math"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// callLimit bounds every call that sets no deadline of its own.
const callLimit = 30 * time.Second

// caller sends through the sidecar. The error is a gRPC status, with the details that the sidecar sent.
type caller interface {
	Send(ctx context.Context, r *warmpoolv1.HttpRequest) (*warmpoolv1.HttpResponse, error)
}

// callOutcome is what a call ended with.
type callOutcome struct {
	response *warmpoolv1.HttpResponse
	err      error
}

// dialTarget opens a gRPC connection that ends with the test.
func dialTarget(t *testing.T, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

type goCaller struct{ client warmpoolv1.HttpServiceClient }

func openGo(t *testing.T, target string) caller {
	t.Helper()
	return goCaller{warmpoolv1.NewHttpServiceClient(dialTarget(t, target))}
}

func (c goCaller) Send(ctx context.Context, r *warmpoolv1.HttpRequest) (*warmpoolv1.HttpResponse, error) {
	if _, set := ctx.Deadline(); !set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	reply, err := c.client.Send(ctx, &warmpoolv1.SendRequest{Request: r})
	return reply.GetResponse(), err
}

// failureIn finds the sidecar's Failure in an error; nil when the error is not the sidecar's.
func failureIn(err error) *warmpoolv1.Failure { return detailIn[*warmpoolv1.Failure](err) }

// errorInfoIn finds the ErrorInfo in an error.
func errorInfoIn(err error) *errdetails.ErrorInfo { return detailIn[*errdetails.ErrorInfo](err) }

func detailIn[T any](err error) T {
	for _, d := range status.Convert(err).Details() {
		if found, ok := d.(T); ok {
			return found
		}
	}
	var none T
	return none
}

// header makes a field.
func header(name, value string) *warmpoolv1.Header {
	return &warmpoolv1.Header{Name: name, Value: value}
}

// must sends a request that is to be answered.
func must(t *testing.T, c caller, r *warmpoolv1.HttpRequest) *warmpoolv1.HttpResponse {
	t.Helper()
	response, err := c.Send(t.Context(), r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.GetMethod(), r.GetPath(), err)
	}
	return response
}
