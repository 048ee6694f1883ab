package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Upstream is one upstream's connections and queue. Its methods may be called
// from any goroutine.
type Upstream struct {
	// Immutable.
	pool *Pool
	name string

	ctx    context.Context // ends when the upstream is closed: stops dials and resolution
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the upstream: readers, dials, resolution

	doubted chan struct{} // a dial failed since the last lookup

	alarm  atomic.Int64           // instant for which timer is set; 0: it is not
	target atomic.Pointer[target] // what the policy says; exchanged under mu

	mu struct { // held for decisions only: no I/O, no callback
		sync.Mutex
		admission admission
		conns     map[*conn]struct{}
		dials     map[*slot]instant // under way, and when they began
		closed    bool
		counters  Counters
		sampleAt  instant // when the kernel is to be asked for the figures of all connections; 0: it tells none
		retrying  int     // exchanges under way that are being sent again
		timer     *time.Timer
		waiters   []*waiter          // for a state of all this
		public    public             // what the Observer knows of that
		resolving context.CancelFunc // ends what keeps the endpoints up to date
		empty     chan struct{}      // closed when the last connection is gone after closing
	}
}

func newUpstream(p *Pool, policy *Policy) (*Upstream, error) {
	to, err := newTarget(p, policy, nil)
	if err != nil {
		return nil, err
	}
	u := &Upstream{pool: p, name: policy.Name, doubted: make(chan struct{}, 1)}
	u.target.Store(to)
	u.ctx, u.cancel = context.WithCancel(context.Background())
	u.mu.conns = make(map[*conn]struct{})
	u.mu.dials = make(map[*slot]instant)
	u.mu.empty = make(chan struct{})
	u.mu.admission = admission{
		policy: policy,
		chance: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		haste:  rand.Float64(),
		waryAt: p.now(),
	}
	u.mu.timer = time.AfterFunc(time.Hour, u.tick)
	u.mu.timer.Stop()
	return u, nil
}

// Name is the upstream's name.
func (u *Upstream) Name() string { return u.name }

// Policy is a copy of the policy in force.
func (u *Upstream) Policy() Policy { return *u.policy() }

func (u *Upstream) policy() *Policy { return u.target.Load().policy }

// Do sends the request on a pooled connection and returns the final response,
// whatever its status. The error is always an *Error. When ctx ends, the
// exchange is stopped and its connection is not used again.
func (u *Upstream) Do(ctx context.Context, req *Request) (*Response, error) {
	var do struct {
		Exchange
		whole
	}
	do.done = make(chan struct{}, 1)
	x := &do.Exchange
	if failure := x.prepare(u, req, &do.whole); failure != nil {
		u.ended(x, failure)
		return nil, failure
	}
	if ctx.Err() != nil {
		x.Cancel(context.Cause(ctx)) // and so submit asks for no connection
	}
	u.submit(x, x.asked, true, nil)
	select {
	case <-do.done:
	case <-ctx.Done():
		x.Cancel(context.Cause(ctx))
		<-do.done
	}
	if do.whole.failure != nil {
		do.whole.failure.Receipt = x.Receipt()
		return nil, do.whole.failure
	}
	do.response.Receipt = x.Receipt()
	return &do.response, nil
}

// Start sends the request on a pooled connection as soon as there is one; what
// becomes of it the sink is told. It does not wait, but writes a short request
// at once where it can. The error, an *Error, says that the request cannot be sent
// at all; the sink is then told nothing.
func (u *Upstream) Start(x *Exchange, req *Request, sink Sink) error {
	if failure := x.prepare(u, req, sink); failure != nil {
		u.ended(x, failure)
		return failure
	}
	u.submit(x, x.asked, false, nil)
	return nil
}

// Cancel stops the exchange; its sink is told so soon. It must not be called once
// the sink's End has been.
func (x *Exchange) Cancel(why error) { x.upstream.abandon(x, why) }

// Receipt is how the exchange was carried out, complete in the sink's End; nil
// unless the request asked for it.
func (x *Exchange) Receipt() *Receipt {
	if !x.wantReceipt {
		return nil
	}
	return &x.receipt
}

// submit finds x a connection and begins it there, or leaves it waiting.
// mayBlock says that the calling goroutine may wait for a slow peer; together,
// when not nil, that the request may leave with others.
func (u *Upstream) submit(x *Exchange, now instant, mayBlock bool, together *Batch) {
	for ; ; now = u.pool.now() {
		u.mu.Lock()
		if x.gone.Load() != 0 {
			u.mu.Unlock()
			x.giveUp()
			return
		}
		s := u.mu.admission.ask(&x.ticket, now)
		u.give(x, s, now)
		todo := u.settle()
		u.mu.Unlock()
		u.carryOut(todo)
		if s == nil || s.conn.start(x, now, mayBlock, together) {
			return
		}
		if u.spoils(x) {
			x.finish()
			return
		}
	}
}

// ended counts an exchange that is over, with failure or, where that is nil, with
// a response.
func (u *Upstream) ended(x *Exchange, failure *Error) {
	if x.counted {
		return
	}
	u.mu.Lock()
	if failure != nil {
		u.mu.counters.Failures[failure.Reason]++
	} else {
		u.mu.counters.Responses++
	}
	u.mu.Unlock()
	if f := u.pool.options.Observer.Refused; f != nil && failure != nil && failure.Attempts == 0 {
		f(u.name, failure.Reason, failure.Endpoint, failure)
	}
}

// abandon stops x: its caller is gone.
func (u *Upstream) abandon(x *Exchange, why error) {
	reason := CloseCancelled
	if errors.Is(why, context.DeadlineExceeded) {
		reason = CloseDeadlineExceeded
	}
	x.gone.Store(uint32(reason))
	u.mu.Lock()
	waiting := u.mu.admission.gaveUp(&x.ticket)
	var c *conn
	if x.slot != nil {
		c = x.slot.conn
	}
	u.mu.Unlock()
	switch {
	case waiting:
		x.giveUp()
	case c != nil:
		c.abort(x, reason)
	}
}

// freed takes back a connection whose exchange is over. It returns the
// exchange to begin on it next, if one waits.
func (u *Upstream) freed(c *conn, x *Exchange) *Exchange {
	now := u.pool.now()
	sample, due := c.sampleAfter(x, now)
	u.mu.Lock()
	if c.slot.state == slotActive && !x.upkeep { // else it was lost meanwhile, and counted then
		u.mu.counters.Exchanges++
		if c.slot.exchanges > 0 {
			u.mu.counters.Reused++
		}
		if c.opened <= x.asked {
			u.mu.counters.Stood++
		}
	}
	if x.fault == nil && !x.unexpected && !x.upkeep {
		u.mu.counters.Responses++
		x.counted = true
	}
	a := &u.mu.admission
	u.served(c, x, now)
	if due {
		a.measured(c.slot, sample, u.decays(c), now)
	}
	a.hinted(c.slot, x.hint)
	t, why := a.freed(c.slot, now)
	next := u.grant(t, c.slot, now)
	todo := u.settle()
	u.mu.Unlock()
	if why != CloseNone {
		c.retire(why)
	}
	u.carryOut(todo)
	return next
}

// follow is the next exchange to be pipelined on c, nil when there is none.
func (u *Upstream) follow(c *conn) *Exchange {
	if u.policy().PipelineDepth <= 1 {
		return nil
	}
	now := u.pool.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.grant(u.mu.admission.follow(c.slot, now), c.slot, now)
}

// grant notes, under the lock, that t's exchange has s.
func (u *Upstream) grant(t *ticket, s *slot, now instant) *Exchange {
	if t == nil {
		return nil
	}
	u.waited(t, now)
	u.give(t.exchange, s, now)
	return t.exchange
}

// waited counts, under the lock, the wait of a request that has a connection now.
func (u *Upstream) waited(t *ticket, now instant) {
	u.mu.counters.Waits++
	u.mu.counters.WaitTime += now - t.since
}

// give notes, under the lock, that x has s, which may be nil.
func (u *Upstream) give(x *Exchange, s *slot, now instant) {
	x.slot = s
	if s != nil {
		x.idled, x.last = s.idled, u.mu.admission.closing(s, now)
	}
}

// startOn begins x, which was given c, there; if c has died meanwhile, x asks
// again.
func (u *Upstream) startOn(c *conn, x *Exchange) {
	switch {
	case c.start(x, u.pool.now(), false, nil):
	case u.spoils(x):
		x.finish()
	default:
		x.ticket.again = true // it has had its turn
		u.submit(x, u.pool.now(), false, nil)
	}
}

// lost takes note that c has closed. It is called once for each connection.
func (u *Upstream) lost(c *conn, end ending) {
	now := u.pool.now()
	why := end.why
	u.mu.Lock()
	a := &u.mu.admission
	if c.slot.state == slotActive && !c.slot.tending { // ended with an exchange, not given back
		u.mu.counters.Exchanges++
		if c.slot.exchanges > 0 {
			u.mu.counters.Reused++
		}
		if c.slot.exchanges > 0 || c.slot.idled > 0 {
			u.mu.counters.Stood++
		}
	}
	if end.pipelined && blames(why) {
		a.badPipeline(c.slot, now)
	}
	a.metClose(c.slot, why, now)
	if because := c.slot.endpoint.reuse.ended(end, c.slot.exchanges); because != "" {
		a.stopReuse(c.slot.endpoint, because, now)
	}
	a.lost(c.slot, why, now)
	if why == CloseRequested && c.slot.lastFor != CloseNone {
		why = c.slot.lastFor // it was not the caller who asked
	}
	u.mu.counters.Closed[why]++
	info := u.info(c, now)
	info.CloseDetail = end.detail
	todo := u.settle()
	u.mu.Unlock()
	observer := &u.pool.options.Observer
	if f := observer.ConnectionClosed; f != nil {
		f(info, why)
	}
	u.carryOut(todo)
}

// stopReuse lets connections to c's endpoint carry one exchange each for a while.
func (u *Upstream) stopReuse(c *conn, because string) {
	now := u.pool.now()
	u.mu.Lock()
	u.mu.admission.stopReuse(c.slot.endpoint, because, now)
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)
}

// blames reports that a connection's end is its endpoint's doing and not in
// good order, of which Connection: close would be.
func blames(why CloseReason) bool {
	switch why {
	case CloseConnectionClosed, CloseConnectionReset, CloseTruncated, CloseMalformedResponse, CloseAmbiguousFraming,
		CloseExtraBytes, CloseUnsolicitedData, CloseDelimited, CloseOldVersion, CloseResponseTimeout:
		return true
	}
	return false
}

// settle collects, under the lock, what the decisions ordered, and sets the
// timer where they need it sooner.
func (u *Upstream) settle() []order {
	a := &u.mu.admission
	todo := a.orders
	if todo != nil {
		a.orders = nil
		for i := range todo {
			switch o := &todo[i]; o.kind {
			case orderDial:
				o.slot.target, o.slot.number = u.target.Load(), u.pool.ids.Add(1)
				o.slot.stoppable(u.ctx)
				u.mu.dials[o.slot] = u.pool.now()
				u.mu.counters.Dials[o.slot.cause]++
				if !u.mu.closed {
					u.tasks.Add(1)
				}
			case orderTend:
				u.mu.counters.UpkeepRequests++
			case orderTell:
				if o.upkeep.Refused {
					u.mu.counters.UpkeepRefused++
				}
			case orderBegin:
				u.waited(o.ticket, o.at)
				u.give(o.ticket.exchange, o.slot, o.at)
			case orderRefuse:
				u.mu.counters.Refused[o.reason]++
			case orderRetire, orderHasten, orderStop, orderPrivilege:
			}
		}
	}
	todo = u.news(todo)
	if u.mu.waiters != nil {
		u.wake()
	}
	u.setAlarm(a.due)
	return todo
}

// carryOut does what the decisions ordered. It must be called without the lock.
func (u *Upstream) carryOut(todo []order) {
	for i := range todo {
		switch o := todo[i]; o.kind {
		case orderDial:
			go u.dial(o.slot)
		case orderRefuse:
			o.ticket.exchange.refuse(o)
		case orderRetire:
			o.slot.conn.retire(o.close)
		case orderStop:
			o.slot.stop()
		case orderHasten:
			u.hasten()
		case orderTend:
			u.tendTo(o.slot, o.keep, o.at)
		case orderTell:
			if f := u.pool.options.Observer.UpkeepChanged; f != nil {
				o.upkeep.Upstream = u.name
				f(o.upkeep)
			}
		case orderPrivilege:
			if f := u.pool.options.Observer.PrivilegeChanged; f != nil {
				o.privilege.Upstream = u.name
				f(o.privilege)
			}
		case orderNews:
			o.news()
		case orderBegin:
			u.startOn(o.slot.conn, o.ticket.exchange)
		}
	}
}

// dial makes one connection and serves it until it ends.
func (u *Upstream) dial(s *slot) {
	defer u.tasks.Done()
	held := false
	passed := u.pool.turnstile.enter(s.ctx, u, func() {
		held = true
		u.mu.Lock()
		s.held = true
		u.mu.Unlock()
	})
	if held {
		u.begins(s)
	}
	nc, n, times, failure := s.target.dialer.dial(s.ctx, s.endpoint.addr, func() { u.connected(s) }) // fails at once when ctx has ended
	s.stop()
	if passed {
		u.pool.turnstile.leave(u)
	}
	now := u.pool.now()
	if failure != nil {
		u.mu.Lock()
		if s.stopped {
			failure = givenUp(s.endpoint.addr, now-s.began)
		}
		delete(u.mu.dials, s)
		u.mu.counters.DialsFailed++
		u.mu.counters.DialFailures[failure.reason]++
		u.mu.admission.dialFailed(s, failure, now)
		u.checkEmpty()
		todo := u.settle()
		u.mu.Unlock()
		if f := u.pool.options.Observer.DialFailed; f != nil && u.ctx.Err() == nil {
			f(u.name, failure.reason, failure.endpoint, errors.New(failure.text()))
		}
		u.doubt(failure)
		u.carryOut(todo)
		return
	}
	c := newConn(u, s, nc, n, times)
	sample, known := c.sample(now)
	c.flight = int64(sample.window) * int64(sample.mss)
	if use, short := u.pool.ports.opened(c.ports, now, localPorts()); short {
		if f := u.pool.options.Observer.PortsShort; f != nil {
			f(u.name, use)
		}
	}
	u.mu.Lock()
	s.conn, s.rtt = c, times.connect
	u.mu.conns[c] = struct{}{}
	delete(u.mu.dials, s)
	u.mu.counters.Opened++
	u.mu.counters.ConnectTime += times.connect
	u.mu.counters.HandshakeTime += times.handshake
	if c.tls.Version != 0 {
		u.mu.counters.TLSHandshakes++
		if c.tls.Resumed {
			u.mu.counters.TLSResumed++
		}
	}
	if known {
		u.mu.admission.measured(s, sample, u.decays(c), now)
		u.sampleAgain(now)
	}
	t := u.mu.admission.dialed(s, now)
	x := u.grant(t, s, now)
	info := u.info(c, now)
	todo := u.settle()
	u.mu.Unlock()
	if f := u.pool.options.Observer.ConnectionOpened; f != nil {
		f(info)
	}
	u.carryOut(todo)
	if x != nil {
		u.startOn(c, x)
	}
	c.serve()
}
