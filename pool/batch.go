package pool

// Batch starts exchanges whose requests may leave together: those that are
// pipelined on one connection are written at once, by Send. A Batch is for one
// goroutine; the zero value is ready.
type Batch struct {
	held   []*conn // whose requests are held back
	glance glance
}

// Start is Upstream.Start, but what is written may wait for Send.
func (b *Batch) Start(u *Upstream, x *Exchange, req *Request, sink Sink) error {
	if failure := x.prepare(u, req, sink); failure != nil {
		u.ended(x, failure)
		return failure
	}
	b.glance.before(u, x.asked)
	if !x.pipelinable || u.policy().PipelineDepth <= 1 {
		b = nil
	}
	u.submit(x, x.asked, false, b)
	return nil
}

// Send writes what was held back.
func (b *Batch) Send() {
	for i, c := range b.held {
		b.held[i] = nil
		c.letGo(false)
	}
	b.held = b.held[:0]
}
