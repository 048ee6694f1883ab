package pool_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// closing closes the rig's pool, in the background.
func (r *rig) closing(within time.Duration) func() (error, time.Duration) {
	begun := time.Now()
	var took time.Duration
	result := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		err := r.pool.Close(ctx)
		took = time.Since(begun)
		result <- err
	}()
	synctest.Wait()
	return func() (error, time.Duration) { return <-result, took }
}

func TestClosingLetsRunningExchangesFinishAndRefusesTheRest(t *testing.T) {
	inMemory(t, oneConnection, func(t *testing.T, r *rig) {
		running := r.get("/running")
		peer := r.accept()
		peer.request()
		waiting := r.get("/waiting")
		synctest.Wait()
		closed := r.closing(time.Minute)
		waiting.failed(pool.ReasonDraining, pool.DeliveryNotSent)
		waiting.after(0)
		r.get("/late").failed(pool.ReasonDraining, pool.DeliveryNotSent)
		time.Sleep(5 * time.Second)
		peer.ok("running")
		running.answered("running")
		peer.finished()
		_ = peer.Close()
		if err, took := closed(); err != nil || took != 5*time.Second {
			t.Errorf("closing took %v and says %v", took, err)
		}
		r.quiet()
	})
}

func TestClosingCutsWhatDoesNotFinishInTimeAndSaysHowMuch(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		running := []*call{r.get("/1"), r.do(&pool.Request{Method: "POST", Body: make([]byte, 1<<20)})}
		r.accept().head()
		r.accept().head()
		closed := r.closing(3 * time.Second)
		for _, c := range running {
			c.failed(pool.ReasonDraining, pool.DeliveryUnknown)
			c.after(3 * time.Second)
		}
		err, took := closed()
		cut, ok := errors.AsType[*pool.CutError](err)
		if !ok || cut.Exchanges != 2 || cut.Upstream != "origin" || took != 3*time.Second {
			t.Errorf("closing took %v and says %v", took, err)
		}
		r.numbers(0, 0, 0, 0)
	})
}

func TestClosingHalfClosesWhatIsIdleAndDoesNotWaitLongForIt(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		peers := r.connected(2)
		closed := r.closing(time.Minute)
		for _, p := range peers {
			p.finished()
		}
		_ = peers[0].CloseWrite() // the other one never closes
		if err, took := closed(); err != nil || took != time.Second {
			t.Errorf("closing took %v and says %v", took, err)
		}
		r.closed(pool.CloseShutdown, 2)
	})
}

func TestClosingEndsWhatIsBeingDialed(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		waiting := r.get("/waiting")
		d := r.next()
		closed := r.closing(time.Minute)
		waiting.failed(pool.ReasonDraining, pool.DeliveryNotSent)
		if err, took := closed(); err != nil || took != 0 {
			t.Errorf("closing took %v and says %v", took, err)
		}
		d.accept() // nobody is there any more
		r.numbers(0, 0, 0, 0)
	})
}

// Whether the dial or the closing comes first, nothing is left.
func TestAConnectionThatIsDialedWhileThePoolClosesIsNotLeft(t *testing.T) {
	for range 50 {
		inMemory(t, func(p *pool.Policy) { p.Warm = 3 }, func(t *testing.T, r *rig) {
			for range 3 {
				d := r.next()
				go func() { _ = d.accept().CloseWrite() }()
			}
			if err := r.pool.Close(t.Context()); err != nil {
				t.Error(err)
			}
			r.numbers(0, 0, 0, 0)
		})
	}
}

func TestClosingTwiceOrAtOnceIsHarmless(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		running := r.get("/running")
		r.accept().request()
		patient, hasty := r.closing(time.Hour), r.closing(time.Second)
		running.failed(pool.ReasonDraining, pool.DeliveryUnknown)
		if err, took := hasty(); err == nil || took != time.Second {
			t.Errorf("the hasty one took %v and says %v", took, err)
		}
		if _, took := patient(); took != time.Second {
			t.Errorf("the patient one took %v", took)
		}
		if err := r.pool.Close(t.Context()); err != nil {
			t.Errorf("once more says %v", err)
		}
	})
}

func TestAClosedPoolTakesNoUpstream(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		if err := r.pool.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.pool.Add(pool.DefaultPolicy("late", "http://late.test")); err == nil {
			t.Error("an upstream was added to a closed pool")
		}
	})
}

func TestARemovedUpstreamSaysSo(t *testing.T) {
	inMemory(t, oneConnection, func(t *testing.T, r *rig) {
		running := r.get("/running")
		peer := r.accept()
		peer.request()
		waiting := r.get("/waiting")
		synctest.Wait()
		removed := make(chan error, 1)
		go func() { removed <- r.pool.Remove(t.Context(), "origin") }()
		waiting.failed(pool.ReasonUpstreamDeleted, pool.DeliveryNotSent)
		r.get("/late").failed(pool.ReasonUpstreamDeleted, pool.DeliveryNotSent)
		if _, err := r.pool.Upstream("origin"); err == nil {
			t.Error("a removed upstream is still found")
		}
		peer.ok("running")
		running.answered("running")
		_ = peer.Close()
		if err := <-removed; err != nil {
			t.Error(err)
		}
		if err := r.pool.Remove(t.Context(), "origin"); err == nil {
			t.Error("an upstream was removed twice")
		}
	})
}
