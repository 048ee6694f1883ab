package pool

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// conn drives one connection. Its reader (reader.go) is a goroutine that reads
// for as long as the connection lives, so that a close or a stray byte on an
// idle connection is noticed at once. Requests are written (writer.go) by
// whoever brings them. What the bytes mean is h1's to say, what state follows
// life's, and who comes next admission's.
type conn struct {
	// Immutable.
	id       uint64 // unique in the pool
	opened   instant
	upstream *Upstream
	slot     *slot // admission's; only what never changes is read without the upstream's lock
	nc       net.Conn
	notice   *noticer // what is known of nc below TLS
	dialed   dialTimes
	local    netip.AddrPort // zero where there is none, or it is no IP address
	ports    portPair       // which local ports it takes one of
	tls      TLSInfo

	congestion string // congestion control by the kernel's name; empty: not known
	flight     int64  // bytes that a new connection's window lets leave at once; 0: not known

	// Self-synchronised.
	clean    atomic.Int64                          // instant at which a look found nothing on it, for the next request; 0: none did
	deadline atomic.Int64                          // instant at which what the connection waits for has taken too long; 0: none
	clear    struct{ sent, received atomic.Int64 } // bytes of HTTP, counted under TLS only: on a plain connection notice counts the same

	reader reader // owned by the reader's goroutine

	mu struct {
		sync.Mutex
		life   life
		queue  []*Exchange // begun and not answered, in the order of their requests; [0] is being answered
		phase  phase       // what the deadline waits for
		since  instant     // when that began
		served int         // exchanges ended well

		detail     string // what went wrong, in words
		lingers    bool   // for the pool it is lost already
		hastened   bool   // its place is needed: it does not wait for the peer to close as well
		finished   bool   // this side has sent the first FIN
		untilClose bool   // the response being read ends with the connection, which was asked to stay open
		writer     writer
	}
}

// phase is what a connection's deadline waits for.
type phase uint8

const (
	phaseHead     phase = iota // the final response head of queue[0]
	phaseUpload                // the next piece of the body of queue[0] to leave
	phaseBody                  // the next piece of its response's body
	phaseContinue              // leave to send the body of queue[0], or the time to send it without
	phaseCaller                // more of the request, which its caller has not brought yet: without limit
	phaseSend                  // the rest of a request whose response is complete
	phaseDrain                 // the peer's close after ours
)

// sending reports that the response has not begun to hold the connection up.
func (p phase) sending() bool { return p == phaseHead || p == phaseUpload || p == phaseCaller }

const (
	drainTime    = time.Second            // for the peer to close after a half-close
	writeEndTime = time.Second            // for the reader to meet the end that the writer met
	lingerTime   = 200 * time.Millisecond // for the peer to close a connection that one side has said is over
	unsentTime   = 50 * time.Millisecond  // for a request to leave whose response is complete
)

func newConn(u *Upstream, s *slot, nc net.Conn, n *noticer, d dialTimes) *conn {
	c := &conn{id: s.number, opened: u.pool.now(), upstream: u, slot: s, nc: nc, notice: n, dialed: d}
	c.ports.endpoint = s.endpoint.addr
	if local, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		c.local = netip.AddrPortFrom(local.AddrPort().Addr().Unmap(), uint16(local.Port))
		c.ports.source = c.local.Addr()
	}
	if secured, ok := nc.(*tls.Conn); ok {
		is := secured.ConnectionState()
		c.tls = TLSInfo{Version: is.Version, CipherSuite: is.CipherSuite, Resumed: is.DidResume}
	}
	c.congestion = n.socket.congestion()
	c.reader.buf = make([]byte, readBuffer)
	c.mu.life.established()
	return c
}

// traffic is how many bytes of HTTP were written and read.
func (c *conn) traffic() (sent, received int64) {
	if c.notice.tls {
		return c.clear.sent.Load(), c.clear.received.Load()
	}
	return c.notice.sent.Load(), c.notice.arrivals.count()
}

func (c *conn) endpoint() netip.AddrPort { return c.slot.endpoint.addr }

// start begins x on the connection, at now, and writes its request. mayBlock says that
// the calling goroutine may wait for a slow peer to read; together, when not
// nil, that the request may leave with others. start reports false when the
// connection turned out to be over, with nothing of x written.
func (c *conn) start(x *Exchange, now instant, mayBlock bool, together *Batch) bool {
	x.attemptBegins()
	c.mu.Lock()
	why := c.mu.life.reason
	if why == CloseNone && len(c.mu.queue) == 0 {
		why = c.look(now)
	}
	if why != CloseNone || !c.mu.life.begin() {
		served := c.mu.served
		c.mu.Unlock()
		c.shut(why)
		if served == 0 {
			x.met(c, why)
		}
		if c.opened <= x.asked {
			c.upstream.missed(nil, true)
		}
		return false
	}
	x.begin(c, now)
	switch {
	case x.gone.Load() != 0:
		x.fault = x.goneFailure()
	case x.head.BodyLength() < 0 && !c.slot.endpoint.version.takesChunked(now):
		x.fault = x.failure(ReasonUnsupported, DeliveryNotSent,
			"the upstream answers in HTTP/1.0, which has no chunked bodies; one of unknown length cannot be sent to it, state the length in Content-Length", nil)
	}
	if x.fault != nil {
		x.answered = true
		c.mu.Unlock()
		c.release(x, CloseNone)
		return true
	}
	c.mu.queue = append(c.mu.queue, x)
	if len(c.mu.queue) == 1 {
		c.await(now)
	} else if x.deadline > 0 && int64(x.deadline) < c.deadline.Load() {
		c.deadline.Store(int64(x.deadline))
	}
	at := instant(c.deadline.Load())
	c.enqueue(x, mayBlock, together) // lets go of the lock
	c.upstream.remind(at)
	return true
}

// look asks, under the lock, whether an idle connection is fit for a request. A
// look that was taken of it together with others holds for a while.
func (c *conn) look(now instant) CloseReason {
	clean := c.clean.Swap(0)
	return c.notice.look(c.mu.served > 0, clean != 0 && now-instant(clean) < lookHolds)
}

// await sets, under the lock, what the exchange that is now the first to be
// answered waits for, and until when.
func (c *conn) await(now instant) {
	x := c.mu.queue[0]
	c.mu.phase = phaseHead
	limit := x.policy.ResponseHeadTimeout
	if x.withholds() {
		c.mu.phase = phaseContinue
		limit = max(1, x.policy.ExpectContinue)
	}
	c.limit(now, limit)
}

// limit sets, under the lock, the deadline: after d, or sooner where the
// deadline of an exchange on the connection is sooner. Zero is no limit.
func (c *conn) limit(now instant, d time.Duration) {
	c.mu.since = now
	at := instant(0)
	if d > 0 {
		at = now + d
	}
	for _, x := range c.mu.queue {
		if x.deadline > 0 && (at == 0 || x.deadline < at) {
			at = x.deadline
		}
	}
	c.deadline.Store(int64(at))
}

// release ends x on this connection, request and response both having ended:
// first the connection goes back to the pool, so that the caller's next request
// finds it, then the caller learns, then the next requests begin.
func (c *conn) release(x *Exchange, why CloseReason) {
	if x.fault == nil && x.written != allWritten {
		why = CloseUnsentBody
	}
	c.mu.Lock()
	alive := c.mu.life.state == stateActive
	c.mu.served++
	if alive && why == CloseNone {
		c.mu.life.end(CloseNone)
		if len(c.mu.queue) == 0 {
			c.deadline.Store(0)
		}
	}
	c.mu.Unlock()
	var next *Exchange
	switch {
	case alive && why == CloseNone:
		next = c.upstream.freed(c, x)
	case alive && announced(why):
		c.upstream.lastServed(c, x)
		c.linger(why)
	case alive:
		c.upstream.lastServed(c, x)
		c.shut(why)
	}
	x.complete()
	for next != nil {
		begun := next
		next = c.upstream.follow(c)
		c.upstream.startOn(c, begun)
	}
}

// abort: x's caller gave up. If x is on the connection, the connection dies;
// what else was on it goes elsewhere.
func (c *conn) abort(x *Exchange, why CloseReason) {
	c.mu.Lock()
	on := false
	for _, other := range c.mu.queue {
		on = on || other == x
	}
	c.mu.Unlock()
	if on {
		c.shut(why)
	}
}

// expire does what is due when the connection's deadline has passed: the body
// that waited for leave is sent, anything else closes the connection.
func (c *conn) expire(now instant) {
	c.mu.Lock()
	at := instant(c.deadline.Load())
	if at == 0 || at > now || c.mu.life.state == stateClosed {
		c.mu.Unlock()
		return
	}
	why := c.lateness(now)
	if why == CloseNone {
		x := c.mu.queue[0]
		c.upstream.tasks.Go(func() { c.sendBody(x, true) })
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.shut(why)
}

// lateness says, under the lock, why the connection ends when its deadline has
// passed; CloseNone that it does not.
func (c *conn) lateness(now instant) CloseReason {
	for _, x := range c.mu.queue {
		if x.deadline > 0 && now >= x.deadline {
			return CloseDeadlineExceeded
		}
	}
	switch c.mu.phase {
	case phaseContinue:
		if len(c.mu.queue) == 0 { // the exchange ended with its writer still to come
			return CloseUnsentBody
		}
		return CloseNone
	case phaseDrain:
		return CloseDrain
	case phaseSend:
		return CloseUnsentBody
	case phaseUpload, phaseBody:
		return CloseBodyTimeout
	}
	if len(c.mu.queue) > 0 && c.mu.queue[0].writeErr != nil {
		return CloseConnectionReset
	}
	return CloseResponseTimeout
}

// retire closes an idle connection in good order: it says that no more will
// be sent, and the reader waits a moment for the peer to close as well, so
// that neither side's last bytes meet a closed socket.
func (c *conn) retire(why CloseReason) {
	at := c.upstream.pool.now() + drainTime
	c.mu.Lock()
	ok := c.mu.life.drain(why) // fails when the peer has closed it meanwhile
	short := c.mu.hastened
	if ok {
		c.mu.phase = phaseDrain
		c.deadline.Store(int64(at))
		if !c.notice.tls { // under TLS only a closure alert is sent, and the peer may be the first to send FIN
			_, peer := c.notice.socket.look()
			c.mu.finished = !peer
		}
	}
	c.mu.Unlock()
	if !ok {
		return
	}
	c.upstream.remind(at)
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || short {
		c.shut(why)
	}
}

// hasten ends the retirement of a connection whose place is needed, or lets it be
// short if it has not begun.
func (c *conn) hasten() {
	c.mu.Lock()
	c.mu.hastened = true
	drains := c.mu.life.state == stateDraining
	c.mu.Unlock()
	if drains {
		c.shut(CloseNone) // the reason it retires for stands
	}
}

// announced reports that the peer knows that the exchange was the connection's
// last, and so will close.
func announced(why CloseReason) bool {
	return why == CloseByPeer || why == CloseRequested || why == CloseOldVersion
}

// linger leaves it to the peer to close a connection that both sides know to
// be over, so that the TIME_WAIT stays with the peer; but not for long. For the
// pool the connection is gone.
func (c *conn) linger(why CloseReason) {
	at := c.upstream.pool.now() + lingerTime
	c.mu.Lock()
	alone := len(c.mu.queue) == 0 && c.mu.life.end(CloseNone) && c.mu.life.drain(why)
	end := ending{why: why, untilClose: c.mu.untilClose}
	if alone {
		c.mu.lingers = true
		c.mu.phase = phaseDrain
		c.deadline.Store(int64(at))
	}
	c.mu.Unlock()
	if !alone {
		c.shut(why)
		return
	}
	c.upstream.lost(c, end)
	c.upstream.remind(at)
}

// reason is why the connection ended, or is about to.
func (c *conn) reason() CloseReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.life.reason
}

// explain says in words why the connection is about to end. The first words stand.
func (c *conn) explain(what string, err error) {
	if err != nil {
		what += ": " + err.Error()
	}
	c.mu.Lock()
	if c.mu.detail == "" {
		c.mu.detail = what
	}
	c.mu.Unlock()
}

// ending is how a connection ended.
type ending struct {
	why       CloseReason
	detail    string        // what went wrong, in words; empty: nothing
	pipelined bool          // with several exchanges on it
	phase     phase         // what it waited for
	stood     time.Duration // for how long it had waited in vain
	// untilClose: it was asked to stay open, and the response being read said that
	// it ends with the connection.
	untilClose bool
}

// shut closes the connection, whatever it is doing. The first reason stands.
// The reader, woken by it, ends the exchanges that are on it.
func (c *conn) shut(why CloseReason) {
	c.mu.Lock()
	first := c.mu.life.close(why)
	why = c.mu.life.reason
	lost, finished := c.mu.lingers, c.mu.finished
	end := ending{
		detail: c.mu.detail,
		why:    why, pipelined: len(c.mu.queue) > 1,
		phase: c.mu.phase, stood: c.upstream.pool.now() - c.mu.since, untilClose: c.mu.untilClose,
	}
	c.deadline.Store(0)
	c.mu.Unlock()
	if !first {
		return
	}
	if !lost {
		c.upstream.lost(c, end)
	}
	_, peer := c.notice.socket.look()
	_ = c.nc.Close() // its error says nothing that matters of a connection that is given up
	c.upstream.closed(c, finished || !peer)
}

// closeFor is the end that a complete response asks for.
func closeFor(p h1.Persistence) CloseReason {
	switch p {
	case h1.Keep:
		return CloseNone
	case h1.CloseRequested:
		return CloseRequested
	case h1.CloseByPeer:
		return CloseByPeer
	case h1.OldVersion:
		return CloseOldVersion
	case h1.CloseDelimited:
		return CloseDelimited
	case h1.Tunnel:
		return CloseUpgraded
	default:
		return CloseAmbiguousFraming
	}
}

// closeForFailure is the reason of a connection that ends with a failed exchange.
func closeForFailure(r Reason) CloseReason {
	switch r {
	case ReasonMalformedResponse:
		return CloseMalformedResponse
	case ReasonResponseTooLarge, ReasonBodyTooLarge:
		return CloseTooLarge
	case ReasonResponseTruncated:
		return CloseTruncated
	case ReasonConnectionClosed:
		return CloseConnectionClosed
	case ReasonConnectionReset, ReasonWriteFailed:
		return CloseConnectionReset
	case ReasonResponseTimeout:
		return CloseResponseTimeout
	case ReasonBodyTimeout:
		return CloseBodyTimeout
	case ReasonDeadlineExceeded:
		return CloseDeadlineExceeded
	case ReasonCancelled:
		return CloseCancelled
	case ReasonDraining:
		return CloseShutdown
	default:
		return CloseInternal
	}
}
