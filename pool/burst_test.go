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

// A burst of POSTs that is as large as the floor, after idleness. Before, the upstream
// has stood for a while and been asked for one such burst, so that whatever is being
// replaced is so at the moment of one row or another.
func TestABurstAfterIdlenessFindsTheFloor(t *testing.T) {
	const oneWay, floor = 25 * time.Millisecond, 32
	for _, limit := range []time.Duration{5 * time.Second, time.Minute} {
		for _, idle := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, 70 * time.Second} {
			for _, age := range []time.Duration{0, 3 * time.Second, 8 * time.Second, 47 * time.Second, 70 * time.Second} {
				t.Run(fmt.Sprintf("closes after %s, idle %s, age %s", limit, idle, age), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						network := &far{delay: oneWay, tb: t, serve: answersFor(limit)}
						p := pool.New(pool.Options{Dial: network.Dial})
						policy := pool.DefaultPolicy("origin", "http://origin.test")
						policy.Endpoints = []netip.AddrPort{endpointOne}
						policy.Warm, policy.Max = floor, 2*floor
						u, err := p.Add(policy)
						if err != nil {
							t.Fatal(err)
						}
						if err := u.AwaitWarm(t.Context()); err != nil {
							t.Fatal(err)
						}
						time.Sleep(age)
						burst := func() (late int) {
							took := make(chan time.Duration, floor)
							for range floor {
								go func() {
									begun := time.Now()
									if _, err := u.Do(context.Background(), &pool.Request{Method: "POST", Path: "/"}); err != nil {
										t.Error(err)
									}
									took <- time.Since(begun)
								}()
							}
							for range floor {
								if d := <-took; d > 2*oneWay {
									late++
								}
							}
							return late
						}
						if late := burst(); late > 0 {
							t.Errorf("%d of the first burst were late", late)
						}
						time.Sleep(idle)
						if late := burst(); late > 0 {
							t.Errorf("%d of the burst after idleness were late", late)
						}
						_ = p.Close(ended())
						network.tasks.Wait()
					})
				})
			}
		}
	}
}
