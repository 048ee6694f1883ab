package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// The comparison of connection handling: so many objects of one size.
const (
	objects         = 40
	objectSize      = 10_000
	objectsParallel = 4
)

// ObjectsTook is one way of fetching the objects, once.
type ObjectsTook struct {
	Way   string        `json:"way"`
	TLS   bool          `json:"tls"`
	Took  time.Duration `json:"took_ns"`
	Error string        `json:"error,omitempty"`
}

// fetching is how the objects are fetched.
type fetching struct {
	name    string
	kind    Kind
	workers int
	close   bool
	primed  func(context.Context, *viaSidecar, Slot) error // before; nil: nothing
}

const pipelinedWarmName = "1 connection, pipelined, warm"

var fetchings = []fetching{
	{name: "new connections, one after another", kind: NewSerial, workers: 1, close: true},
	{name: "new connections, 4 in parallel", kind: NewParallel, workers: objectsParallel, close: true},
	{name: "1 persistent connection", kind: Persistent, workers: 1},
	{name: "4 persistent connections", kind: Parallel, workers: objectsParallel},
	{name: "1 connection, pipelined, unused before", kind: Pipelined, workers: objects, primed: fetchSmallest},
	{name: pipelinedWarmName, kind: Pipelined, workers: objects, primed: fetchAll},
}

// fetchSmallest asks for as little as can be: a connection that has never
// answered is not pipelined on.
func fetchSmallest(ctx context.Context, v *viaSidecar, s Slot) error {
	_, err := v.ask(ctx, s, request{size: 1})
	return err
}

// fetchAll fetches the objects, twice, so that the origin's window is then wide
// enough for all of them: after once it has as many segments as they have, more or
// less, and TLS needs a few more.
func fetchAll(ctx context.Context, v *viaSidecar, s Slot) error {
	for range 2 {
		if _, err := v.askTogether(ctx, s, request{size: objectSize}, objects); err != nil {
			return err
		}
	}
	return nil
}

// objects fetches them each way, everything through warmpool. The ways that take
// seconds go side by side; what takes a round trip or a few is not to be held up
// by another one on the same two cores, so they come after, one by one.
func (c *caller) objects(ctx context.Context) []ObjectsTook {
	v, ok := c.ways[Warmpool].(*viaSidecar)
	if !ok {
		return nil
	}
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		all   []ObjectsTook
	)
	fetch := func(f fetching, tls bool, round int) {
		took, err := f.fetch(ctx, v, Slot{Kind: f.kind, Origin: c.Plan.patient(tls), N: round})
		o := ObjectsTook{Way: f.name, TLS: tls, Took: took}
		if err != nil {
			o.Error = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, o)
	}
	each := func(play func(tls bool, round int)) {
		for round := range c.Plan.Objects {
			for _, tls := range []bool{false, true} {
				play(tls, round)
			}
		}
	}
	each(func(tls bool, round int) {
		group.Go(func() {
			for _, f := range fetchings {
				if f.kind != Pipelined {
					fetch(f, tls, round)
				}
			}
		})
	})
	group.Wait()
	each(func(tls bool, round int) {
		for _, f := range fetchings {
			if f.kind == Pipelined {
				fetch(f, tls, round)
			}
		}
	})
	return all
}

func (f fetching) fetch(ctx context.Context, v *viaSidecar, s Slot) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestLimit)
	defer cancel()
	if f.primed != nil {
		if err := f.primed(ctx, v, s); err != nil {
			return 0, err
		}
	}
	r := request{size: objectSize, close: f.close}
	began := time.Now()
	if f.workers == objects { // all at once, in the order in which they are asked for
		_, err := v.askTogether(ctx, s, r, objects)
		return time.Since(began), err
	}
	failed := make(chan error, f.workers)
	for range f.workers {
		go func() {
			for range objects / f.workers {
				if _, err := v.ask(ctx, s, r); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	var err error
	for range f.workers {
		if e := <-failed; e != nil {
			err = fmt.Errorf("%s: %w", f.name, e)
		}
	}
	return time.Since(began), err
}
