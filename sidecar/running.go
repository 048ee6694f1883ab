package sidecar

import "sync/atomic"

// running counts the calls that carry exchanges, for the drain: gRPC's graceful
// stop also waits for streams that carry none, such as reflection's, and they
// must not hold up the end.
type running struct {
	calls    atomic.Int64
	draining atomic.Bool
	idle     chan struct{} // receives when draining and the last call has ended
}

func newRunning() *running { return &running{idle: make(chan struct{}, 1)} }

func (r *running) begin() { r.calls.Add(1) }

func (r *running) end() {
	if r.calls.Add(-1) == 0 && r.draining.Load() {
		r.tell()
	}
}

// drain asks to be told by idle, now if nothing runs, and again each time the
// last call ends.
func (r *running) drain() {
	r.draining.Store(true)
	if r.calls.Load() == 0 {
		r.tell()
	}
}

func (r *running) tell() {
	select {
	case r.idle <- struct{}{}:
	default:
	}
}
