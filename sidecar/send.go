package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// httpService is the data plane.
type httpService struct {
	warmpoolv1.UnimplementedHttpServiceServer
	pool    *pool.Pool
	callers *callers
	origins *origins
	tracing *tracing // nil: nothing is traced
	running *running
	limits  *warmpoolv1.Grpc
	log     *slog.Logger

	sessions sessions
	unread   unread
}

// sendCall is one Send: the SendRequest as read from gRPC's buffers, the exchange,
// and the SendResponse. It is used again.
type sendCall struct {
	pool.Exchange
	wireRequest
	reply

	source  mem.Buffer // the SendRequest; what was read of it lies in there
	message []byte     // the HttpRequest in it
	failure *pool.Error
	done    chan struct{}
}

var sendCalls = sync.Pool{New: func() any { return &sendCall{done: make(chan struct{}, 1), reply: reply{alone: true}} }}

// sendHandler is Send's gRPC method, in the place of the generated one.
func sendHandler(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
	c := sendCalls.Get().(*sendCall) //nolint:forcetypeassert // the pool holds nothing else
	if err := decode(c); err != nil {
		c.release()
		return nil, err
	}
	if err := srv.(*httpService).send(ctx, c); err != nil { //nolint:forcetypeassert // registered with no other
		c.release()
		return nil, err
	}
	return c, nil
}

// send carries one exchange.
func (s *httpService) send(ctx context.Context, c *sendCall) error {
	s.running.begin()
	defer s.running.end()
	if failure := s.exchange(ctx, c); failure != nil {
		return s.refusal(failure, c.message)
	}
	return nil
}

// exchange is what Send is without gRPC.
func (s *httpService) exchange(ctx context.Context, c *sendCall) *pool.Error {
	if ctx.Err() != nil {
		return goneAlready(ctx, c.upstream)
	}
	who := s.callers.asks(ctx)
	upstream, held, failure := s.admit(who, &c.wireRequest, c.message)
	if failure != nil {
		return failure
	}
	defer held.leave()
	place, failure := who.enter(ctx, c.upstream, &c.request.Timeout)
	if failure != nil {
		return failure
	}
	defer place.leave()
	if err := upstream.Start(&c.Exchange, &c.request, c); err != nil {
		return asFailure(err)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		c.Cancel(context.Cause(ctx))
		<-c.done
	}
	return c.failure
}

// End implements pool.Sink.
func (c *sendCall) End(trailers []h1.Field, failure *pool.Error) {
	c.failure = failure
	if failure == nil {
		c.complete(trailers, c.Receipt())
	} else {
		failure.Receipt = c.Receipt()
	}
	c.done <- struct{}{}
}

// take implements inbound.
func (c *sendCall) take(data mem.BufferSlice) error {
	c.source = whole(data)
	c.message = nil
	for p := c.source.ReadOnlyData(); len(p) > 0; {
		f, rest, ok := nextField(p)
		if !ok {
			return errNoMessage
		}
		p = rest
		if f.is(sendRequestRequest, protowire.BytesType) {
			c.message = merged(c.message, f.bytes)
		}
	}
	return nil
}

var errNoMessage = errors.New("not a protocol buffers message")

// give implements outbound: the SendResponse. The call is over with it.
func (c *sendCall) give() mem.BufferSlice {
	data := mem.BufferSlice{c.reply.take()}
	c.release()
	return data
}

// release makes the call ready for another Send.
func (c *sendCall) release() {
	if c.source != nil {
		c.source.Free()
		c.source = nil
	}
	c.reply.release()
	c.message, c.failure = nil, nil
	clear(c.fields)
	c.request = pool.Request{}
	sendCalls.Put(c)
}

// admit reads a request, finds its upstream and refuses who may not send there.
// message is the HttpRequest's encoding. The hold is to be left when the exchange
// is over.
func (s *httpService) admit(who *asker, r *wireRequest, message []byte) (upstream *pool.Upstream, held hold, failure *pool.Error) {
	if !r.read(message) {
		if failure := r.readSlowly(message); failure != nil {
			return nil, hold{}, failure
		}
	}
	if config.IsOrigin(r.upstream) {
		upstream, held, failure = s.origins.admit(who, r)
	} else {
		upstream, failure = s.named(who, r.upstream)
	}
	if failure == nil && s.tracing != nil {
		s.tracing.follow(&r.request)
	}
	return upstream, held, failure
}

// named finds an upstream that the configuration names.
func (s *httpService) named(who *asker, name string) (*pool.Upstream, *pool.Error) {
	if failure := who.refuses(name); failure != nil {
		return nil, failure
	}
	upstream, err := s.pool.Upstream(name)
	if err != nil {
		return nil, asFailure(err)
	}
	return upstream, nil
}

// readSlowly reads a request by the generated code and says what is wrong with it.
func (r *wireRequest) readSlowly(message []byte) *pool.Error {
	in, failure := requestMessage(message)
	if failure != nil {
		return failure
	}
	r.upstream = in.GetUpstream()
	if err := readRequest(&r.request, in); err != nil {
		return asFailure(err)
	}
	return nil
}

// requestMessage decodes a request by the generated code.
func requestMessage(message []byte) (*warmpoolv1.HttpRequest, *pool.Error) {
	if message == nil {
		return nil, asFailure(invalid(nil, "request", "is missing"))
	}
	in := new(warmpoolv1.HttpRequest)
	if err := proto.Unmarshal(message, in); err != nil {
		return nil, asFailure(invalid(in, "request", err.Error()))
	}
	return in, nil
}

// asFailure is the *pool.Error that every error of the request's path is.
func asFailure(err error) *pool.Error {
	if e, ok := errors.AsType[*pool.Error](err); ok {
		return e
	}
	return &pool.Error{
		Reason: pool.ReasonInternal, Delivery: pool.DeliveryUnknown, Detail: "an error without a reason", Err: err,
	}
}

func goneAlready(ctx context.Context, upstream string) *pool.Error {
	e := &pool.Error{
		Reason: pool.ReasonCancelled, Delivery: pool.DeliveryNotSent, Upstream: upstream,
		Detail: "the caller was gone before the request began", Err: ctx.Err(),
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Reason = pool.ReasonDeadlineExceeded
	}
	return e
}

// refusal is the gRPC error of a request that failed. message is the
// HttpRequest's encoding.
func (s *httpService) refusal(e *pool.Error, message []byte) error {
	f, at := s.failureMessage(e, message)
	return statusOf(f, e.Upstream, at)
}

// failureMessage is the Failure of a request, and the field that is to blame
// where it is the request's own.
func (s *httpService) failureMessage(e *pool.Error, message []byte) (*warmpoolv1.Failure, *fieldError) {
	in, _ := requestMessage(message) // where it cannot be read, e says so
	at := blame(e, in)
	return failureOf(e, at, s.retryAfter(e)), at
}

// unboundedWait stands for max_wait where that is without limit.
const unboundedWait = time.Second

// retryAfter is when sending again makes sense, or 0 when nothing is known. Of a
// full queue it is: within max_wait everyone in it has been served or refused.
func (s *httpService) retryAfter(e *pool.Error) time.Duration {
	if own, ok := errors.AsType[*callerError](e.Err); ok && own.reason == warmpoolv1.Reason_REASON_CALLER_LIMIT {
		return s.callers.access.Load().maxWait
	}
	if e.Reason != pool.ReasonQueueFull {
		return 0
	}
	if u, err := s.pool.Upstream(e.Upstream); err == nil && u.Policy().MaxWait > 0 {
		return u.Policy().MaxWait
	}
	return unboundedWait
}
