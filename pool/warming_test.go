package pool_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// warmed is a call of Warm under way.
type warmed struct {
	result pool.WarmResult
	err    error
	over   chan struct{}
}

func (r *rig) warm(ctx context.Context, n int, hold time.Duration) *warmed {
	w := &warmed{over: make(chan struct{})}
	go func() {
		defer close(w.over)
		w.result, w.err = r.upstream.Warm(ctx, pool.WarmRequest{Connections: n, Hold: hold})
	}()
	synctest.Wait()
	return w
}

func TestWarmRaisesHoldsAndThenDecays(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxDialing, p.MaxIdleTime = 3, 10*time.Second }, func(t *testing.T, r *rig) {
		busy := r.connected(1)[0]
		running := r.get("/slow")
		busy.request()
		w := r.warm(t.Context(), 6, time.Minute)
		for range 5 { // the active one counts
			time.Sleep(100 * time.Millisecond)
			d := r.next()
			d.accept()
		}
		<-w.over
		if w.err != nil || w.result.Ready != 6 || w.result.Dialed != 5 || w.result.Failed != 0 || w.result.Took != 500*time.Millisecond {
			t.Errorf("%+v, %v; want 6 ready, 5 dialed after 500ms", w.result, w.err)
		}
		if left := time.Until(w.result.HoldUntil); left != time.Minute-w.result.Took {
			t.Errorf("held for %v more, want a minute from the call", left)
		}
		busy.ok("slow")
		running.answered("slow")
		go func() {
			for d := range r.dials {
				d.accept()
			}
		}()
		for range 5 { // replaced as they end
			time.Sleep(10 * time.Second)
			if s := r.upstream.Stats(); s.Idle < 6 || s.Warm != 6 {
				t.Errorf("%d are idle, the floor is %d; want 6 while it is held", s.Idle, s.Warm)
			}
		}
		time.Sleep(25 * time.Second)
		if s := r.upstream.Stats(); s.Total != 0 || s.Warm != 0 {
			t.Errorf("%d connections are left, the floor is %d", s.Total, s.Warm)
		}
		close(r.dials)
	})
}

func TestWarmSaysWhatIsMissingWhenTheTimeIsUp(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxDialing = 1 }, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		w := r.warm(ctx, 3, time.Minute)
		r.accept()
		r.next().refuse()
		r.next() // hangs
		<-w.over
		e, ok := w.err.(*pool.Error)
		if !ok || e.Reason != pool.ReasonDeadlineExceeded || w.result.Ready != 1 || w.result.Dialed != 1 || w.result.Failed != 1 || w.result.Took != 2*time.Second {
			t.Fatalf("%+v, %v", w.result, w.err)
		}
		if text := e.Error(); !strings.Contains(text, "1 of 3 connections are ready") || !strings.Contains(text, "refused") {
			t.Errorf("it says %q", text)
		}
		// What was begun goes on.
		if s := r.upstream.Stats(); s.Warm != 3 {
			t.Errorf("the floor is %d, want 3 for the rest of the minute", s.Warm)
		}
	})
}

func TestWarmRefusesWhatIsOutOfBoundsAndEndsWithItsUpstream(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Max = 8 }, func(t *testing.T, r *rig) {
		for _, n := range []int{-1, 0, 9} {
			_, err := r.upstream.Warm(t.Context(), pool.WarmRequest{Connections: n, Hold: time.Minute})
			if e, ok := err.(*pool.Error); !ok || e.Reason != pool.ReasonInvalidRequest || !strings.Contains(e.Error(), "must be 1 to max (8)") {
				t.Errorf("%d: %v", n, err)
			}
		}
		w := r.warm(t.Context(), 2, 0)
		r.accept()
		if err := r.pool.Close(ended()); err != nil {
			t.Error(err)
		}
		<-w.over
		if e, ok := w.err.(*pool.Error); !ok || e.Reason != pool.ReasonDraining {
			t.Errorf("after the end: %v", w.err)
		}
	})
}

func TestAHoldBoundsTheWaitAsWell(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		w := r.warm(t.Context(), 1, 500*time.Millisecond)
		<-w.over
		if e, ok := w.err.(*pool.Error); !ok || e.Reason != pool.ReasonDeadlineExceeded || w.result.Took != 500*time.Millisecond {
			t.Errorf("%+v, %v", w.result, w.err)
		}
		r.next().refuse()
		time.Sleep(time.Minute)
		r.quiet() // nobody wants it any more
	})
}

func TestTheShortfallOfAWarmFloorIsTold(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Warm = 2 }, func(t *testing.T, r *rig) {
		r.accept()
		synctest.Wait()
		r.next().refuse()
		synctest.Wait()
		short := r.pool.Shortfalls()
		if len(short) != 1 || short[0].Ready != 1 || short[0].Floor != 2 || !strings.Contains(short[0].String(), "origin 1 of 2 (connecting to 10.0.0.1:80 failed: ") {
			t.Errorf("short of the floor: %v", short)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		over := make(chan error, 1)
		go func() { over <- r.upstream.AwaitWarm(ctx) }()
		r.accept()
		if err := <-over; err != nil {
			t.Error(err)
		}
		if short := r.pool.Shortfalls(); len(short) > 0 {
			t.Errorf("short of the floor: %v", short)
		}
	})
}
