package h1test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The bounds of the format, and those on what it leaves open.
const (
	callLimit     = 3 * time.Second        // every call ends within it
	optionalWait  = 200 * time.Millisecond // how long an optional step waits
	watchTime     = 150 * time.Millisecond // for repeated requests, after the end
	probeOldLimit = 500 * time.Millisecond // for a connection that is not reused to be closed

	// Once all calls have ended, what they sent is in the origin's sockets, but
	// its readers may not have run yet. The first bounds that for a step that
	// goes on either way, the second for one that then fails.
	settleOptional = 50 * time.Millisecond
	settleRequired = 500 * time.Millisecond

	requiredWait = 10 * time.Second      // no step waits longer, whatever the calls do
	cancelLimit  = 2 * time.Second       // for a call to end after its context
	orderWait    = 20 * time.Millisecond // see Starter
)

const (
	warmPath  = "/__warm"
	probePath = "/__probe"
)

var (
	errCallsEnded = errors.New("all calls have ended")
	errWait       = errors.New("waited in vain")
)

// Play plays one case against a fresh client and judges the result. It returns
// when the client is closed and nothing of the origin runs any more. Whether
// the client has the features that the case requires is the caller's to ask:
// see [Case.Missing].
func Play(ctx context.Context, c Case, newClient NewClient) (r Result) {
	start := time.Now()
	r = Result{Name: c.Name, Group: c.Group, Strictness: c.Strictness}
	defer func() { r.Elapsed = time.Since(start) }()

	transport := Plain
	if c.Transport == "tls" {
		transport = TLS
	}
	o, err := Listen(transport)
	if err != nil {
		r.fail(err.Error())
		return r
	}
	defer o.Close()
	p := &player{c: &c, o: o}
	o.stray = p.stray
	p.ctx, p.cancel = context.WithCancel(ctx)
	defer p.cancel()
	p.ended, p.markEnded = context.WithCancel(p.ctx)

	cfg := c.Client.config()
	cfg.Addr, cfg.TLS, cfg.CA = o.Addr(), transport == TLS, o.CA()
	p.client, err = newClient(cfg)
	if err != nil {
		r.fail("the client cannot be made: " + err.Error())
		return r
	}
	defer p.client.Close()
	defer o.Close() // before the client, which might wait for it

	calls := p.run()
	r.judge(p, calls)
	r.Transcript = o.log.String()
	return r
}

// player is one case being played.
type player struct {
	c      *Case
	o      *Origin
	client Client

	ctx       context.Context // of everything; cancel ends it early
	cancel    context.CancelFunc
	ended     context.Context // ends when all calls have
	markEnded context.CancelFunc

	// Owned by the goroutine of the script until it has ended.
	conns []*Conn // by number
	cur   *Conn
	last  *Conn // on which the last request was that the script asked for

	mu       sync.Mutex
	failures []string
	probe    *Conn // on which the probe came

	reuse reuse
}

// reuse is what the probe showed.
type reuse struct {
	probed  bool
	same    bool   // came on the connection of the last call
	trouble string // why that does not count
}

func (p *player) failf(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	p.o.log.add("--  FAILURE: %s", msg)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = append(p.failures, msg)
}

func (p *player) failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.failures) > 0
}

func (p *player) run() []*call {
	if err := p.warmUp(); err != nil {
		p.failf("warm-up: %v", err)
		return nil
	}
	scripted := make(chan struct{})
	go func() {
		defer close(scripted)
		p.script()
		p.drainAll()
	}()
	calls := p.makeCalls()
	p.markEnded()
	<-scripted
	if !sleep(p.ctx, watchTime) || p.failed() || !p.wantsProbe() {
		return calls
	}
	p.sendProbe()
	return calls
}

// call is a call in progress.
type call struct {
	Call
	what    string
	issued  time.Time
	done    chan struct{} // closed when outcome is there
	outcome Outcome
	hung    bool
}

func (p *player) start(what string, spec Call) *call {
	c := &call{Call: spec, what: what, issued: time.Now(), done: make(chan struct{})}
	p.o.log.add("--  %s: %s %s", what, quote(spec.Method), quote(spec.Path))
	starter, ordered := p.client.(Starter)
	handed := make(chan struct{})
	go func() {
		defer close(c.done)
		if ordered {
			wait := starter.Start(p.ctx, spec)
			close(handed)
			c.outcome = wait()
		} else {
			close(handed)
			c.outcome = p.client.Do(p.ctx, spec)
		}
		p.o.log.add("--  %s: %v", what, c.outcome)
	}()
	select {
	case <-handed:
	case <-time.After(callLimit):
	}
	return c
}

// inOrder returns when a call may be started right behind those that are out.
func (p *player) inOrder(calls []*call) {
	if _, ordered := p.client.(Starter); ordered {
		return
	}
	last := calls[len(calls)-1]
	same := 0
	for _, c := range calls {
		if c.Method == last.Method && c.Path == last.Path {
			same++
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, orderWait)
	defer cancel()
	_ = p.o.await(ctx, func() bool { return p.o.seenLocked(last.Method, last.Path) >= same })
}

func callName(i int) string { return fmt.Sprintf("call %d", i) }

// await waits for the call's outcome, at most as long as the format allows. A
// call that hangs is cancelled with everything else.
func (p *player) await(c *call) {
	select {
	case <-c.done:
		return
	case <-time.After(time.Until(c.issued.Add(callLimit))):
	}
	c.hung = true
	p.failf("%s hangs: no outcome after %v", c.what, callLimit)
	p.cancel()
	select {
	case <-c.done:
	case <-time.After(cancelLimit):
		p.failf("%s does not end %v after its context either", c.what, cancelLimit)
	}
}

func (p *player) makeCalls() []*call {
	sleep(p.ctx, p.c.StartDelay.Duration())
	calls := []*call{p.start(callName(0), p.c.Request.call())}
	for i := range p.c.More {
		m := &p.c.More[i]
		if m.Start == "after" {
			p.await(calls[i])
			sleep(p.ctx, m.Delay.Duration())
		} else {
			p.inOrder(calls)
		}
		if p.ctx.Err() != nil {
			break
		}
		calls = append(calls, p.start(callName(i+1), m.Request.call()))
	}
	for _, c := range calls {
		p.await(c)
	}
	return calls
}

// sleep waits for d, one of the waits which the format prescribes. It answers
// false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// warmUp makes the warm connections: all requests are read before any is
// answered, so that each needs a connection of its own.
func (p *player) warmUp() error {
	n := p.c.Warmup
	if n == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.ctx, callLimit)
	defer cancel()
	outcomes := make(chan Outcome, n)
	for range n {
		go func() { outcomes <- p.client.Do(p.ctx, Call{Method: "GET", Path: warmPath, Replayable: true}) }()
	}
	for len(p.conns) < n {
		var c *Conn
		err := p.o.await(ctx, func() bool {
			i := slices.IndexFunc(p.o.waiting, (*Conn).hasHead)
			if i < 0 {
				return false
			}
			c = p.o.waiting[i]
			p.o.take(c)
			return true
		})
		if err != nil {
			return fmt.Errorf("%d of %d requests came, each on a connection of its own: %w", len(p.conns), n, err)
		}
		r, err := c.ReadRequest(ctx)
		if err != nil {
			return err
		}
		if r.Target != warmPath {
			return fmt.Errorf("request %s %s", quote(r.Method), quote(r.Target))
		}
		p.conns = append(p.conns, c)
	}
	slices.SortFunc(p.conns, func(a, b *Conn) int { return a.id - b.id })
	for _, c := range p.conns {
		if err := c.Send(ctx, okAnswer); err != nil {
			return err
		}
	}
	for range n {
		select {
		case o := <-outcomes:
			if o.Err != NoError || o.Status != 200 || string(o.Body) != "ok" {
				return fmt.Errorf("outcome %v", o)
			}
		case <-ctx.Done():
			return errors.New("a call hangs")
		}
	}
	p.cur = p.conns[0]
	return nil
}

var (
	okAnswer         = []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	unexpectedAnswer = []byte("HTTP/1.1 500 Unexpected Request\r\nContent-Length: 10\r\n\r\nunexpected")
)

// stray takes a request on a draining connection: the probe, a race with a
// close, or a failure.
func (p *player) stray(c *Conn, r *Request, err error) {
	p.o.mu.Lock()
	closed := c.closed
	p.o.mu.Unlock()
	switch {
	case closed:
		p.o.log.add("c%d  ignored: it came on a connection that the script has closed", c.id)
	case err != nil:
		p.failf("c%d: what the client sends is not a request: %v", c.id, err)
	case r.Method == "GET" && r.Target == probePath:
		p.mu.Lock()
		if p.probe == nil {
			p.probe = c
		}
		p.mu.Unlock()
		p.answer(c, okAnswer)
	default:
		p.unexpected(c, r)
	}
}

func (p *player) unexpected(c *Conn, r *Request) {
	p.failf("c%d: unexpected request %s %s", c.id, quote(r.Method), quote(r.Target))
	p.answer(c, unexpectedAnswer)
}

func (p *player) answer(c *Conn, what []byte) {
	ctx, cancel := context.WithTimeout(p.o.ctx, callLimit)
	defer cancel()
	// A client that has gone needs no answer.
	_ = c.Send(ctx, what)
}

func (p *player) wantsProbe() bool {
	if len(p.c.More) > 0 {
		return false
	}
	return p.c.Expect.Reusable != nil || slices.ContainsFunc(p.c.Accept, func(e Expectation) bool { return e.Reusable != nil })
}

// sendProbe makes one more call to see which connection it uses.
func (p *player) sendProbe() {
	p.reuse.probed = true
	closing, cancel := context.WithTimeout(p.ctx, probeOldLimit)
	defer cancel()
	c := p.start("probe", Call{Method: "GET", Path: probePath, Replayable: true})
	p.await(c)
	p.mu.Lock()
	came := p.probe
	p.mu.Unlock()
	switch {
	case came == nil:
		p.reuse.trouble = fmt.Sprintf("the probe came on no open connection: %v", c.outcome)
	case c.outcome.Err != NoError || c.outcome.Status != 200 || string(c.outcome.Body) != "ok":
		p.reuse.trouble = fmt.Sprintf("the probe got %v", c.outcome)
	case came == p.last:
		p.reuse.same = true
	case p.last != nil:
		if p.o.await(closing, func() bool { return p.last.end != Open }) != nil {
			p.reuse.trouble = fmt.Sprintf("the client keeps c%d open: %v after the probe it is still not closed", p.last.id, probeOldLimit)
		}
	}
}
