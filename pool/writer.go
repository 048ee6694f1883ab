package pool

import "slices"

// writer is a connection's sending side, guarded by conn.mu. Requests are
// encoded into pending and leave together: whoever finds nobody writing
// writes, for itself and for those that come meanwhile; while the reader takes
// answers apart, which may begin further requests, it holds them back and
// writes them all at the end.
type writer struct {
	pending []byte      // encoded, not handed to the kernel
	batch   []*Exchange // whose requests pending holds, in order
	busy    bool        // somebody is writing, or holds requests back, and will see to pending

	spare      []byte // buffers to swap with, while busy owned by whoever writes
	spareBatch []*Exchange
}

// writing is how far a request's bytes have come. It is set before the write
// it speaks of, so that a reader that sees the connection end never takes a
// request for unsent of which a byte may be on its way.
type writing uint8

const (
	notWritten      writing = iota // nothing was handed to the kernel yet
	beingWritten                   // a write was started and has not returned
	bodyOpen                       // the head was written, and of the body what its caller has brought so far
	bodyWithheld                   // the head was written; the body waits for leave (RFC 9110, 10.1.1)
	bodyDropped                    // the head was written; the body never will be
	allWritten                     // the kernel has accepted every byte
	writeFailed                    // a write failed after the kernel may have accepted some
	nothingAccepted                // a write failed, and the kernel has not accepted one byte of this request
)

// ended reports that nobody is writing the request.
func (w writing) ended() bool { return w != beingWritten }

const (
	inlineWrite = 16 << 10  // a write this small to a connection with nothing in flight does not block: the kernel's smallest send buffer takes it
	writePiece  = 256 << 10 // of a long body, so that its progress is seen
	spareLimit  = 64 << 10  // of a buffer that is kept
)

// enqueue encodes x, under the lock, and sees to its being written: now, or with
// the others of a batch. It lets go of the lock.
func (c *conn) enqueue(x *Exchange, mayBlock bool, together *Batch) {
	w := &c.mu.writer
	from := len(w.pending)
	w.pending = x.appendHead(w.pending)
	x.inline = !x.withholds() && x.stream == nil && len(w.pending)-from+len(x.body) <= inlineWrite
	if x.inline {
		w.pending = append(w.pending, x.body...)
	}
	x.outEnd = len(w.pending)
	x.receipt.Sent = int64(x.outEnd - from)
	w.batch = append(w.batch, x)
	if w.busy {
		c.mu.Unlock()
		return
	}
	w.busy = true
	if together != nil {
		together.held = append(together.held, c)
		c.mu.Unlock()
		return
	}
	c.flush(mayBlock)
}

// holdBack lets requests gather that begin from now on. It reports false when
// somebody is writing anyway.
func (c *conn) holdBack() bool {
	c.mu.Lock()
	held := !c.mu.writer.busy
	c.mu.writer.busy = true
	c.mu.Unlock()
	return held
}

// letGo writes what has gathered.
func (c *conn) letGo(mayBlock bool) {
	c.mu.Lock()
	c.flush(mayBlock)
}

// flush writes what is pending until nothing is. It is called with the lock
// held and busy set, and lets go of both. A request that may block who may not
// is left to a goroutine of its own.
func (c *conn) flush(mayBlock bool) {
	w := &c.mu.writer
	for len(w.batch) > 0 && c.mu.life.state != stateClosed {
		if !mayBlock && w.batch[len(w.batch)-1].long() {
			c.upstream.tasks.Go(func() { c.letGo(true) }) // under the lock: the reader, a task too, has not ended yet
			c.mu.Unlock()
			return
		}
		out, batch := w.pending, w.batch
		w.pending, w.batch = w.spare[:0], w.spareBatch[:0]
		before, taken := c.notice.sent.Load(), c.notice.arrivals.count()
		for _, x := range batch {
			x.written, x.sentBefore, x.takenBefore = beingWritten, before, taken
		}
		c.mu.Unlock()
		c.writeBatch(out, batch, before)
		clear(batch)
		c.mu.Lock()
		if cap(out) <= spareLimit {
			w.spare = out
		}
		w.spareBatch = batch
	}
	w.busy = false
	if c.mu.life.state == stateClosed { // the reader ends what was not written
		w.pending, w.batch = nil, nil
	}
	c.mu.Unlock()
}

// writeBatch writes the requests of batch, which out holds, and ends the
// writer's part of each. before is what the kernel had accepted so far.
func (c *conn) writeBatch(out []byte, batch []*Exchange, before int64) {
	if last := batch[len(batch)-1]; last.long() && (last.stream == nil || last.stream.AtHand) {
		c.notice.socket.gather(true) // its body follows, and ends that
	}
	n, err := c.transmit(out)
	if c.notice.tls && err != nil && n == 0 && c.notice.sent.Load() != before {
		n = 1 // of a TLS record some bytes left: no more is known
	}
	begin := 0
	for _, x := range batch {
		end := x.outEnd // x may be its caller's again when its part ends
		switch {
		case err != nil && (begin >= n && (n == 0 || !c.notice.tls)):
			c.wrote(x, nothingAccepted, err)
		case err != nil && x.outEnd > n:
			c.wrote(x, writeFailed, err)
		case x.withholds():
			c.wrote(x, bodyWithheld, nil)
		case x.inline:
			c.wrote(x, allWritten, nil)
		case x.stream != nil:
			c.openBody(x)
		default:
			c.writeBody(x)
		}
		begin = end
	}
}

// writeBody writes a body that does not fit beside its head. Nothing follows
// it on the connection before it is answered.
//
// Head and body are written apart, so that a long body need not be copied, but the
// kernel sends them as one run of full segments (gather). A head that left by itself
// would take a segment of the window that a new or rested connection begins with, ten
// as a rule, and the answer to a body that just fits would come a round trip later.
// Under TLS it is the records, each a write, of which the same is true.
func (c *conn) writeBody(x *Exchange) {
	c.notice.socket.gather(true)
	for body := x.body; len(body) > 0; {
		c.moving(x, phaseUpload)
		piece := body[:min(len(body), writePiece)]
		body = body[len(piece):]
		if err := c.writeRaw(x, piece); err != nil {
			c.notice.socket.gather(false)
			c.wrote(x, writeFailed, err)
			return
		}
	}
	c.notice.socket.gather(false)
	c.moving(x, phaseHead)
	c.wrote(x, allWritten, nil)
}

// writeRaw writes a part of x's request.
func (c *conn) writeRaw(x *Exchange, piece []byte) error {
	n, err := c.transmit(piece)
	x.receipt.Sent += int64(n)
	return err
}

// transmit writes, and counts bytes of HTTP that were written; those of a plain
// connection notice counts.
func (c *conn) transmit(p []byte) (int, error) {
	if !c.notice.tls {
		return c.notice.Write(p)
	}
	n, err := c.nc.Write(p)
	c.clear.sent.Add(int64(n))
	return n, err
}

// openBody lets x's caller bring the body, whose head has left.
func (c *conn) openBody(x *Exchange) {
	body := x.stream
	if x.head.BodyLength() == 0 { // nothing may come
		c.moving(x, phaseHead)
		c.wrote(x, allWritten, nil)
		return
	}
	c.wrote(x, bodyOpen, nil)
	body.open(c)
}

// resume makes the caller, which brings more of x's body, its writer again. It
// reports false when the exchange is over.
func (c *conn) resume(x *Exchange) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.mu.queue, x) || x.written != bodyOpen || c.mu.life.state != stateActive {
		return false
	}
	x.written = beingWritten
	return true
}

// moving: a piece of x's request has left, so a time limit begins anew: for the
// next piece of the body, or, when that was the last, for the answer. Where the
// answer is coming already, its own limits hold.
func (c *conn) moving(x *Exchange, next phase) {
	limit := x.policy.ResponseHeadTimeout
	if next == phaseUpload {
		limit = x.policy.BodyIdleTimeout
	}
	c.mu.Lock()
	if !x.answered && c.mu.phase.sending() && c.mu.life.state == stateActive {
		c.mu.phase = next
		c.limit(c.upstream.pool.now(), limit)
	}
	at := instant(c.deadline.Load())
	c.mu.Unlock()
	c.upstream.remind(at)
}

// wrote ends the writer's part of x.
func (c *conn) wrote(x *Exchange, how writing, err error) {
	now := instant(0)
	if x.wantReceipt || err != nil {
		now = c.upstream.pool.now()
	}
	c.mu.Lock()
	if x.wantReceipt && how == allWritten {
		x.receipt.Written = now - x.asked
	}
	x.written, x.writeErr = how, err
	over := x.answered
	due := how == bodyWithheld && x.leave && !over
	if how == bodyOpen && c.mu.phase.sending() { // the caller may take its time
		c.mu.phase = phaseCaller
		c.limit(now, 0)
	}
	if err != nil && !over && c.mu.life.state == stateActive {
		// The reader reads what the peer still had to say, then meets the end too.
		c.mu.phase = phaseHead
		c.limit(now, writeEndTime)
	}
	c.mu.Unlock()
	switch {
	case due:
		c.sendBody(x, false)
	case over:
		c.release(x, x.verdict)
	case err != nil:
		c.upstream.remind(now + writeEndTime)
	}
}

// sendBody sends the body that x withheld: the peer has asked for it, or has
// said nothing for as long as the policy waits (RFC 9110, 10.1.1).
func (c *conn) sendBody(x *Exchange, mayBlock bool) {
	c.mu.Lock()
	here := len(c.mu.queue) > 0 && c.mu.queue[0] == x // else it is over, or on another connection already
	if !here || x.written != bodyWithheld || x.answered || c.mu.life.state != stateActive {
		if here && !x.answered {
			x.leave = true // the writer does not know yet that the head has left, and then sends the body
		}
		c.mu.Unlock()
		return
	}
	x.written = beingWritten
	c.mu.phase = phaseHead
	c.limit(c.upstream.pool.now(), x.policy.ResponseHeadTimeout)
	apart := x.stream == nil && !mayBlock && len(x.body) > inlineWrite
	if apart {
		c.upstream.tasks.Go(func() { c.writeBody(x) }) // under the lock, as in flush
	}
	c.mu.Unlock()
	switch {
	case apart:
	case x.stream != nil:
		c.openBody(x)
	default:
		c.writeBody(x)
	}
}
