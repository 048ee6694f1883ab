package pool

import (
	"context"
	"slices"
	"sync"
)

// turnstile bounds the handshakes in flight over all upstreams, so that a network that
// returns is not met by all of them at once. A place that comes free goes to the
// upstream with the fewest in flight, so that one whose handshakes hang does not
// hold up the others for longer than one of its own takes.
type turnstile struct {
	limit int // 0: none

	mu struct {
		sync.Mutex
		inFlight int
		by       map[*Upstream]int // of these; upstreams with none are not in it
		waiting  []*passage        // first come first
	}
}

// passage is a dial that waits for its place.
type passage struct {
	upstream *Upstream
	open     chan struct{} // closed when it has it
}

func newTurnstile(limit int) *turnstile {
	t := &turnstile{limit: limit}
	t.mu.by = make(map[*Upstream]int)
	return t
}

// enter waits for a place, which leave gives back, and calls waits before if it has
// to. It reports false, and no place is taken, when ctx ended before.
func (t *turnstile) enter(ctx context.Context, u *Upstream, waits func()) bool {
	if t.limit <= 0 {
		return true
	}
	t.mu.Lock()
	if t.mu.inFlight < t.limit {
		t.takeLocked(u)
		t.mu.Unlock()
		return true
	}
	w := &passage{upstream: u, open: make(chan struct{})}
	t.mu.waiting = append(t.mu.waiting, w)
	t.mu.Unlock()
	waits()
	select {
	case <-w.open:
		return true
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.mu.waiting, w)
	if i >= 0 {
		t.mu.waiting = slices.Delete(t.mu.waiting, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // the place came at the same moment
		t.leave(u)
	}
	return false
}

func (t *turnstile) takeLocked(u *Upstream) {
	t.mu.inFlight++
	t.mu.by[u]++
}

// leave gives the place back, to the next one if any waits.
func (t *turnstile) leave(u *Upstream) {
	if t.limit <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.inFlight--
	if t.mu.by[u]--; t.mu.by[u] == 0 {
		delete(t.mu.by, u)
	}
	if len(t.mu.waiting) == 0 {
		return
	}
	next := 0
	for i, w := range t.mu.waiting {
		if t.mu.by[w.upstream] < t.mu.by[t.mu.waiting[next].upstream] {
			next = i
		}
	}
	w := t.mu.waiting[next]
	t.mu.waiting = slices.Delete(t.mu.waiting, next, next+1)
	t.takeLocked(w.upstream)
	close(w.open)
}
