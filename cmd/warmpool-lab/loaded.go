package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// A pool of loadedMax connections, each good for loadedRequests requests, is asked at
// random moments for loadedShare of what it can carry when every one stands: a
// connection carries one request in a round trip.
const (
	loadedMax      = 16
	loadedRequests = 50
	loadedShare    = 0.8
	// loadedBefore is for how long the load grows to that, so that not all connections
	// are full from their beginning and end together, again and again.
	loadedBefore = 4 * time.Second
)

// LoadedFigures is what requests showed under load, with connections dialed ahead of
// them and without.
type LoadedFigures struct {
	TLS      bool            `json:"tls"`
	Ahead    bool            `json:"ahead"` // connections.preconnect is the default, else 1
	Took     []time.Duration `json:"took_ns"`
	Dialed   uint64          `json:"dialed"`
	Failures int             `json:"failures"`
	First    string          `json:"first_failure,omitempty"`
}

// loaded asks for a while, at the same moments whatever the kind.
func (c *caller) loaded(ctx context.Context, kind Kind, tls bool, round int) *LoadedFigures {
	f := &LoadedFigures{TLS: tls, Ahead: kind == Ahead}
	v, ok := c.ways[Warmpool].(*viaSidecar)
	if !ok {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, loadedBefore+c.Plan.Loaded+requestLimit)
	defer cancel()
	slot := Slot{Kind: kind, Origin: c.Plan.patient(tls), N: round}
	var (
		mu    sync.Mutex
		group sync.WaitGroup
	)
	pause := time.Duration(float64(2*c.OneWay) / loadedMax / loadedShare) // on average
	chance := rand.New(rand.NewPCG(uint64(round), 80))
	begun := time.Now()
	var before uint64
	counted := false
	for at := time.Duration(0); at < loadedBefore+c.Plan.Loaded; {
		time.Sleep(time.Until(begun.Add(at)))
		if at >= loadedBefore && !counted {
			counted = true
			before = f.dialed(ctx, v, slot)
		}
		counts := counted
		// A tenth of the load at first, then more and more.
		grown := max(0.1, min(1, float64(at)/float64(loadedBefore)))
		at += time.Duration(chance.ExpFloat64() * float64(pause) / grown)
		group.Go(func() {
			asked := time.Now()
			_, err := v.ask(ctx, slot, request{size: c.Plan.Sizes[0]})
			took := time.Since(asked)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				f.fail(err)
			case counts:
				f.Took = append(f.Took, took)
			}
		})
	}
	group.Wait()
	f.Dialed = f.dialed(ctx, v, slot) - before
	slices.Sort(f.Took)
	return f
}

func (f *LoadedFigures) fail(err error) {
	f.Failures++
	if f.First == "" {
		f.First = err.Error()
	}
}

// dialed is how many connections the slot's pool has made.
func (f *LoadedFigures) dialed(ctx context.Context, v *viaSidecar, s Slot) (n uint64) {
	stats, err := v.control.GetStats(ctx, &warmpoolv1.GetStatsRequest{Upstreams: []string{s.Name()}})
	if err != nil {
		f.fail(err)
		return 0
	}
	for _, u := range stats.GetStats().GetUpstreams() {
		n += u.GetOpened()
	}
	return n
}
