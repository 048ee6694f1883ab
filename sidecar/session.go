package sidecar

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

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

// session is one Session: a stream that carries many exchanges at once. Two
// goroutines belong to it, however many exchanges there are: one receives and
// begins them, and one, the gRPC method's, sends. An exchange is ended by the
// goroutine that reads its connection, which writes the reply behind those that
// wait to be sent; all that wait leave in one message.
type session struct {
	service *httpService
	stream  grpc.ServerStream
	who     *asker
	limit   int

	wake chan struct{} // for the sender: there is something to send, or nothing will come any more

	mu struct {
		sync.Mutex
		room     *sync.Cond              // for the receiver: unsent has fallen, or gone
		calls    map[uint64]*sessionCall // by id, those that run
		unsent   int                     // calls that run, and replies that have not been sent
		out      outgoing                // replies that wait for the sender
		sending  bool                    // the sender has been woken, or is at it
		draining bool
		told     bool // the client knows of draining
		closed   bool // no call is taken any more: the session ends once those that run are answered
		ended    bool // the client sends no more
		err      error
		gone     bool // the stream is broken, and no call is taken any more
	}
}

// sessionCall is one exchange of a session. It is used again.
type sessionCall struct {
	pool.Exchange
	wireRequest
	reply

	session *session
	id      uint64
	place   place      // among its caller's
	held    hold       // of its upstream, where that goes when nobody uses it
	source  mem.Buffer // the message it came in
	message []byte     // the HttpRequest in it
	pins    int        // who may still call Cancel; guarded by the session's lock
	over    bool       // likewise
}

var sessionCalls = sync.Pool{New: func() any { return new(sessionCall) }}

// maxUnsent bounds the bytes of replies that wait for a client that does not read:
// with more nothing further is received.
const maxUnsent = 1 << 20

// sessionHandler is Session's gRPC method, in the place of the generated one.
func sessionHandler(srv any, stream grpc.ServerStream) error {
	s := srv.(*httpService) //nolint:forcetypeassert // registered with no other
	se := &session{service: s, stream: stream, who: s.callers.asks(stream.Context()), limit: int(s.limits.GetMaxSessionCalls()), wake: make(chan struct{}, 1)}
	se.mu.room = sync.NewCond(&se.mu.Mutex)
	se.mu.calls = make(map[uint64]*sessionCall)
	if !s.sessions.add(se) {
		return s.refusal(&shuttingDown, nil)
	}
	defer s.sessions.remove(se)
	return se.serve()
}

// serve runs the session until the client has ended it and has every reply, or
// is gone, or the sidecar is about to stop and closes it. In the last case the
// client is told that what it has no reply to was not taken.
func (se *session) serve() error {
	stop := context.AfterFunc(se.stream.Context(), se.abandon)
	defer stop()
	go se.receive() // where it is not the client that ends the session it ends with the stream, and begins nothing more
	se.send()
	se.mu.Lock()
	defer se.mu.Unlock()
	switch {
	case se.mu.ended:
		return se.mu.err
	case se.mu.gone:
		return status.FromContextError(se.stream.Context().Err()).Err()
	}
	return se.service.refusal(&shuttingDown, nil)
}

// receive takes what the client sends until it has ended the session or is gone.
func (se *session) receive() {
	err := se.receiveAll()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	se.mu.Lock()
	se.mu.ended, se.mu.err = true, err
	se.mu.gone = se.mu.gone || err != nil
	se.rouse()
	se.mu.Unlock()
	if err != nil {
		se.abandon()
	}
}

// receiveAll begins the calls that the client sends.
func (se *session) receiveAll() error {
	var in sessionMessage
	for {
		if err := se.stream.RecvMsg(&in); err != nil {
			return err
		}
		err := se.begin(&in)
		in.buffer.Free()
		if err != nil {
			return err
		}
	}
}

// begin begins the calls of one message. Requests of it that share a connection
// leave together.
func (se *session) begin(in *sessionMessage) error {
	var batch pool.Batch
	defer batch.Send()
	for p := in.buffer.ReadOnlyData(); len(p) > 0; {
		f, rest, ok := nextField(p)
		if !ok {
			return status.Error(codes.InvalidArgument, errNoMessage.Error())
		}
		p = rest
		if !f.is(sessionRequestCalls, protowire.BytesType) {
			continue
		}
		id, request, cancel, ok := readCall(f.bytes)
		switch {
		case !ok:
			return status.Error(codes.InvalidArgument, errNoMessage.Error())
		case cancel:
			se.cancel(id)
		default:
			se.call(&batch, id, request, in.buffer)
		}
	}
	return nil
}

// readCall reads a SessionCall. request is nil when it has none. A request that
// comes in several parts is what they are one behind the other: so protocol
// buffers merge.
func readCall(p []byte) (id uint64, request []byte, cancel, ok bool) {
	for len(p) > 0 {
		f, rest, ok := nextField(p)
		if !ok {
			return 0, nil, false, false
		}
		p = rest
		switch {
		case f.is(sessionCallID, protowire.VarintType):
			id = f.varint
		case f.is(sessionCallRequest, protowire.BytesType):
			request, cancel = merged(request, f.bytes), false
		case f.is(sessionCallCancel, protowire.BytesType):
			request, cancel = nil, true
		}
	}
	return id, request, cancel, true
}

// call begins one call. It waits while the session has as many as it may.
func (se *session) call(batch *pool.Batch, id uint64, message []byte, source mem.Buffer) {
	se.mu.Lock()
	if se.full() {
		se.mu.Unlock()
		batch.Send() // what waits in there would wait for us
		se.mu.Lock()
		for se.full() {
			se.mu.room.Wait()
		}
	}
	if se.mu.gone || se.mu.closed {
		se.mu.Unlock()
		return
	}
	se.mu.unsent++
	_, duplicate := se.mu.calls[id]
	var failure *pool.Error
	switch {
	case duplicate:
		failure = sessionFailure("there is a call with this id already; it goes on")
	case se.mu.draining:
		failure = &shuttingDown
	}
	if failure != nil {
		se.refuse(id, failure, message, duplicate)
		se.mu.Unlock()
		return
	}
	c := sessionCalls.Get().(*sessionCall) //nolint:forcetypeassert // the pool holds nothing else
	c.session, c.id, c.message, c.over = se, id, message, false
	source.Ref()
	c.source = source
	se.mu.calls[id] = c
	se.mu.Unlock()

	se.service.running.begin()
	upstream, held, refused := se.service.admit(se.who, &c.wireRequest, message)
	c.held = held
	if refused == nil {
		refused = se.enter(batch, c)
	}
	if refused == nil {
		if err := batch.Start(upstream, &c.Exchange, &c.request, c); err != nil {
			refused = asFailure(err)
		}
	}
	if refused != nil {
		c.end(nil, refused)
	}
}

// shuttingDown refuses a call, or a session as a whole.
var shuttingDown = pool.Error{Reason: pool.ReasonDraining, Delivery: pool.DeliveryNotSent, Detail: "the sidecar is shutting down"}

// enter takes the call a place among its caller's, which may be a wait: then what
// the client sends next waits as well.
func (se *session) enter(batch *pool.Batch, c *sessionCall) (refused *pool.Error) {
	var ok bool
	if c.place, ok = se.who.try(); ok {
		return nil
	}
	batch.Send() // what waits in there would wait for us
	c.place, refused = se.who.enter(se.stream.Context(), c.upstream, &c.request.Timeout)
	return refused
}

func (se *session) full() bool {
	return (se.mu.unsent >= se.limit || se.mu.out.size >= maxUnsent) && !se.mu.gone && !se.mu.closed
}

func sessionFailure(detail string) *pool.Error {
	return &pool.Error{Reason: pool.ReasonInvalidRequest, Delivery: pool.DeliveryNotSent, Detail: detail}
}

// End implements pool.Sink.
func (c *sessionCall) End(trailers []h1.Field, failure *pool.Error) {
	if failure != nil {
		failure.Receipt = c.Receipt()
	} else {
		c.complete(trailers, c.Receipt())
	}
	c.end(trailers, failure)
}

// end writes the reply behind those that wait.
func (c *sessionCall) end(_ []h1.Field, failure *pool.Error) {
	se := c.session
	var encoded []byte
	if failure != nil {
		encoded = se.encodeFailure(c.id, failure, c.message)
	}
	se.mu.Lock()
	delete(se.mu.calls, c.id)
	if failure == nil {
		se.mu.out.response(c.id, &c.reply)
	} else {
		se.mu.out.failure(encoded)
	}
	se.rouse()
	c.over = true
	taken, held := c.place, c.held
	c.place, c.held = place{}, hold{}
	c.recycle()
	se.mu.Unlock()
	taken.leave()
	held.leave()
	se.service.running.end()
}

// recycle makes c ready for another call, under the lock, unless somebody may
// still cancel it.
func (c *sessionCall) recycle() {
	if !c.over || c.pins > 0 {
		return
	}
	c.source.Free()
	c.source, c.message, c.session = nil, nil, nil
	c.reply.release()
	clear(c.fields)
	c.request = pool.Request{}
	sessionCalls.Put(c)
}

// refuse replies to a call that was not begun, under the lock.
func (se *session) refuse(id uint64, failure *pool.Error, message []byte, duplicate bool) {
	f, _ := se.service.failureMessage(failure, message)
	if duplicate {
		f.Reason = warmpoolv1.Reason_REASON_DUPLICATE_ID
	}
	se.mu.out.failure(encodeFailure(id, f))
	se.rouse()
}

// cancel stops a call. One that is over, or never was, is answered as unknown.
func (se *session) cancel(id uint64) {
	se.mu.Lock()
	c := se.mu.calls[id]
	switch {
	case c != nil:
	case se.mu.gone || se.mu.closed:
		se.mu.Unlock()
		return
	default:
		se.mu.unsent++
		f, _ := se.service.failureMessage(sessionFailure("there is no call with this id to cancel: it is over, or was never begun"), nil)
		f.Reason = warmpoolv1.Reason_REASON_UNKNOWN_ID
		se.mu.out.failure(encodeFailure(id, f))
		se.rouse()
		se.mu.Unlock()
		return
	}
	c.pins++
	se.mu.Unlock()
	c.Cancel(context.Canceled)
	se.mu.Lock()
	c.pins--
	c.recycle()
	se.mu.Unlock()
}

// abandon stops everything: the client is gone.
func (se *session) abandon() {
	se.mu.Lock()
	se.mu.gone = true
	se.mu.room.Broadcast()
	running := make([]*sessionCall, 0, len(se.mu.calls))
	for _, c := range se.mu.calls {
		c.pins++
		running = append(running, c)
	}
	se.rouse()
	se.mu.Unlock()
	for _, c := range running {
		c.Cancel(context.Canceled)
		se.mu.Lock()
		c.pins--
		c.recycle()
		se.mu.Unlock()
	}
}

// drain tells the client that the sidecar stops: calls that run are finished, new
// ones are refused.
func (se *session) drain() {
	se.mu.Lock()
	se.mu.draining = true
	se.rouse()
	se.mu.Unlock()
}

// close ends the session once every call that it has is answered. What the client
// sends from now on is not taken, and has no reply of its own.
func (se *session) close() {
	se.mu.Lock()
	se.mu.closed = true
	se.mu.room.Broadcast()
	se.rouse()
	se.mu.Unlock()
}

// rouse wakes the sender, under the lock, if it sleeps.
func (se *session) rouse() {
	if !se.mu.sending {
		se.mu.sending = true
		se.wake <- struct{}{}
	}
}

// send sends replies until the client has all that it will get and every call is
// over.
func (se *session) send() {
	var spare []outMessage
	for range se.wake {
		runtime.Gosched() // what is about to end may as well come along
		for {
			se.mu.Lock()
			out := se.mu.out.messages
			tell := se.mu.draining && !se.mu.told
			if len(out) == 0 && !tell {
				se.mu.sending = false
				done := (se.mu.ended || se.mu.gone || se.mu.closed) && len(se.mu.calls) == 0
				se.mu.Unlock()
				if done {
					return
				}
				break
			}
			se.mu.out = outgoing{messages: spare[:0]}
			se.mu.told = se.mu.told || tell
			se.mu.Unlock()
			if tell {
				if len(out) == 0 {
					out = append(out, outMessage{})
				}
				out[0].draining()
			}
			for i := range out {
				se.sendMessage(&out[i])
			}
			spare = out
		}
	}
}

// sendMessage sends one message, unless the client is gone, and makes room for as
// many calls as it had replies.
func (se *session) sendMessage(m *outMessage) {
	se.mu.Lock()
	gone := se.mu.gone
	se.mu.Unlock()
	switch {
	case gone:
		m.drop()
	case se.stream.SendMsg(m) != nil:
		se.abandon()
	}
	se.mu.Lock()
	se.mu.unsent -= m.replies
	se.mu.room.Broadcast()
	se.mu.Unlock()
	*m = outMessage{}
}

// sessionMessage is a SessionRequest as it is received.
type sessionMessage struct{ buffer mem.Buffer }

// take implements inbound.
func (m *sessionMessage) take(data mem.BufferSlice) error { //nolint:unparam // inbound's signature
	m.buffer = whole(data)
	return nil
}

func (se *session) encodeFailure(id uint64, e *pool.Error, message []byte) []byte {
	f, _ := se.service.failureMessage(e, message)
	return encodeFailure(id, f)
}

// encodeFailure is a SessionResponse with one reply, a failure.
func encodeFailure(id uint64, f *warmpoolv1.Failure) []byte {
	encoded, err := proto.Marshal(&warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{
		{Id: id, Outcome: &warmpoolv1.SessionReply_Failure{Failure: f}},
	}})
	if err != nil {
		panic("sidecar: a failure cannot be encoded: " + err.Error()) // its texts are made valid UTF-8
	}
	return encoded
}
