package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// settle is how long the last answers may take to leave once no call runs, how
// long idle upstream connections may take to close, and how long the last metrics
// and traces may take to be delivered.
const settle = time.Second

// hurriedSettle is settle once drain.grace is over, or the sidecar was told twice to
// stop: whoever stops it may wait for two seconds in all, as Kubernetes does where
// the application has used up the time for both.
const hurriedSettle = 400 * time.Millisecond

// Serve answers until ctx ends, being ready once the warm floors stand or
// warm_timeout is over; then it drains: readiness goes, the sidecar keeps
// serving for drain.keep_serving, stops accepting, lets what runs finish for
// drain.grace, cuts what is left, and closes the pool. It returns nil when that
// is done, whether something was cut or not, and an error when a listener failed
// before ctx ended. Afterwards nothing of the sidecar runs any more.
//
// Serve must be called once.
func (s *Sidecar) Serve(ctx context.Context) error {
	warmth, cooled := context.WithCancel(ctx)
	defer cooled()
	var warmingUp sync.WaitGroup
	if len(s.pool.Shortfalls()) == 0 {
		s.health.enter(serving)
	} else {
		warmingUp.Go(func() { s.warmUp(warmth) })
	}
	failed := make(chan error, len(s.listeners))
	var accepting sync.WaitGroup
	for _, l := range s.listeners {
		accepting.Go(func() {
			if err := s.serve(l); err != nil {
				failed <- fmt.Errorf("%s listener %s: %w", l.front, l.address, err)
			}
		})
	}
	following, unfollow := context.WithCancel(context.Background())
	accepting.Go(func() { s.reloader.follow(following) })
	accepting.Go(func() { s.watchSockets(following) })
	accepting.Go(func() { s.origins.sweep(following) })
	accepting.Go(func() { newFailureLog(s.log).follow(following, s.pool) })
	s.log.Info("serving", "version", s.version, "upstreams", len(s.pool.Names()))

	var err error
	select {
	case <-ctx.Done():
		s.keepServing(failed)
	case err = <-failed:
		s.log.Error("a listener failed: stopping", "error", err)
	}
	unfollow()
	cooled()
	warmingUp.Wait()
	s.drain()
	accepting.Wait()
	s.log.Info("stopped")
	return err
}

// serve accepts on one listener until its server stops.
func (s *Sidecar) serve(l *listener) error {
	var err error
	switch l.front {
	case frontData:
		err = s.data.Serve(l)
	case frontControl:
		err = s.control.Serve(l)
	default:
		err = s.admin.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// keepServing takes the readiness away and goes on for drain.keep_serving.
func (s *Sidecar) keepServing(failed <-chan error) {
	s.health.enter(leaving)
	keep := s.settings.keepServing()
	if keep <= 0 {
		return
	}
	s.log.Info("stopping, but still serving", "for", keep)
	over := time.NewTimer(keep)
	defer over.Stop()
	select {
	case <-over.C:
	case <-s.hurried:
	case err := <-failed:
		s.log.Error("a listener failed", "error", err)
	}
}

// Hurry ends a drain, or drain.keep_serving before it, as if drain.grace were over:
// what runs fails with what is known of its delivery, and Serve returns within two
// seconds. It may be called more than once, and before the drain has begun, which
// it then shortens.
func (s *Sidecar) Hurry() { s.hurry() }

// drain ends everything, in the order in which nothing is lost that can be
// finished within drain.grace.
func (s *Sidecar) drain() {
	s.events.publish(&warmpoolv1.Event{Kind: warmpoolv1.EventKind_EVENT_KIND_DRAINING})
	s.health.enter(draining)
	s.running.drain()
	s.pool.Drain()
	s.http.sessions.drain()
	grace := s.settings.grace()
	s.log.Info("draining", "running", s.running.calls.Load(), "grace", grace)

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		var wg sync.WaitGroup
		wg.Go(s.data.GracefulStop)
		wg.Go(s.control.GracefulStop)
		wg.Wait()
	}()
	patience := settle
	if s.finish(stopped, grace) {
		patience = hurriedSettle
	}
	s.data.Stop()
	s.control.Stop()
	<-stopped

	// Both may have to wait for others, who are not to be waited for twice.
	var ends sync.WaitGroup
	ends.Go(func() {
		s.cutting.Wait()
		s.closePool(patience)
		s.book.deletions.Wait()
		s.stopTelemetry(patience)
	})
	ends.Go(func() { s.stopAdmin(patience) })
	ends.Wait()
	s.dialLog.stop()
}

// finish waits until the servers have stopped gracefully, or no call is left and
// its answer had the time to leave: then sessions whose clients have not ended them
// are ended, and what else is open is left to be broken off. Calls that still run
// when grace is over, or the sidecar is hurried, are ended by closing the pool, so
// that they fail with a reason and say what is known of their delivery, instead of
// just breaking off. It reports whether it came to that.
func (s *Sidecar) finish(stopped <-chan struct{}, grace time.Duration) (cut bool) {
	graceOver := time.NewTimer(grace)
	defer graceOver.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	<-settled.C
	hurried, ending := s.hurried, false
	for {
		over := false
		select {
		case <-stopped:
			return cut
		case <-s.running.idle:
			if !ending {
				settled.Reset(settle)
			}
		case <-settled.C:
			switch {
			case ending:
				return cut
			case s.running.calls.Load() == 0:
				ending = true
				s.http.sessions.close()
				settled.Reset(hurriedSettle)
			}
		case <-graceOver.C:
			s.log.Warn("drain.grace is over", "running", s.running.calls.Load())
			over = true
		case <-hurried:
			s.log.Warn("the drain is cut short", "running", s.running.calls.Load())
			over = true
		}
		if over && !cut {
			hurried, cut, ending = nil, true, true
			graceOver.Stop()
			// Not waited for: what a client does not read is held until its connection is closed.
			s.cutting.Go(func() { s.closePool(0) })
			s.http.sessions.close()
			settled.Reset(hurriedSettle)
		}
	}
}

// closePool closes the pool, giving what runs on it the time given, and logs
// what was cut.
func (s *Sidecar) closePool(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, err := range unjoin(s.pool.Close(ctx)) {
		if cut, ok := errors.AsType[*pool.CutError](err); ok {
			s.log.Warn("running exchanges were cut", "reason", pool.ReasonDraining.String(), "upstream", cut.Upstream, "exchanges", cut.Exchanges)
		} else {
			s.log.Error("closing the pool", "error", err)
		}
	}
}

// stopTelemetry sends what has not been sent yet, if that is done in a moment.
func (s *Sidecar) stopTelemetry(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.telemetry.stop(ctx); err != nil {
		s.log.Warn("metrics or traces were not delivered", "error", err)
	}
}

// unjoin takes apart what errors.Join put together.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// stopAdmin ends the probes last, so that they can be asked during the drain.
func (s *Sidecar) stopAdmin(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.admin.Shutdown(ctx) != nil {
		_ = s.admin.Close() // what is left is a probe that does not read its answer
	}
	s.probes.Stop()
}
