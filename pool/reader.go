package pool

import (
	"errors"
	"io"
	"slices"
	"syscall"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// reader is a connection's receiving side, owned by its goroutine.
type reader struct {
	buf     []byte
	r, w    int // buf[r:w] has been read and not parsed
	parser  h1.Parser
	answer  *Exchange  // whose response is being read
	inBody  bool       // its final head has been read
	over    bool       // nothing comes any more behind what has been read
	placed  PlacedSink // its sink, where that has memory for the body
	refusal error      // of the sink, for what was placed in its memory
}

const (
	readBuffer = 4 << 10  // held by every connection
	bodyBuffer = 64 << 10 // while a long response is read
)

// serve reads until the connection is over. It is the connection's goroutine.
func (c *conn) serve() {
	for {
		n, err := c.read()
		c.reader.over = err != nil
		if n > 0 {
			held := c.holdBack()
			alive := c.parse()
			if held {
				c.letGo(false)
			}
			if !alive {
				c.endRest()
				if !c.lingers() {
					return
				}
			}
		}
		if err != nil {
			c.ended(err)
			return
		}
	}
}

// read waits for bytes. A body of known length is read straight into the
// response, past the buffer.
func (c *conn) read() (int, error) {
	in := &c.reader
	if in.r == in.w {
		in.r, in.w = 0, 0
		if space := in.space(); len(space) > 0 {
			n, err := c.receive(space)
			in.parser.Skip(int64(n))
			in.answer.read += int64(n)
			if in.answer.bodyLimit < 0 {
				c.waitForSink()
			}
			if n > 0 {
				in.refusal = in.placed.Filled(n)
			}
			return n, err
		}
	}
	if in.w == len(in.buf) {
		in.grow()
	}
	n, err := c.receive(in.buf[in.w:])
	in.w += n
	return n, err
}

func (c *conn) receive(p []byte) (int, error) {
	if c.notice.tls {
		n, err := c.nc.Read(p)
		c.clear.received.Add(int64(n))
		return n, err
	}
	return c.notice.Read(p)
}

// space is memory of the sink's that the next bytes of a body of known length
// may be read into; nil when there is none, or it is not worth a call.
func (in *reader) space() []byte {
	if in.answer == nil || in.placed == nil {
		return nil
	}
	if n, exact := in.parser.Remaining(); exact && n >= readBuffer {
		return in.placed.Space(n)
	}
	return nil
}

// grow makes room behind buf[r:w], which is an incomplete head or chunk line
// and bounded by the codec's limits.
func (in *reader) grow() {
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
		return
	}
	in.resize(min(2*len(in.buf), max(bodyBuffer, len(in.buf)+readBuffer)))
}

// resize exchanges the buffer, keeping what is in it.
func (in *reader) resize(size int) {
	bigger := make([]byte, size)
	in.w = copy(bigger, in.buf[in.r:in.w])
	in.buf, in.r = bigger, 0
}

// parse takes what was read apart. It reports false when that ended the
// connection.
func (c *conn) parse() bool {
	in := &c.reader
	for {
		x := in.answer
		if x == nil {
			if in.r == in.w {
				return true
			}
			if x = c.nextAnswer(); x == nil {
				return c.strayBytes()
			}
		}
		if in.refusal != nil {
			c.fail(x.refused(in.refusal))
			return false
		}
		n, event, err := in.parser.Parse(in.buf[in.r:in.w])
		in.r += n
		if err != nil {
			c.fail(x.readFailure(CloseNone, true, nil, err))
			return false
		}
		switch event {
		case h1.More:
			if in.inBody {
				c.waitForBody()
			}
			return true
		case h1.Interim:
			if in.parser.Head().Status == 100 {
				c.sendBody(x, false)
			}
			x.readInterim(&in.parser)
		case h1.HeadDone:
			if fault := c.readHead(x); fault != nil {
				c.fail(fault)
				return false
			}
		case h1.Body:
			if x.bodyLimit < 0 {
				c.waitForSink()
			}
			if fault := x.readBody(in.parser.Chunk()); fault != nil {
				c.fail(fault)
				return false
			}
			if len(in.buf) < bodyBuffer && x.read > int64(len(in.buf)) && in.r == in.w {
				in.resize(bodyBuffer)
			}
		case h1.End:
			if !c.end(x) {
				return false
			}
		}
	}
}

// nextAnswer is the exchange whose response the bytes at hand begin; nil when
// no request is outstanding, or they came before any of it has left.
func (c *conn) nextAnswer() *Exchange {
	c.mu.Lock()
	var x *Exchange
	if len(c.mu.queue) > 0 && c.mu.queue[0].written != notWritten && c.atHand() >= c.mu.queue[0].takenBefore {
		x = c.mu.queue[0]
	}
	c.mu.Unlock()
	if x != nil {
		c.beginAnswer(x)
	}
	return x
}

// atHand is which one of all bytes that came the first one not parsed is. TLS
// does not tell; it is no later than the last one.
func (c *conn) atHand() int64 {
	taken := c.notice.arrivals.count()
	if c.notice.tls {
		return taken - 1
	}
	return taken - int64(c.reader.w-c.reader.r)
}

func (c *conn) beginAnswer(x *Exchange) {
	in := &c.reader
	in.answer, in.inBody, in.placed, in.refusal = x, false, nil, nil
	in.parser.Start(h1.ResponseTo{Method: x.head.Method, Close: x.closing, Limits: x.policy.Limits})
	if x.wantReceipt {
		x.receipt.FirstByte = c.upstream.pool.now() - x.asked
	}
}

// strayBytes: bytes came that answer nothing. They are never paired with a
// later request: the connection dies, unless it is draining anyway.
func (c *conn) strayBytes() bool {
	c.mu.Lock()
	draining := c.mu.life.state == stateDraining
	c.mu.Unlock()
	if draining {
		c.reader.r, c.reader.w = 0, 0
		return true
	}
	c.shut(CloseUnsolicitedData)
	return false
}

// readHead takes the final response's head. A body that still waits for leave
// to be sent will not be.
func (c *conn) readHead(x *Exchange) *Error {
	in := &c.reader
	in.inBody = true
	if x.withholds() || in.parser.UntilClose() {
		c.mu.Lock()
		if x.written == bodyWithheld {
			x.written = bodyDropped
		}
		x.kept = x.written == bodyDropped
		c.mu.untilClose = in.parser.UntilClose() && !x.closing
		c.mu.Unlock()
	}
	if in.parser.ViaOld() {
		c.upstream.stopReuse(c, "a response came through an HTTP/1.0 intermediary")
	}
	head := in.parser.Head()
	c.slot.endpoint.version.answered(head.Minor, head.Status, c.upstream.pool.now)
	fault := x.readHead(&in.parser)
	if fault == nil && !x.unexpected {
		in.placed, _ = x.sink.(PlacedSink)
	}
	return fault
}

// waitForSink: a sink that is slow is not the upstream's fault.
func (c *conn) waitForSink() {
	c.mu.Lock()
	if c.mu.life.state == stateActive {
		c.limit(0, 0)
	}
	c.mu.Unlock()
}

// waitForBody: each piece of a body that does not come at once has its own
// time limit.
func (c *conn) waitForBody() {
	c.mu.Lock()
	if c.mu.life.state == stateActive && len(c.mu.queue) > 0 {
		c.mu.phase = phaseBody
		c.limit(c.upstream.pool.now(), c.mu.queue[0].policy.BodyIdleTimeout)
	}
	at := instant(c.deadline.Load())
	c.mu.Unlock()
	c.upstream.remind(at)
}

// end: x's response is complete. It reports whether reading goes on.
func (c *conn) end(x *Exchange) bool {
	in := &c.reader
	x.trailers = in.parser.AppendTrailers(nil)
	x.receipt.Received = in.parser.Consumed()
	x.hint = in.parser.KeepAlive()
	verdict := closeFor(in.parser.Persist())
	in.answer = nil
	if in.r == in.w && len(in.buf) > readBuffer {
		in.resize(readBuffer)
	}
	c.readAhead()
	if verdict == CloseNone && in.over && in.r == in.w {
		verdict = CloseByPeer
	}
	now := c.upstream.pool.now()
	c.mu.Lock()
	c.mu.queue = append(c.mu.queue[:0], c.mu.queue[1:]...)
	if verdict == CloseNone && in.r < in.w && (len(c.mu.queue) == 0 || c.mu.queue[0].written == notWritten) {
		verdict = CloseExtraBytes
	}
	x.verdict = verdict
	x.answered, x.over = true, now
	if in.r == in.w {
		c.notice.arrivals.settle()
	}
	sent := x.written.ended()
	waits := !sent && (verdict == CloseNone || x.inline)
	switch {
	case len(c.mu.queue) > 0:
		c.await(now)
	case waits: // the writer, still at it, ends the exchange
		c.mu.phase = phaseSend
		c.limit(now, unsentTime)
	}
	at := instant(c.deadline.Load())
	c.mu.Unlock()
	c.upstream.remind(at)
	switch {
	case sent:
		c.release(x, verdict)
	case !waits:
		c.shut(verdict)
	}
	return verdict == CloseNone
}

// readAhead brings in what TLS holds behind a response, before the connection
// is taken for idle.
func (c *conn) readAhead() {
	in := &c.reader
	if !c.notice.tls || in.over || in.r < in.w {
		return
	}
	n, err := c.notice.readAhead(c.nc, in.buf)
	c.clear.received.Add(int64(n))
	in.r, in.w, in.over = 0, n, err != nil
}

// fail ends the connection for what the response being read was, and the
// exchange that it was for with it.
func (c *conn) fail(fault *Error) {
	c.explain(fault.Detail, fault.Err)
	c.shut(closeForFailure(fault.Reason))
	c.endAll(fault)
}

// lingers reports whether the peer is waited for to close.
func (c *conn) lingers() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.life.state == stateDraining
}

// endRest ends the exchanges behind one whose response was the connection's last.
func (c *conn) endRest() { c.endAll(nil) }

// endAll ends what is on a closed connection: the first exchange with fault,
// if there is one, those behind it as not answered. They are completed last one
// first, so that those of them that are sent again keep their order.
func (c *conn) endAll(fault *Error) {
	c.reader.answer = nil
	c.mu.Lock()
	rest := c.mu.queue
	c.mu.queue = nil
	for i, x := range rest {
		if i == 0 && fault != nil {
			x.fault = fault
		} else {
			x.fault = x.unanswered(c.mu.life.reason)
		}
		x.answered = true
	}
	over := rest[:0:0]
	for _, x := range rest {
		if x.written.ended() {
			over = append(over, x)
		}
	}
	c.mu.Unlock()
	for _, x := range slices.Backward(over) {
		x.complete()
	}
}

// ended: the connection's read side is over.
func (c *conn) ended(err error) {
	in := &c.reader
	clean := c.inOrder(err)
	c.mu.Lock()
	x := in.answer
	outstanding := len(c.mu.queue) > 0
	unsent := c.mu.life.state == stateActive // a request that has its answer already, if none is outstanding
	if x == nil && outstanding {
		x = c.mu.queue[0]
	}
	c.mu.Unlock()
	if !outstanding {
		switch {
		case unsent:
			c.shut(CloseUnsentBody)
		case errors.Is(err, io.EOF):
			c.shut(ClosePeerClosedIdle)
		default:
			c.explain("reading failed while it was idle", plain(err))
			c.shut(ClosePeerResetIdle)
		}
		return
	}
	if in.answer == nil {
		c.beginAnswer(x)
		x.receipt.FirstByte = 0
	}
	event, parsed := in.parser.EOF(clean)
	if parsed == nil && event == h1.End {
		c.end(x)
		c.endRest()
		c.shut(CloseByPeer) // nobody is left to wait for
		return
	}
	x.receipt.Received = in.parser.Consumed()
	proven := c.provenUnread(err)
	c.mu.Lock()
	fault := x.readFailure(c.mu.life.reason, in.parser.Started(), err, parsed)
	c.mu.Unlock()
	if proven && fault.Delivery == DeliveryUnknown {
		fault.Delivery = DeliveryNotReceived
	}
	c.fail(fault)
}

// inOrder reports that err, the read's, is an end that the peer meant and that came
// after all it had sent: a FIN, under TLS a close_notify.
//
// A reset is told once, to whoever asks first. When that is a write, of a
// pipelined request or of the rest of the one being answered, the read meets what
// looks like a FIN. So the writes are asked, and the kernel, which does not keep a
// connection that was reset. EPIPE, to whom it is told, says that the FIN came
// first (proof.go).
func (c *conn) inOrder(err error) bool {
	switch {
	case c.notice.tls:
		return errors.Is(err, io.EOF) && !c.notice.truncated()
	case errors.Is(err, syscall.EPIPE):
		return true
	case !errors.Is(err, io.EOF):
		return false
	}
	finished := false
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.mu.queue {
		switch {
		case x.writeErr == nil:
		case !errors.Is(x.writeErr, syscall.EPIPE):
			return false
		default:
			finished = true
		}
	}
	return finished || !c.notice.socket.over()
}
