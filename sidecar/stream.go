package sidecar

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// streamCall is one Stream: one exchange, with bodies of any length both ways.
//
// The response is sent by the goroutine that reads the upstream's connection, so
// that a client that does not read stops that reading, and by nobody else until
// the exchange is over. The request's body is received by a goroutine of its own,
// which waits for the upstream to take each piece before it receives the next.
type streamCall struct {
	pool.Exchange
	stream  grpc.ServerStream
	body    pool.RequestBody
	block   *[]byte // memory that the next piece of the response's body is read into
	done    chan struct{}
	failure *pool.Error
	misuse  atomic.Pointer[error] // why the client's part of the stream cannot be a request
	sending atomic.Int64          // since when, in nanoseconds of the wall clock, a piece of the body waits for the client; 0: none does
	end     warmpoolv1.StreamEnd
}

// streamBlock is how much of a body is moved at a time.
const streamBlock = 64 << 10

// streamHandler is Stream's gRPC method, in the place of the generated one.
func streamHandler(srv any, stream grpc.ServerStream) error {
	s := srv.(*httpService) //nolint:forcetypeassert // registered with no other
	s.running.begin()
	defer s.running.end()

	var first streamMessage
	switch err := stream.RecvMsg(&first); {
	case errors.Is(err, io.EOF):
		return s.refusal(asFailure(invalid(nil, "head", "is missing: the first message must hold it")), nil)
	case err != nil:
		return err
	}
	defer func() { first.free() }()
	if first.head == nil {
		return s.refusal(asFailure(invalid(nil, "head", "is missing: the first message must hold it")), nil)
	}
	var r wireRequest
	who := s.callers.asks(stream.Context())
	upstream, held, failure := s.admit(who, &r, first.head)
	if failure != nil {
		return s.refusal(failure, first.head)
	}
	defer held.leave()
	place, failure := who.enter(stream.Context(), r.upstream, &r.request.Timeout)
	if failure != nil {
		return s.refusal(failure, first.head)
	}
	defer place.leave()
	c := &streamCall{stream: stream, done: make(chan struct{})}
	beginning := r.request.Body
	r.request.Unbounded = true
	if !first.end {
		r.request.Body, r.request.Stream = nil, &c.body
		c.body.AtHand = len(beginning) > 0
	}
	if err := upstream.Start(&c.Exchange, &r.request, c); err != nil {
		return s.refusal(asFailure(err), first.head)
	}
	if !first.end {
		go c.upload(beginning)
	}
	s.attend(c, r.upstream, who)
	if c.failure != nil {
		if misuse := c.misuse.Load(); misuse != nil {
			c.failure.Reason, c.failure.Detail, c.failure.Err = pool.ReasonInvalidRequest, "the request's body cannot be sent", *misuse
		}
		return s.refusal(c.failure, first.head)
	}
	return stream.SendMsg(&warmpoolv1.StreamResponse{Part: &warmpoolv1.StreamResponse_End{End: &c.end}})
}

// attend waits until the exchange of c is over, which it is soon when the client is
// gone. Where the client is there and does not read, that may take as long as it
// likes, and the upstream's connection with it: the log says so.
func (s *httpService) attend(c *streamCall, upstream string, who *asker) {
	look := time.NewTicker(unreadLook)
	defer look.Stop()
	unread := false
	defer func() {
		if unread {
			s.unread.streams.Add(-1)
		}
	}()
	for {
		select {
		case <-c.done:
			return
		case <-c.stream.Context().Done():
			c.Cancel(context.Cause(c.stream.Context()))
			<-c.done
			return
		case now := <-look.C:
			since := c.sending.Load()
			if is := since != 0 && now.Sub(time.Unix(0, since)) >= unreadLook/2; is != unread {
				unread = is
				if is {
					s.unread.streams.Add(1)
				} else {
					s.unread.streams.Add(-1)
				}
			}
			if unread && s.unread.often.now() {
				s.log.Warn("a caller does not read the response that it streams, for which a connection is kept", "upstream", upstream,
					"caller", who.name, "for", now.Sub(time.Unix(0, since)).Round(time.Second), "such_streams", s.unread.streams.Load())
			}
		}
	}
}

// unreadLook is how often it is looked whether a client reads. One that has not for
// half of it is told of.
const unreadLook = 10 * time.Second

// unread are the streams whose clients do not read.
type unread struct {
	streams atomic.Int64
	often   pauses
}

// upload hands the request's body over as the client sends it. It ends with the
// body, or with the stream.
func (c *streamCall) upload(beginning []byte) {
	_, err := c.body.Write(beginning)
	for err == nil {
		var in streamMessage
		if err = c.stream.RecvMsg(&in); err != nil {
			break
		}
		end := in.end || in.trailers != nil
		if in.head != nil {
			err = errSecondHead
		} else if _, err = c.body.Write(in.data); err == nil && end {
			var trailers []h1.Field
			if trailers, err = readTrailers(in.trailers); err == nil {
				err = c.body.Close(trailers)
			}
			in.free()
			if err == nil {
				return
			}
		}
		in.free()
	}
	switch {
	case errors.Is(err, io.EOF): // the client has closed its side: the body is complete
		err = c.body.Close(nil)
	case errors.Is(err, pool.ErrBodyEnded):
		return
	}
	if err != nil && !errors.Is(err, pool.ErrBodyEnded) {
		c.abort(err)
	}
}

var errSecondHead = errors.New("head: only the first message holds one")

// abort stops the exchange, unless it is over: then nobody is left to stop it for.
func (c *streamCall) abort(why error) {
	select {
	case <-c.done:
	default:
		if c.stream.Context().Err() == nil {
			c.misuse.Store(&why)
		}
		c.Cancel(why)
	}
}

func readTrailers(message []byte) ([]h1.Field, error) {
	if message == nil {
		return nil, nil
	}
	var in warmpoolv1.Trailers
	if err := proto.Unmarshal(message, &in); err != nil {
		return nil, err
	}
	fields := make([]h1.Field, len(in.GetTrailers()))
	for i, t := range in.GetTrailers() {
		fields[i] = h1.Field{Name: t.GetName(), Value: headerValue(t)}
	}
	return fields, nil
}

// Interim implements pool.InterimSink.
func (c *streamCall) Interim(head *h1.Head) {
	interim := &warmpoolv1.InterimResponse{Status: uint32(head.Status), Headers: headerMessages(head.AppendFields(nil))}
	// A stream that is broken is noticed by the next message, or has been by its context.
	_ = c.stream.SendMsg(&warmpoolv1.StreamResponse{Part: &warmpoolv1.StreamResponse_Interim{Interim: interim}})
}

// Head implements pool.Sink.
func (c *streamCall) Head(head *h1.Head, _ int64) error {
	response := &warmpoolv1.HttpResponse{Status: uint32(head.Status), Headers: headerMessages(head.AppendFields(nil))}
	return c.stream.SendMsg(&warmpoolv1.StreamResponse{Part: &warmpoolv1.StreamResponse_Head{Head: response}})
}

// Body implements pool.Sink.
func (c *streamCall) Body(piece []byte) error {
	block := messages.Get(len(piece))
	copy(*block, piece)
	return c.pass(block)
}

// pass sends a piece of the body, which waits where the client does not read.
func (c *streamCall) pass(block *[]byte) error {
	c.sending.Store(time.Now().UnixNano())
	err := c.stream.SendMsg(&dataMessage{block})
	c.sending.Store(0)
	return err
}

// Space implements pool.PlacedSink.
func (c *streamCall) Space(n int64) []byte {
	if c.block == nil {
		c.block = messages.Get(streamBlock)
	}
	return (*c.block)[:min(n, streamBlock)]
}

// Filled implements pool.PlacedSink.
func (c *streamCall) Filled(n int) error {
	block := c.block
	c.block = nil
	*block = (*block)[:n]
	return c.pass(block)
}

// End implements pool.Sink.
func (c *streamCall) End(trailers []h1.Field, failure *pool.Error) {
	if c.block != nil {
		messages.Put(c.block)
		c.block = nil
	}
	if failure != nil {
		c.failure = failure
		c.failure.Receipt = c.Receipt()
	} else {
		c.end.Trailers = headerMessages(trailers)
		c.end.Receipt = receiptMessage(c.Receipt())
	}
	close(c.done)
}

// dataMessage is a StreamResponse that holds a piece of the body.
type dataMessage struct{ block *[]byte }

// give implements outbound.
func (m *dataMessage) give() mem.BufferSlice {
	prefix := protowire.AppendTag(make([]byte, 0, 8), streamResponseData, protowire.BytesType)
	prefix = protowire.AppendVarint(prefix, uint64(len(*m.block)))
	return mem.BufferSlice{mem.SliceBuffer(prefix), mem.NewBuffer(m.block, &messages)}
}

// streamMessage is a StreamRequest as it is received. Its parts lie in buffer.
type streamMessage struct {
	buffer               mem.Buffer
	head, data, trailers []byte
	end                  bool
}

// take implements inbound.
func (m *streamMessage) take(data mem.BufferSlice) error {
	m.buffer = whole(data)
	for p := m.buffer.ReadOnlyData(); len(p) > 0; {
		f, rest, ok := nextField(p)
		if !ok {
			return status.Error(codes.InvalidArgument, errNoMessage.Error())
		}
		p = rest
		switch { // of a oneof the last member counts
		case f.is(streamRequestHead, protowire.BytesType):
			m.head, m.data, m.trailers = merged(m.head, f.bytes), nil, nil
		case f.is(streamRequestData, protowire.BytesType):
			m.head, m.data, m.trailers = nil, f.bytes, nil
		case f.is(streamRequestTrailers, protowire.BytesType):
			m.head, m.data, m.trailers = nil, nil, merged(m.trailers, f.bytes)
		case f.is(streamRequestEnd, protowire.VarintType):
			m.end = f.varint != 0
		}
	}
	return nil
}

func (m *streamMessage) free() {
	if m.buffer != nil {
		m.buffer.Free()
		m.buffer = nil
	}
}
