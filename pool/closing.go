package pool

import "context"

// The part of Upstream that ends connections, and the upstream with them.

// hasten closes the connections that retire without waiting for their peers.
func (u *Upstream) hasten() {
	var retiring []*conn
	u.mu.Lock()
	for c := range u.mu.conns {
		if c.slot.state == slotRetiring {
			retiring = append(retiring, c)
		}
	}
	u.mu.Unlock()
	for _, c := range retiring {
		c.hasten()
	}
}

// closed takes note that c's socket is closed, by this side first or not.
func (u *Upstream) closed(c *conn, first bool) {
	u.pool.ports.closed(c.ports, first, u.pool.now())
	sent, received := c.traffic()
	u.mu.Lock()
	delete(u.mu.conns, c)
	u.mu.counters.Sent += sent
	u.mu.counters.Received += received
	u.checkEmpty()
	if u.mu.waiters != nil {
		u.wake()
	}
	u.mu.Unlock()
}

// drain lets connections end with their exchanges.
func (u *Upstream) drain() {
	u.mu.Lock()
	u.mu.admission.ending = true
	u.mu.admission.drain()
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)
}

// close refuses new requests for the reason given, lets running exchanges
// finish until ctx ends, and then closes what is left. It returns when every
// connection and goroutine of the upstream is gone; the error says that some
// exchanges were cut.
func (u *Upstream) close(ctx context.Context, why Reason) error {
	u.mu.Lock()
	if !u.mu.closed {
		u.mu.closed = true
		u.mu.admission.shut(why)
		u.checkEmpty()
	}
	todo := u.settle()
	u.mu.Unlock()
	u.cancel()
	u.carryOut(todo)

	var err error
	select {
	case <-u.mu.empty:
	case <-ctx.Done():
		if cut := u.cutAll(u.parting(), why); cut > 0 {
			err = &CutError{Upstream: u.name, Exchanges: cut}
		}
	}
	u.tasks.Wait()
	u.mu.timer.Stop()
	return err
}

// checkEmpty tells close, under the lock, that nothing is left.
func (u *Upstream) checkEmpty() {
	if u.mu.closed && len(u.mu.conns) == 0 {
		select {
		case <-u.mu.empty:
		default:
			close(u.mu.empty)
		}
	}
}

func (u *Upstream) open() []*conn {
	u.mu.Lock()
	defer u.mu.Unlock()
	conns := make([]*conn, 0, len(u.mu.conns))
	for c := range u.mu.conns {
		conns = append(conns, c)
	}
	return conns
}

func (u *Upstream) parting() CloseReason {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mu.admission.parting()
}
