package pool_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// begun runs a verb that answers when something is done.
func begun[T any](do func() (T, error)) *operation[T] {
	o := &operation[T]{over: make(chan struct{})}
	go func() {
		defer close(o.over)
		o.done, o.err = do()
	}()
	synctest.Wait()
	return o
}

type operation[T any] struct {
	over chan struct{}
	done T
	err  error
}

func (o *operation[T]) running() bool {
	synctest.Wait()
	select {
	case <-o.over:
		return false
	default:
		return true
	}
}

func (r *rig) pause(ctx context.Context, d time.Duration) *operation[struct{}] {
	return begun(func() (struct{}, error) { return struct{}{}, r.upstream.Pause(ctx, d) })
}

func (r *rig) drained(ctx context.Context, grace time.Duration) *operation[pool.Emptied] {
	return begun(func() (pool.Emptied, error) { return r.upstream.Drain(ctx, grace) })
}

func (r *rig) reconnected(ctx context.Context, grace time.Duration) *operation[pool.Replaced] {
	return begun(func() (pool.Replaced, error) { return r.upstream.Reconnect(ctx, grace) })
}

func (r *rig) mode(want pool.Mode) {
	r.tb.Helper()
	synctest.Wait()
	if got := r.upstream.Mode(); got != want {
		r.tb.Errorf("the upstream is %v, want %v", got, want)
	}
}

func TestAPauseAnswersWhenNothingIsUnderWayAndLetsRequestsWait(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxWait = time.Minute }, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		under := r.get("/under")
		peer.request()
		pause := r.pause(t.Context(), 0)
		r.mode(pool.ModePaused)
		late := r.get("/late")
		if !pause.running() {
			t.Error("it has answered with an exchange under way")
		}
		peer.ok("under")
		under.answered("under")
		if pause.running() || pause.err != nil {
			t.Errorf("it has not answered, or failed: %v", pause.err)
		}
		if !late.running() || peer.pending() {
			t.Error("a request was sent during the pause")
		}
		if err := r.upstream.Resume(); err != nil {
			t.Fatal(err)
		}
		if got := peer.request(); got != "/late" {
			t.Errorf("the peer read %s", got)
		}
		peer.ok("late")
		late.answered("late")
		r.quiet()
	})
}

func TestAPauseEndsByItself(t *testing.T) {
	var told []pool.Mode
	o := pool.Options{Observer: pool.Observer{ModeChanged: func(_ string, m pool.Mode) { told = append(told, m) }}}
	inMemoryWith(t, o, func(p *pool.Policy) { p.MaxWait = time.Minute }, func(t *testing.T, r *rig) {
		r.pause(t.Context(), 10*time.Second)
		c := r.get("/a")
		go r.accept().echo()
		c.answered("/a")
		c.after(10 * time.Second)
		r.mode(pool.ModeActive)
		if !slices.Equal(told, []pool.Mode{pool.ModePaused, pool.ModeActive}) {
			t.Errorf("told of %v", told)
		}
	})
}

func TestARequestThatCannotWaitForTheEndOfAPauseIsToldSo(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.MaxWaiting = 1 }, func(t *testing.T, r *rig) {
		r.pause(t.Context(), 0)
		a, b := r.get("/a"), r.get("/b")
		b.failed(pool.ReasonUpstreamPaused, pool.DeliveryNotSent)
		b.after(0)
		a.failed(pool.ReasonUpstreamPaused, pool.DeliveryNotSent)
		a.after(time.Second)
	})
}

func TestADrainFinishesWhatIsHereAndRefusesWhatIsNew(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Max, p.Warm = 1, 1 }, func(t *testing.T, r *rig) {
		peer := r.accept()
		under, waits := r.get("/under"), r.get("/waits")
		peer.request()
		drain := r.drained(t.Context(), time.Minute)
		r.get("/new").failed(pool.ReasonDraining, pool.DeliveryNotSent)
		r.mode(pool.ModeDraining)
		peer.ok("under")
		under.answered("under")
		if h := peer.head(); h.URL.Path != "/waits" || !h.Close {
			t.Errorf("the peer read %s, close %v", h.URL.Path, h.Close)
		}
		peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nw")
		_ = peer.Close()
		waits.answered("w")
		if drain.running() || drain.err != nil || drain.done != (pool.Emptied{Closed: 1}) {
			t.Errorf("the drain: %+v, %v", drain.done, drain.err)
		}
		r.mode(pool.ModeDrained)
		r.quiet()
		if err := r.upstream.Resume(); err != nil {
			t.Fatal(err)
		}
		r.accept() // the floor
		r.mode(pool.ModeActive)
	})
}

func TestADrainCancelsWhatIsLeftWhenItsTimeIsOver(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Max, p.MaxWait = 1, time.Minute }, func(t *testing.T, r *rig) {
		under := r.get("/under")
		r.accept().request()
		waits := r.get("/waits")
		drain := r.drained(t.Context(), 3*time.Second)
		under.failed(pool.ReasonDraining, pool.DeliveryUnknown)
		waits.failed(pool.ReasonDraining, pool.DeliveryNotSent)
		under.after(3 * time.Second)
		<-drain.over
		if drain.err != nil || drain.done != (pool.Emptied{Closed: 1, Cancelled: 2}) {
			t.Errorf("the drain: %+v, %v", drain.done, drain.err)
		}
		r.closed(pool.CloseDrain, 1)
		var mode *pool.ModeError
		if err := r.upstream.Pause(t.Context(), 0); !errors.As(err, &mode) || mode.Mode != pool.ModeDrained {
			t.Errorf("pausing what is drained: %v", err)
		}
	})
}

func TestADrainThatIsResumedSaysSo(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		under := r.get("/under")
		peer := r.accept()
		peer.request()
		drain := r.drained(t.Context(), time.Minute)
		if err := r.upstream.Resume(); err != nil {
			t.Fatal(err)
		}
		var mode *pool.ModeError
		if drain.running() || !errors.As(drain.err, &mode) {
			t.Errorf("the drain: %+v, %v", drain.done, drain.err)
		}
		peer.ok("under")
		under.answered("under")
		r.numbers(0, 1, 0, 0)
	})
}

func TestTheWarmFloorIsToldWhenItIsReachedAndWhenNotAnyMore(t *testing.T) {
	var told []int
	o := pool.Options{Observer: pool.Observer{WarmChanged: func(_ string, ready, floor int) { told = append(told, ready, floor) }}}
	inMemoryWith(t, o, func(p *pool.Policy) { p.Warm = 2 }, func(t *testing.T, r *rig) {
		one := r.accept()
		r.accept()
		synctest.Wait()
		_ = one.Close()
		r.accept()
		synctest.Wait()
		if !slices.Equal(told, []int{2, 2, 1, 2, 2, 2}) {
			t.Errorf("told of %v", told)
		}
	})
}

func TestAReconnectMakesBeforeItBreaks(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		old := r.connected(2)
		under := r.get("/under")
		old[1].request()
		reconnect := r.reconnected(t.Context(), -1)
		one, two := r.next(), r.next()
		r.numbers(1, 1, 2, 0)
		c := r.get("/meanwhile") // before any new one stands
		if got := old[0].request(); got != "/meanwhile" {
			t.Errorf("the old one read %s", got)
		}
		fresh := one.accept()
		old[0].ok("meanwhile")
		c.answered("meanwhile")
		old[0].finished()
		_ = old[0].Close()
		two.accept()
		if !reconnect.running() {
			t.Error("it has answered with an exchange under way on an old connection")
		}
		old[1].ok("under")
		under.answered("under")
		old[1].finished()
		_ = old[1].Close()
		<-reconnect.over
		if reconnect.err != nil || reconnect.done != (pool.Replaced{Closed: 2, Opened: 2}) {
			t.Errorf("the reconnect: %+v, %v", reconnect.done, reconnect.err)
		}
		go fresh.echo()
		r.numbers(0, 2, 0, 0)
		r.closed(pool.CloseReconnect, 2)
	})
}

func TestAReconnectCutsWhatItsTimeWasTooShortFor(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		under := r.get("/under")
		r.accept().request()
		reconnect := r.reconnected(t.Context(), time.Second)
		r.accept()
		under.failed(pool.ReasonDraining, pool.DeliveryUnknown)
		under.after(time.Second)
		<-reconnect.over
		if reconnect.err != nil || reconnect.done != (pool.Replaced{Closed: 1, Opened: 1, Cancelled: 1}) {
			t.Errorf("the reconnect: %+v, %v", reconnect.done, reconnect.err)
		}
	})
}

func TestAReconnectToWhatCannotBeReachedKeepsTheOldConnections(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		old := r.connected(1)[0]
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		reconnect := r.reconnected(ctx, 0)
		go func() {
			for ctx.Err() == nil {
				select {
				case d := <-r.dials:
					d.refuse()
				case <-ctx.Done():
				}
			}
		}()
		<-reconnect.over
		if !errors.Is(reconnect.err, context.DeadlineExceeded) {
			t.Errorf("the reconnect: %+v, %v", reconnect.done, reconnect.err)
		}
		c := r.get("/after")
		old.request()
		old.ok("after")
		c.answered("after")
	})
}

func TestAnotherURLMovesTheConnectionsNewOnesFirst(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		old := r.connected(1)[0]
		r.changed(func(p *pool.Policy) {
			p.URL, p.Endpoints = "http://elsewhere.test:8080", []netip.AddrPort{endpointTwo}
		})
		d := r.next()
		if d.address != endpointTwo.String() {
			t.Errorf("%s is dialed", d.address)
		}
		c := r.get("/a") // while it is dialed, it goes where it went before
		if h := old.head(); h.Host != "origin.test" {
			t.Errorf("the old one is asked for %s", h.Host)
		}
		fresh := d.accept()
		old.ok("a")
		c.answered("a")
		old.finished()
		c = r.get("/b")
		if h := fresh.head(); h.Host != "elsewhere.test:8080" {
			t.Errorf("the new one is asked for %s", h.Host)
		}
		fresh.ok("b")
		c.answered("b")
	})
}

func TestARequestThatWaitedForOneOriginIsMadeForTheOther(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Max, p.MaxWait = 1, time.Minute }, func(t *testing.T, r *rig) {
		under := r.get("/under")
		old := r.accept()
		old.request()
		waits := r.get("/waits")
		r.changed(func(p *pool.Policy) {
			p.URL, p.Endpoints = "http://elsewhere.test", []netip.AddrPort{endpointTwo}
		})
		old.ok("under")
		under.answered("under")
		old.finished()
		_ = old.Close()
		fresh := r.accept()
		if h := fresh.head(); h.Host != "elsewhere.test" || h.URL.Path != "/waits" {
			t.Errorf("the new one is asked for %s of %s", h.URL.Path, h.Host)
		}
		fresh.ok("waits")
		waits.answered("waits")
	})
}

func TestAConnectionIsClosedByItsID(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		r.connected(2)
		c := r.get("/a")
		list := r.upstream.Connections()
		var active, idle pool.ConnectionInfo
		for _, i := range list {
			if i.State == "idle" {
				idle = i
			} else {
				active = i
			}
		}
		type closed struct {
			info  pool.ConnectionInfo
			why   pool.CloseReason
			found bool
		}
		end := func(id uint64, force bool) *operation[closed] {
			return begun(func() (closed, error) {
				info, why, found, err := r.pool.CloseConnection(t.Context(), id, force)
				return closed{info, why, found}, err
			})
		}
		gentle := end(active.ID, false)
		if !gentle.running() {
			t.Fatal("it has answered with an exchange under way")
		}
		forced := end(active.ID, true)
		c.failed(pool.ReasonDraining, pool.DeliveryUnknown)
		for _, o := range []*operation[closed]{gentle, forced} {
			<-o.over
			if o.err != nil || o.done.why != pool.CloseByOperator || o.done.info.ID != active.ID || o.done.info.State != "closed" {
				t.Errorf("%+v, %v", o.done, o.err)
			}
		}
		if o := end(idle.ID, false); o.running() {
			<-o.over // the peer, which does not close, has a second for it
		}
		r.closed(pool.CloseByOperator, 2)
		if o := end(12345, true); o.running() || o.done.found {
			t.Error("a connection was found that there is none of")
		}
	})
}

func TestAConnectionThatIsDialedIsListedAndClosed(t *testing.T) {
	inMemory(t, func(p *pool.Policy) { p.Warm = 1 }, func(t *testing.T, r *rig) {
		d := r.next()
		dials := r.upstream.Dials()
		if len(dials) != 1 || dials[0].State != "dialing" || dials[0].Endpoint != endpointOne {
			t.Fatalf("dials: %+v", dials)
		}
		o := begun(func() (pool.CloseReason, error) {
			_, why, _, err := r.pool.CloseConnection(t.Context(), dials[0].ID, false)
			return why, err
		})
		d.accept().finished()
		<-o.over
		if o.done != pool.CloseByOperator || o.err != nil {
			t.Errorf("closed for %v, %v", o.done, o.err)
		}
	})
}
