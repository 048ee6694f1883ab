package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// calls are the calls of a client that ride sessions. One that is alone has a
// session of its own (solo.go). All others wait in one queue, from which the
// session of the time takes them. What a session did not send goes back there, and
// to the next one.
type calls struct {
	conn    *grpc.ClientConn
	options *options
	ctx     context.Context // the client's life

	open    atomic.Int64 // calls that are under way, in whatever state
	solo    solo
	wake    chan struct{}  // for keep: a call waits and there is no session
	running sync.WaitGroup // keep, and what belongs to sessions

	// mu guards the queue, and what sessions and calls say is under it.
	mu struct {
		sync.Mutex
		closed   bool
		keeping  bool // keep runs
		queue    callQueue
		session  *session    // takes calls; nil: none does
		missing  time.Time   // none has since
		patience *time.Timer // runs while calls wait and there is no session
		why      error       // there is none
		pause    time.Duration
	}
}

// call is one call of a session. It is used again.
type call struct {
	request []byte        // encoded
	done    chan struct{} // receives once, when the call is over
	reply   []byte        // encoded; once done
	failure *Failure      // once done; its own

	// Under the calls' lock:

	written    chan struct{} // closed when the request was handed to gRPC; nil: nobody wants to know
	session    *session      // it was handed to; nil: it is in the queue, or over
	id         uint64        // in the session
	since      time.Time     // it has waited since
	returned   time.Time     // it first came back from a session; zero: it has not
	again      bool          // it was refused once and goes again
	idempotent bool          // it may be carried out twice
	losses     int           // sidecars that were lost with it
	lost       *Failure      // how the last one was
	queued     bool
	next, prev *call // in the queue
}

var spareCalls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newCall(p *plan, request []byte) *call {
	c := spareCalls.Get().(*call) //nolint:forcetypeassert // the pool holds nothing else
	c.request, c.idempotent = request, p.idempotent
	return c
}

// recycle makes a call that is over ready for another request.
func (c *call) recycle() {
	*c = call{done: c.done}
	spareCalls.Put(c)
}

// finish ends a call, under the lock.
func (c *call) finish(reply []byte, failure *Failure) {
	c.session = nil
	c.reply, c.failure = reply, failure.after(c.lost)
	c.done <- struct{}{}
}

func newCalls(ctx context.Context, conn *grpc.ClientConn, o *options) *calls {
	s := &calls{conn: conn, options: o, ctx: ctx, wake: make(chan struct{}, 1)}
	s.mu.patience = time.AfterFunc(time.Hour, s.expire)
	s.mu.patience.Stop()
	return s
}

// roundTrip carries out one call: its reply, an HttpResponse, or why there is none.
func (s *calls) roundTrip(p *plan, request []byte) ([]byte, *Failure) {
	alone := s.open.Add(1) == 1
	defer s.open.Add(-1)
	var lost *Failure
	if alone && s.solo.take() {
		reply, failure, sent := s.alone(p, request)
		switch {
		case !sent:
		case p.idempotent && failure.interrupted():
			lost = failure
		default:
			return reply, failure
		}
	}
	return s.share(p, request, lost)
}

// share sends a call with those of others. lost is how a sidecar was lost with it
// before; nil: none was.
func (s *calls) share(p *plan, request []byte, lost *Failure) ([]byte, *Failure) {
	c := newCall(p, request)
	if lost != nil {
		c.losses, c.lost = 1, lost
	}
	defer c.recycle()
	var written chan struct{}
	if p.trace != nil {
		written = make(chan struct{})
		c.written = written
	}
	if failure := s.enqueue(c); failure != nil {
		return nil, failure.after(c.lost)
	}
	for {
		select {
		case <-c.done:
			if written != nil && c.failure == nil {
				p.wrote(nil)
			}
			return c.reply, c.failure
		case <-written:
			p.wrote(nil)
			written = nil
		case <-p.ctx.Done():
			return s.giveUp(p, c)
		}
	}
}

// enqueue has a call wait for a session, which takes it at once if it has room.
func (s *calls) enqueue(c *call) *Failure {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	under := s.mu.queue.length
	if s.mu.session != nil {
		under += len(s.mu.session.open)
	}
	switch {
	case s.mu.closed:
		return closed(warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	case under >= s.options.inFlight+s.options.waiting:
		return full(s.options)
	}
	c.since = now
	s.mu.queue.push(c)
	s.rouse()
	return nil
}

// full is the failure of a call for which there is no place.
func full(o *options) *Failure {
	return &Failure{
		Reason: warmpoolv1.Reason_REASON_QUEUE_FULL, Code: codes.ResourceExhausted, Delivery: warmpoolv1.Delivery_DELIVERY_NOT_SENT,
		Message: fmt.Sprintf("%d calls are open and %d wait, which is as many as may: raise client.InFlight, or have less in flight",
			o.inFlight, o.waiting),
	}
}

// rouse has the calls of the queue sent, under the lock, or a session made for them.
func (s *calls) rouse() {
	if s.mu.session != nil {
		s.mu.session.rouse()
		return
	}
	if s.mu.closed {
		return
	}
	if s.mu.queue.length == 1 && s.options.patience > 0 {
		s.mu.patience.Reset(s.options.patience)
	}
	if !s.mu.keeping {
		s.mu.keeping = true
		s.running.Go(s.keep)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// giveUp ends a call whose context has ended.
func (s *calls) giveUp(p *plan, c *call) ([]byte, *Failure) {
	s.mu.Lock()
	switch {
	case c.queued:
		s.mu.queue.remove(c)
		s.mu.Unlock()
		return nil, ended(p.ctx, warmpoolv1.Delivery_DELIVERY_NOT_SENT).after(c.lost)
	case c.session != nil:
		c.session.abandon(c)
		s.mu.Unlock()
		return nil, ended(p.ctx, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
	}
	s.mu.Unlock()
	<-c.done // its outcome came first
	return c.reply, c.failure
}

// requeue has a call that was not carried out wait for the next session, under the
// lock, before all others. failure is what it ends with when that took too long.
func (s *calls) requeue(c *call, failure *Failure) {
	now := time.Now()
	if c.returned.IsZero() {
		c.returned = now
	}
	switch {
	case s.mu.closed:
		c.finish(nil, closed(warmpoolv1.Delivery_DELIVERY_NOT_SENT))
	case now.Sub(c.returned) > s.options.patience:
		c.finish(nil, failure)
	default:
		c.session = nil
		s.mu.queue.pushFront(c)
		s.rouse()
	}
}

// mostLosses is how many sidecars may be lost with one request before it is not sent
// again, be it idempotent: it may be what makes them crash.
const mostLosses = 3

// interrupt is what becomes of a call, under the lock, whose sidecar was lost with
// it: it goes to the next one if it may be carried out twice.
func (s *calls) interrupt(c *call, failure *Failure) {
	if !c.idempotent || c.losses == mostLosses {
		c.finish(nil, failure)
		return
	}
	c.losses++
	c.lost = failure
	s.requeue(c, failure)
}

// keep makes a session whenever calls wait and there is none.
func (s *calls) keep() {
	for {
		select {
		case <-s.wake:
			s.connect()
		case <-s.ctx.Done():
			return
		}
	}
}

// Pauses between sessions that were refused before they carried anything, as by a
// sidecar that drains.
const (
	leastPause = 5 * time.Millisecond
	mostPause  = 250 * time.Millisecond
)

// connect makes a session, unless there is one or nobody waits for it any more.
func (s *calls) connect() {
	for {
		s.mu.Lock()
		needed := s.mu.session == nil && s.mu.queue.length > 0 && !s.mu.closed
		pause := s.mu.pause
		s.mu.Unlock()
		if !needed {
			return
		}
		if pause > 0 && !sleep(s.ctx, pause) {
			return
		}
		ctx, cancel := context.WithCancel(s.ctx)
		stream, err := s.conn.NewStream(ctx, &bidirectional, sessionMethod, ownCodec)
		if err == nil {
			s.begin(stream, cancel)
			return
		}
		cancel()
		s.mu.Lock()
		s.mu.why = err
		s.mu.pause = min(max(2*s.mu.pause, leastPause), mostPause)
		s.mu.Unlock()
		s.expire()
	}
}

// begin has a session take calls.
func (s *calls) begin(stream grpc.ClientStream, cancel context.CancelFunc) {
	se := newSession(s, stream, cancel)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		cancel()
		return
	}
	s.mu.session = se
	s.mu.patience.Stop()
	s.running.Go(se.send)
	s.running.Go(se.receive)
	se.rouse()
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// expire ends the calls that have waited for a sidecar for too long.
func (s *calls) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.session != nil || s.mu.closed {
		return
	}
	now := time.Now()
	for c := s.mu.queue.head; c != nil; c = s.mu.queue.head {
		from := c.since
		if s.mu.missing.After(from) {
			from = s.mu.missing // until then it waited for its turn, not for a sidecar
		}
		if left := from.Add(s.options.patience).Sub(now); left > 0 {
			s.mu.patience.Reset(left)
			return
		}
		s.mu.queue.remove(c)
		c.finish(nil, absent(s.options.target, s.options.patience, s.mu.why))
	}
}

// close ends every call. The context has ended before.
func (s *calls) close() error {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.patience.Stop()
	for c := s.mu.queue.head; c != nil; c = s.mu.queue.head {
		s.mu.queue.remove(c)
		c.finish(nil, closed(warmpoolv1.Delivery_DELIVERY_NOT_SENT))
	}
	s.mu.Unlock()
	s.running.Wait()
	return s.conn.Close()
}

// callQueue is a queue of calls, from which any may be removed.
type callQueue struct {
	head, tail *call
	length     int
}

func (q *callQueue) push(c *call) {
	c.queued, c.prev, c.next = true, q.tail, nil
	if q.tail != nil {
		q.tail.next = c
	} else {
		q.head = c
	}
	q.tail = c
	q.length++
}

func (q *callQueue) pushFront(c *call) {
	c.queued, c.prev, c.next = true, nil, q.head
	if q.head != nil {
		q.head.prev = c
	} else {
		q.tail = c
	}
	q.head = c
	q.length++
}

func (q *callQueue) remove(c *call) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		q.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		q.tail = c.prev
	}
	c.queued, c.prev, c.next = false, nil, nil
	q.length--
}
