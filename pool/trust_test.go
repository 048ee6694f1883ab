package pool_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// answersFor serves requests on a connection until it has been idle for limit between
// two of them. For the first one it waits an hour.
func answersFor(limit time.Duration) func(*peer) {
	return func(p *peer) {
		defer p.Close()
		tired := time.AfterFunc(time.Hour, func() { _ = p.Close() })
		defer tired.Stop()
		for {
			if _, err := p.r.Peek(1); err != nil || !tired.Stop() {
				return
			}
			p.request()
			p.ok("ok")
			tired.Reset(limit)
		}
	}
}

// A server with an idle timeout is met by the first POST that comes after it, from
// 100 ms before to 50 ms after it closes, on a way of 50 ms. Nothing is known of it,
// and the network in memory has no kernel that proves anything: a POST that meets the
// close is lost.
func TestAPostThatMayMeetAnUnknownIdleTimeoutIsNotLost(t *testing.T) {
	const oneWay = 25 * time.Millisecond
	for _, limit := range []time.Duration{2 * time.Second, 5 * time.Second, 20 * time.Second} {
		for _, floor := range []int{0, 1, 4} {
			t.Run(fmt.Sprintf("%s, floor %d", limit, floor), func(t *testing.T) {
				for offset := -100 * time.Millisecond; offset <= 50*time.Millisecond; offset += 5 * time.Millisecond {
					synctest.Test(t, func(t *testing.T) {
						network := &far{delay: oneWay, tb: t, serve: answersFor(limit)}
						p := pool.New(pool.Options{Dial: network.Dial})
						policy := pool.DefaultPolicy("origin", "http://origin.test")
						policy.Endpoints = []netip.AddrPort{endpointOne}
						policy.Warm = floor
						u, err := p.Add(policy)
						if err != nil {
							t.Fatal(err)
						}
						if err := u.AwaitWarm(t.Context()); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Second)
						post := func() *pool.Receipt {
							t.Helper()
							res, err := u.Do(context.Background(), &pool.Request{Method: "POST", Path: "/", Receipt: true})
							if err != nil {
								t.Fatalf("%v from the close: %v", offset, err)
							}
							return res.Receipt
						}
						post()
						time.Sleep(limit - oneWay + offset)
						begun := time.Now()
						receipt := post()
						took := time.Since(begun)
						if floor > 0 && (took != 2*oneWay || !receipt.Reused) {
							t.Errorf("%v from the close, it took %v on a connection that was there %t", offset, took, receipt.Reused)
						}
						if floor == 0 && took > 4*oneWay {
							t.Errorf("%v from the close, it took %v", offset, took)
						}
						_ = p.Close(ended())
						network.tasks.Wait()
					})
				}
			})
		}
	}
}

// What caution costs a floor that is never used: as the first connections have proven
// twenty times longer with each, few rounds.
func TestAFloorOfTrustedConnectionsCostsFewHandshakes(t *testing.T) {
	const floor = 8
	synctest.Test(t, func(t *testing.T) {
		network := &far{delay: 25 * time.Millisecond, tb: t, serve: impatient(func() time.Duration { return time.Hour }, func(string, string) {})}
		p := pool.New(pool.Options{Dial: network.Dial})
		policy := pool.DefaultPolicy("origin", "http://origin.test")
		policy.Endpoints = []netip.AddrPort{endpointOne}
		policy.Warm, policy.MaxIdleTime, policy.MaxLifetime = floor, 0, 0
		u, err := p.Add(policy)
		if err != nil {
			t.Fatal(err)
		}
		opened := func(within time.Duration) int {
			before := u.Stats().Opened
			time.Sleep(within)
			return int(u.Stats().Opened - before)
		}
		if err := u.AwaitWarm(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := opened(time.Minute); n != floor {
			t.Errorf("%d handshakes in the first minute without a request, want a second floor", n)
		}
		if n := opened(5 * time.Minute); n != floor {
			t.Errorf("%d handshakes in the next five minutes, want a third floor", n)
		}
		if n := opened(20 * time.Minute); n > 0 {
			t.Errorf("%d handshakes in the next twenty minutes, want none", n)
		}
		done := make(chan struct{}, floor)
		for range floor {
			go func() {
				if _, err := u.Do(context.Background(), &pool.Request{Method: "POST", Path: "/"}); err != nil {
					t.Error(err)
				}
				done <- struct{}{}
			}()
		}
		for range floor {
			<-done
		}
		if n := opened(time.Minute); n > floor {
			t.Errorf("%d handshakes in the minute after the first requests, want no more than a floor", n)
		}
		if n := opened(5 * time.Minute); n > 0 {
			t.Errorf("%d handshakes in the five minutes after that, want none", n)
		}
		_ = p.Close(ended())
		network.tasks.Wait()
	})
}
