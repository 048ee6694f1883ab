package client

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"

	"google.golang.org/grpc"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// session is one Session that calls share. Two goroutines belong to it, however
// many calls there are: one sends, one receives. All calls that wait when the
// sender is free leave in one message.
type session struct {
	calls  *calls
	stream grpc.ClientStream
	cancel context.CancelFunc
	begun  time.Time
	wake   chan struct{} // for the sender
	sent   chan struct{} // closed when the sender has ended

	// Under the calls' lock:

	open     map[uint64]*call // by id; nil: given up, but not answered yet
	next     uint64           // id
	cancels  []uint64         // to be sent
	sending  bool             // the sender was woken, or is at it
	broken   bool             // nothing can be sent any more
	draining bool             // takes no calls any more
	ended    bool             // the stream is over
}

// maxBatch bounds the message of a batch: it fits into the smallest message that a
// sidecar can be told to take, as does a call.
const maxBatch = 64 << 10

func newSession(s *calls, stream grpc.ClientStream, cancel context.CancelFunc) *session {
	return &session{
		calls: s, stream: stream, cancel: cancel, begun: time.Now(),
		wake: make(chan struct{}, 1), sent: make(chan struct{}), open: make(map[uint64]*call),
	}
}

// rouse wakes the sender, under the lock, if it sleeps.
func (se *session) rouse() {
	if !se.sending {
		se.sending = true
		se.wake <- struct{}{}
	}
}

// abandon tells the sidecar that nobody waits for a call any more, under the lock.
// The call keeps its place until the sidecar has answered it.
func (se *session) abandon(c *call) {
	se.open[c.id] = nil
	c.session = nil
	if !se.broken {
		se.cancels = append(se.cancels, c.id)
		se.rouse()
	}
}

// retire has the session take no more calls, under the lock.
func (se *session) retire() {
	s := se.calls
	se.draining = true
	if s.mu.session != se {
		return
	}
	s.mu.session, s.mu.missing = nil, time.Now()
	if s.mu.queue.length > 0 {
		s.rouse()
		if s.options.patience > 0 {
			s.mu.patience.Reset(s.options.patience)
		}
	}
}

// send sends what waits until the session is over.
func (se *session) send() {
	defer close(se.sent)
	for range se.wake {
		runtime.Gosched() // who is about to call may as well come along
		for se.sendBatch() {
		}
		if se.isOver() {
			return
		}
	}
}

// isOver also ends the sending side when nothing is left to be said.
func (se *session) isOver() bool {
	mu := &se.calls.mu
	mu.Lock()
	ended, last := se.ended, se.draining && !se.broken && len(se.open) == 0
	se.broken = se.broken || last
	mu.Unlock()
	if last && !ended {
		_ = se.stream.CloseSend() // the sidecar then ends the stream, which receive meets
	}
	return ended
}

// sendBatch sends one message, and reports whether there may be more to send.
func (se *session) sendBatch() bool {
	mu := &se.calls.mu
	mu.Lock()
	first := se.next
	message, traced := se.batch()
	last := se.next
	if message == nil {
		se.sending = false
		mu.Unlock()
		return false
	}
	mu.Unlock()
	err := se.stream.SendMsg(encoded{message})
	if err == nil && !traced {
		return true
	}
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		// gRPC refuses a message as a whole, before any of it leaves. The reason is what receive gets.
		se.broken = true
		se.retire()
		for id := last; id > first; id-- {
			if c := se.open[id]; c != nil {
				delete(se.open, id)
				se.calls.requeue(c, lost(err, warmpoolv1.Delivery_DELIVERY_NOT_SENT))
			}
		}
		return true
	}
	for id := first + 1; id <= last; id++ {
		if c := se.open[id]; c != nil && c.written != nil {
			close(c.written)
			c.written = nil
		}
	}
	return true
}

// batch is the next message, under the lock, or nil: there is nothing to send. It
// hands calls over to the session.
func (se *session) batch() (message *[]byte, traced bool) {
	s := se.calls
	if se.broken {
		return nil, false
	}
	size, n := len(se.cancels)*maxCancel, 0
	if !se.draining {
		room := s.options.inFlight - len(se.open)
		for c := s.mu.queue.head; c != nil && n < room; c = c.next {
			more := maxCallFrame + len(c.request)
			if size > 0 && size+more > maxBatch {
				break
			}
			size += more
			n++
		}
	}
	if size == 0 {
		return nil, false
	}
	message = messages.empty(size)
	m := *message
	for _, id := range se.cancels {
		m = appendSessionCancel(m, id)
	}
	se.cancels = se.cancels[:0]
	for range n {
		c := s.mu.queue.head
		s.mu.queue.remove(c)
		se.next++
		c.id, c.session = se.next, se
		se.open[c.id] = c
		m = appendSessionCall(m, c.id, c.request)
		traced = traced || c.written != nil
	}
	*message = m
	return message, traced
}

// receive hands replies to who waits for them until the session is over.
func (se *session) receive() {
	var in replies
	for {
		if err := se.stream.RecvMsg(&in); err != nil {
			se.end(err)
			return
		}
		se.settle(&in)
	}
}

// settle ends the calls that are answered.
func (se *session) settle(in *replies) {
	s := se.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.pause = 0
	if in.draining { // before the replies: they may be refusals for that very reason
		se.retire()
	}
	for i := range in.list {
		o := &in.list[i]
		c := se.open[o.id]
		delete(se.open, o.id)
		switch {
		case c == nil: // given up
		case o.failure.drained() && (se.draining || !c.again):
			// An upstream that drains says the same as a sidecar that does, and the word that it is the sidecar may come
			// later: one more try tells the two apart.
			c.again = true
			s.requeue(c, o.failure)
		case s.options.outdated(o.failure, se.begun) && !c.again:
			c.again = true
			se.retire()
			s.requeue(c, o.failure)
		case o.failure.interrupted():
			s.interrupt(c, o.failure)
		default:
			c.finish(o.response, o.failure)
		}
	}
	if s.mu.queue.length > 0 || se.draining && len(se.open) == 0 {
		se.rouse()
	}
}

// end ends the calls that are still open when the stream is over.
func (se *session) end(err error) {
	s := se.calls
	se.cancel()
	s.mu.Lock()
	se.broken, se.ended = true, true
	se.rouse()
	s.mu.Unlock()
	<-se.sent // what did not leave is back in the queue

	failure := lost(err, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
	if errors.Is(err, io.EOF) {
		failure.Message = "the sidecar ended the session"
	}
	if s.ctx.Err() != nil {
		failure = closed(warmpoolv1.Delivery_DELIVERY_UNKNOWN)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !se.draining || failure.drained() {
		s.mu.pause = min(max(2*s.mu.pause, leastPause), mostPause)
	}
	s.mu.why = err
	se.retire()
	for _, c := range se.open {
		switch {
		case c == nil:
		case failure.drained(): // the session was refused as a whole
			s.requeue(c, failure.clone())
		case failure.interrupted():
			s.interrupt(c, failure.clone())
		default:
			c.finish(nil, failure.clone())
		}
	}
	se.open = nil
}
