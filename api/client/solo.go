package client

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// solo is a session for a call that is alone: its goroutine sends the request and
// receives the reply itself, so that no other one has to be woken for either. That
// is what one call at a time waits for most.
//
// Whoever takes it owns it until it is given back. A call that gives up ends the
// stream: nothing else is on it.
type solo struct {
	taken atomic.Bool

	// Owned by who has taken it:

	stream grpc.ClientStream // nil: none is open
	cancel context.CancelFunc
	begun  time.Time
	id     uint64 // of the last call
	in     replies
}

func (so *solo) take() bool { return so.taken.CompareAndSwap(false, true) }

// drop ends the session.
func (so *solo) drop() {
	so.cancel()
	so.stream, so.cancel, so.id = nil, nil, 0
}

// begin opens the session unless it is open. It does not wait for a sidecar: where
// none is there, the queue is the place to wait.
func (so *solo) begin(s *calls) bool {
	if so.stream != nil {
		return true
	}
	if s.conn.GetState() != connectivity.Ready {
		return false
	}
	ctx, cancel := context.WithCancel(s.ctx)
	stream, err := s.conn.NewStream(ctx, &bidirectional, sessionMethod, ownCodec)
	if err != nil {
		cancel()
		return false
	}
	so.stream, so.cancel, so.begun = stream, cancel, time.Now()
	return true
}

// alone carries out a call on the solo session, which it has taken. sent reports
// whether it was sent: otherwise nothing has happened.
func (s *calls) alone(p *plan, request []byte) (reply []byte, failure *Failure, sent bool) {
	so := &s.solo
	defer so.taken.Store(false)
	if !so.begin(s) {
		return nil, nil, false
	}
	stop := func() bool { return true }
	if p.ctx.Done() != nil {
		stop = context.AfterFunc(p.ctx, so.cancel)
	}
	reply, failure, sent = s.exchangeAlone(p, request)
	if !stop() && so.stream != nil { // the context has ended, and the stream with it
		so.drop()
	}
	return reply, failure, sent
}

func (s *calls) exchangeAlone(p *plan, request []byte) (reply []byte, failure *Failure, sent bool) {
	so := &s.solo
	so.id++
	message := messages.empty(maxCallFrame + len(request))
	*message = appendSessionCall(*message, so.id, request)
	if so.stream.SendMsg(encoded{message}) != nil { // gRPC refuses a message as a whole
		so.drop()
		return nil, nil, false //nolint:nilerr // the queue meets the reason, if it lasts
	}
	p.wrote(nil)
	draining := false
	for {
		if err := so.stream.RecvMsg(&so.in); err != nil {
			so.drop()
			return s.lostAlone(p, err)
		}
		draining = draining || so.in.draining
		for i := range so.in.list {
			o := &so.in.list[i]
			if o.id != so.id {
				continue
			}
			outdated := s.options.outdated(o.failure, so.begun)
			if draining || outdated {
				so.drop()
			}
			if o.failure.drained() || outdated {
				return nil, nil, false // the queue knows what to do with it
			}
			return o.response, o.failure, true
		}
	}
}

// lostAlone is how a call ends whose stream has ended.
func (s *calls) lostAlone(p *plan, err error) (reply []byte, failure *Failure, sent bool) {
	switch {
	case p.ctx.Err() != nil:
		failure = ended(p.ctx, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
	case s.ctx.Err() != nil:
		failure = closed(warmpoolv1.Delivery_DELIVERY_UNKNOWN)
	default:
		failure = lost(err, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
	}
	return nil, failure, !failure.drained()
}
