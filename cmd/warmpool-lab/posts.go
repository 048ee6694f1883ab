package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// POSTs are sent from postsBefore before the moment at which the origin closes
// the idle connection until postsAfter after it.
const (
	postsBefore = 100 * time.Millisecond
	postsAfter  = 50 * time.Millisecond
	postSize    = 1000
	postPace    = 5 * time.Millisecond // between connections
	// postLessons are how many connections of a slot warmpool has seen closed, idle
	// after use, before its POST, where it has run for a while.
	postLessons = 3
)

// PostsFigures is what became of POSTs around the moment of close.
type PostsFigures struct {
	Way      Way             `json:"way"`
	Kind     Kind            `json:"kind"`
	Sent     int             `json:"sent"`
	Failed   int             `json:"failed"`
	Twice    int             `json:"twice"` // carried out more than once, as the origin counts
	First    string          `json:"first_failure,omitempty"`
	Earliest time.Duration   `json:"earliest_failure_ns"` // relative to the moment of close
	Latest   time.Duration   `json:"latest_failure_ns"`
	Took     []time.Duration `json:"took_ns"` // of those that did not fail
}

// posts sends one POST on each slot, each on a connection that the origin is
// about to close or has just closed.
func (c *caller) posts(ctx context.Context, w Way, kind Kind) *PostsFigures {
	f := &PostsFigures{Way: w, Kind: kind}
	var (
		mu    sync.Mutex
		group sync.WaitGroup
	)
	slots := first(kind, c.Plan.impatient(false), c.Plan.Posts)
	pace := time.NewTicker(postPace)
	defer pace.Stop()
	for i, s := range slots {
		<-pace.C
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*requestLimit)
			defer cancel()
			if w == Warmpool && kind == Post {
				for range postLessons {
					c.ways[w].ask(ctx, s, request{size: postSize}) //nolint:errcheck,gosec // what follows shows whether it can be asked
					time.Sleep(s.Origin.Closes + postsBefore)
				}
			}
			_, err := c.ways[w].ask(ctx, s, request{size: postSize, up: true})
			// The origin's clock for the connection starts when its answer leaves,
			// one way before it is here.
			closes := time.Now().Add(s.Origin.Closes - c.OneWay)
			offset := -postsBefore + time.Duration(i)*(postsBefore+postsAfter)/time.Duration(len(slots))
			var took time.Duration
			if err == nil {
				time.Sleep(time.Until(closes.Add(offset)))
				began := time.Now()
				_, err = c.ways[w].ask(ctx, s, request{size: postSize, up: true, id: fmt.Sprintf("%s-%d", postID(w, kind), i)})
				took = time.Since(began)
			}
			mu.Lock()
			defer mu.Unlock()
			f.add(took, offset, err)
		})
	}
	group.Wait()
	slices.Sort(f.Took)
	return f
}

func (f *PostsFigures) add(took, offset time.Duration, err error) {
	f.Sent++
	if err == nil {
		f.Took = append(f.Took, took)
		return
	}
	f.Failed++
	if f.First == "" {
		f.First, f.Earliest, f.Latest = err.Error(), offset, offset
	}
	f.Earliest, f.Latest = min(f.Earliest, offset), max(f.Latest, offset)
}

// postID is what the ids of a way's POSTs begin with.
func postID(w Way, kind Kind) string { return fmt.Sprintf("%s-%s", w, kind) }
