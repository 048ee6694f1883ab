package h1test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// script runs the steps. A step that fails ends it.
func (p *player) script() {
	p.retire(p.c.Script)
	for i := range p.c.Script {
		s := &p.c.Script[i]
		err := p.step(s, p.c.Script[i+1:])
		var vain *inVain
		switch {
		case err == nil:
		case errors.As(err, &vain) && s.Optional == SkipStep:
			p.o.log.add("--  optional step %d (%v) skipped: %v", i, s, vain.why)
		case errors.As(err, &vain) && s.Optional == SkipRest:
			p.o.log.add("--  optional step %d (%v) and the rest skipped: %v", i, s, vain.why)
			return
		default:
			p.failf("script[%d] %v: %v", i, s, err)
			return
		}
	}
}

// inVain is the error of a step for which nothing came.
type inVain struct{ why error }

func (e *inVain) Error() string { return "nothing came: " + e.why.Error() }
func (e *inVain) Unwrap() error { return e.why }

// patience is how long a step waits.
func (p *player) patience(o Optional) (context.Context, context.CancelFunc) {
	limit, settle := requiredWait, settleRequired
	if o != Required {
		limit, settle = optionalWait, settleOptional
	}
	ctx, cancel := context.WithCancelCause(p.ctx)
	timer := time.AfterFunc(limit, func() { cancel(errWait) })
	stop := context.AfterFunc(p.ended, func() {
		if sleep(ctx, settle) {
			cancel(errCallsEnded)
		}
	})
	return ctx, func() {
		stop()
		timer.Stop()
		cancel(nil)
	}
}

func (p *player) step(s *Step, rest []Step) error {
	switch {
	case s.AcceptNew:
		return p.acceptNew(s, rest)
	case s.readsRequest():
		return p.expectRequest(s)
	case s.Wait != nil:
		for _, c := range p.subject(s) {
			if s.NoRead {
				c.PauseReading()
			} else {
				c.readOn()
			}
		}
		sleep(p.ctx, s.Wait.Duration())
		return nil
	}
	if p.cur == nil && s.Conn == nil {
		if err := p.takeNew(s.Optional); err != nil {
			return err
		}
	}
	conns := p.subject(s)
	if len(conns) == 0 {
		return fmt.Errorf("there is no connection %d; %d were taken", s.Conn.Index, len(p.conns))
	}
	for _, c := range conns {
		if err := p.act(s, c); err != nil {
			return err
		}
	}
	return nil
}

// subject lists the connections which a step is about, none when it is about
// the current one and there is none.
func (p *player) subject(s *Step) []*Conn {
	switch {
	case s.Conn == nil && p.cur == nil:
		return nil
	case s.Conn == nil:
		return []*Conn{p.cur}
	case s.Conn.All:
		return p.conns
	case s.Conn.Index < len(p.conns):
		return p.conns[s.Conn.Index : s.Conn.Index+1]
	}
	return nil
}

func (p *player) act(s *Step, c *Conn) error {
	ctx, cancel := p.patience(s.Optional)
	defer cancel()
	switch {
	case s.Send != nil:
		p.send(ctx, c, []byte(*s.Send))
	case s.SendHex != nil:
		p.send(ctx, c, *s.SendHex)
	case s.SendRepeat != nil:
		p.send(ctx, c, s.SendRepeat.bytes())
	case s.SendSplit != nil:
		for i, part := range s.SendSplit {
			if i > 0 {
				sleep(p.ctx, s.Gap.Duration())
			}
			p.send(ctx, c, []byte(part))
		}
	case s.Close == "fin":
		c.CloseFIN()
	case s.Close == "rst":
		c.CloseRST()
	case s.Close == "tls_notify":
		c.CloseNotify()
	case s.ExpectNoData != nil:
		quiet, cancel := context.WithTimeout(p.ctx, s.ExpectNoData.Duration())
		defer cancel()
		return c.ExpectNoData(quiet)
	case s.ExpectClosed != nil:
		soon, cancel := context.WithTimeout(p.ctx, s.ExpectClosed.Duration())
		defer cancel()
		end, err := c.ExpectClosed(soon)
		if err != nil {
			return err
		}
		if s.TLSNotify && end != Notified {
			return fmt.Errorf("c%d: %v, close_notify is required", c.id, end)
		}
	case s.ExpectBody, s.ExpectBodyOrClose:
		err := c.ReadBody(ctx)
		switch {
		case err != nil && s.ExpectBodyOrClose && c.Ended() != Open:
		case err != nil && ctx.Err() != nil:
			return &inVain{err}
		case err != nil:
			return err
		default:
			p.checkBody(c, c.request, s)
		}
	}
	return nil
}

func (p *player) send(ctx context.Context, c *Conn, b []byte) {
	// A write to a connection that the client has closed is no failure; the
	// transcript has it.
	_ = c.Send(ctx, b)
}

// readOn takes in whatever comes.
func (c *Conn) readOn() {
	c.o.mu.Lock()
	c.greedy = true
	c.o.mu.Unlock()
	c.resume()
}

// makeCurrent gives c, just taken, the next number.
func (p *player) makeCurrent(c *Conn) {
	p.cur = c
	p.conns = append(p.conns, c)
	p.o.log.add("--  c%d is now connection %d", c.id, len(p.conns)-1)
}

func (p *player) takeNew(o Optional) error {
	ctx, cancel := p.patience(o)
	defer cancel()
	c, err := p.o.Accept(ctx)
	if err != nil {
		return &inVain{err}
	}
	p.makeCurrent(c)
	return nil
}

func (p *player) acceptNew(s *Step, rest []Step) error {
	if s.Optional != SkipStep {
		old := p.cur
		p.cur = nil
		p.retire(rest)
		p.cur = old
	}
	return p.takeNew(s.Optional)
}

// retire lets every connection but the current one answer for itself when no
// later step can ask for a request on it: what comes on it is not asked for.
func (p *player) retire(rest []Step) {
	if slices.ContainsFunc(rest, func(s Step) bool { return s.On == "any" || s.Conn != nil && !s.writes() }) {
		return
	}
	for _, c := range p.conns {
		if c != p.cur {
			c.drain()
		}
	}
}

func (s *Step) writes() bool {
	return s.Send != nil || s.SendHex != nil || s.SendRepeat != nil || s.SendSplit != nil || s.Close != ""
}

// drainAll lets every connection answer for itself.
func (p *player) drainAll() {
	p.o.mu.Lock()
	p.o.draining = true
	conns := slices.Clone(p.o.conns)
	p.o.mu.Unlock()
	p.o.log.add("--  end of the script")
	for _, c := range conns {
		c.drain()
	}
}

// expectRequest reads the request that the step asks for. Others that come
// where it is awaited are answered as unexpected.
func (p *player) expectRequest(s *Step) error {
	if s.Conn != nil && s.Conn.Index >= len(p.conns) {
		return fmt.Errorf("there is no connection %d; %d were taken", s.Conn.Index, len(p.conns))
	}
	ctx, cancel := p.patience(s.Optional)
	defer cancel()
	for {
		c, err := p.awaitHead(ctx, s)
		if err != nil {
			return err
		}
		r, err := c.ReadHead(ctx)
		if err != nil {
			return err
		}
		if s.Method != nil && r.Method != string(*s.Method) || s.Path != nil && r.Target != string(*s.Path) {
			p.unexpected(c, r)
			continue
		}
		p.last = c
		p.check(c, r, s)
		if s.ExpectRequest {
			rest, cancel := p.patience(Required)
			defer cancel()
			if err := c.ReadBody(rest); err != nil {
				return err
			}
			p.checkBody(c, r, s)
		}
		return nil
	}
}

// awaitHead waits for a request where the step allows one.
func (p *player) awaitHead(ctx context.Context, s *Step) (*Conn, error) {
	var found, gone *Conn
	for _, c := range p.subject(&Step{Conn: s.Conn}) {
		c.resume()
	}
	if s.On == "any" {
		for _, c := range p.conns {
			c.resume()
		}
	}
	err := p.o.await(ctx, func() bool {
		found, gone = p.findHead(s)
		return found != nil || gone != nil
	})
	switch {
	case found == nil && gone != nil:
		return nil, &inVain{fmt.Errorf("c%d: %v, no request on it", gone.id, gone.Ended())}
	case found == nil:
		return nil, &inVain{err}
	case s.Conn == nil && found != p.cur:
		if i := slices.Index(p.conns, found); i >= 0 {
			p.cur = found
			p.o.log.add("--  connection %d is now the current one", i)
		} else {
			p.switchTo(found)
		}
	}
	return found, nil
}

// findHead looks for a connection with a request on it; gone is the one which
// the step waits for when it can bring none any more. Called with the lock.
func (p *player) findHead(s *Step) (found, gone *Conn) {
	if s.Conn != nil {
		c := p.conns[s.Conn.Index]
		if c.hasHead() {
			return c, nil
		}
		if c.end != Open {
			return nil, c
		}
		return nil, nil
	}
	if p.cur != nil && !(s.On == "any" && p.cur.closed) && p.cur.hasHead() {
		return p.cur, nil
	}
	if s.On == "any" {
		for _, c := range p.conns {
			if !c.closed && c.hasHead() {
				return c, nil
			}
		}
	}
	if s.On == "any" || p.cur == nil || p.unused(p.cur) {
		if i := slices.IndexFunc(p.o.waiting, (*Conn).hasHead); i >= 0 {
			c := p.o.waiting[i]
			p.o.take(c)
			return c, nil
		}
		return nil, nil
	}
	if p.cur.end != Open {
		return nil, p.cur
	}
	return nil, nil
}

// unused says whether nothing has happened on c: then it may be an extra
// connection, which the client opened ahead of the one it uses. Called with the
// lock.
func (p *player) unused(c *Conn) bool { return c.received == 0 && !c.sent && !c.closed }

// switchTo makes c, just taken, current; it gets the number of the current one
// when that is an extra connection.
func (p *player) switchTo(c *Conn) {
	p.o.mu.Lock()
	extra := p.cur != nil && p.unused(p.cur)
	p.o.mu.Unlock()
	if !extra {
		p.makeCurrent(c)
		return
	}
	p.o.log.add("--  c%d is an extra connection, c%d is connection %d", p.cur.id, c.id, len(p.conns)-1)
	p.conns[len(p.conns)-1] = c
	p.cur.drain()
	p.cur = c
}

// check holds a request's head against what the step says about it.
func (p *player) check(c *Conn, r *Request, s *Step) {
	fail := func(format string, args ...any) {
		p.failf("c%d: %s %s: %s", c.id, quote(r.Method), quote(r.Target), fmt.Sprintf(format, args...))
	}
	for name, want := range s.Has {
		if got := r.Values(name); !holds(got, string(want)) {
			fail("%s is %q, required is %q", name, got, want)
		}
	}
	for _, name := range s.Lacks {
		if got := r.Values(name); got != nil {
			fail("%s is %q, it must not be there", name, got)
		}
	}
	for name, want := range s.Count {
		if got := r.Values(name); len(got) != want {
			fail("%s is there %d times %q, required is %d", name, len(got), got, want)
		}
	}
	if len(s.NotBoth) > 0 && !slices.ContainsFunc(s.NotBoth, func(name string) bool { return r.Values(name) == nil }) {
		fail("all of %q are there, one must be missing", s.NotBoth)
	}
}

func (p *player) checkBody(c *Conn, r *Request, s *Step) {
	if s.Body != nil && string(r.Body) != string(*s.Body) {
		p.failf("c%d: %s %s: body %s, required is %s", c.id, quote(r.Method), quote(r.Target), quote(r.Body), quote(string(*s.Body)))
	}
}

// holds says whether field values are want, or hold it as an element of a list.
func holds(values []string, want string) bool {
	if values == nil {
		return false
	}
	all := strings.Join(values, ", ")
	if want == "*" || all == want || slices.Contains(values, want) {
		return true
	}
	for element := range strings.SplitSeq(all, ",") {
		if strings.EqualFold(strings.Trim(element, " \t"), want) {
			return true
		}
	}
	return false
}
