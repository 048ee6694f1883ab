package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// flood is a loader that asks until it is told to end.
type flood struct {
	stop    context.CancelFunc
	workers sync.WaitGroup
	began   time.Time

	answered, failed atomic.Int64
	first            chan error
}

// flood begins to ask, and returns when as many requests are answered as may be in
// flight: then all of them are.
func (l loader) flood() *flood {
	ctx, stop := context.WithTimeoutCause(context.Background(), roundLimit, fmt.Errorf("the greedy caller was not ended within %s", roundLimit))
	f := &flood{stop: stop, began: time.Now(), first: make(chan error, 1)}
	full := make(chan struct{})
	for range l.inFlight {
		f.workers.Go(func() {
			for ctx.Err() == nil && f.failed.Load() < toleratedErrors {
				if err := l.ask(context.WithoutCancel(ctx)); err != nil {
					f.failed.Add(1)
					select {
					case f.first <- err:
					default:
					}
					continue
				}
				if f.answered.Add(1) == int64(l.inFlight) {
					close(full)
				}
			}
		})
	}
	broken := make(chan struct{})
	go func() {
		f.workers.Wait()
		close(broken)
	}()
	select {
	case <-full:
	case <-broken: // end says why
	}
	return f
}

// end waits for what is in flight.
func (f *flood) end() LoadResult {
	f.stop()
	f.workers.Wait()
	result := LoadResult{Elapsed: time.Since(f.began), Answered: f.answered.Load(), Errors: f.failed.Load()}
	select {
	case err := <-f.first:
		result.FirstError = err.Error()
	default:
	}
	return result
}
