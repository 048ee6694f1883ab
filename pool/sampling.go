package pool

import (
	"sync/atomic"
	"time"
)

// When the kernel is asked for a connection's figures (TCP_INFO): when it is
// dialed; after a request that was larger than a new connection's window, before
// the connection goes back to the pool, so that the next one finds what has
// become of the window; and every sampleEvery by the upstream's timer, all
// connections together. Small requests do not pay for it: what their sending does
// to a window is computed.
const sampleEvery = 5 * time.Second

// restarts is whether this system lowers the window of a connection that lay
// idle: net.ipv4.tcp_slow_start_after_idle of the process's network namespace,
// read again when it was read a while ago.
type restarts struct {
	on   atomic.Bool
	read atomic.Int64 // instant of the last reading; 0: none
}

const restartsReread = sampleEvery

func (r *restarts) look(now instant) {
	if at := instant(r.read.Load()); at == 0 || now-at >= restartsReread {
		r.on.Store(slowStartAfterIdle())
		r.read.Store(int64(max(1, now)))
	}
}

// decays reports whether idleness lowers c's window.
func (u *Upstream) decays(c *conn) bool {
	return u.pool.restarts.on.Load() && !keepsWindow(c.congestion)
}

// sample asks the kernel for the connection's figures.
func (c *conn) sample(now instant) (tcpSample, bool) {
	c.upstream.pool.restarts.look(now)
	return c.notice.socket.sample()
}

// sampleAfter asks the kernel after x if its request was large.
func (c *conn) sampleAfter(x *Exchange, now instant) (tcpSample, bool) {
	if c.flight == 0 || x.receipt.Sent <= c.flight {
		return tcpSample{}, false
	}
	return c.sample(now)
}

// sampleAll asks the kernel for the figures of connections and tells the
// decisions.
func (u *Upstream) sampleAll(conns []*conn, now instant) {
	type figures struct {
		sample tcpSample
		known  bool
	}
	all := make([]figures, len(conns))
	for i, c := range conns {
		all[i].sample, all[i].known = c.sample(now)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, c := range conns {
		if all[i].known {
			u.mu.admission.measured(c.slot, all[i].sample, u.decays(c), now)
		}
	}
}

// sampleAgain makes sure, under the lock, that the timer asks for the figures of
// all connections in a while.
func (u *Upstream) sampleAgain(now instant) {
	if u.mu.sampleAt == 0 {
		u.mu.sampleAt = now + sampleEvery
		u.setAlarm(u.mu.sampleAt)
	}
}

// sampleDue does what the timer has to see to.
func (u *Upstream) sampleDue(now instant) {
	u.mu.Lock()
	if u.mu.sampleAt == 0 || u.mu.sampleAt > now {
		u.mu.Unlock()
		return
	}
	u.mu.sampleAt = 0
	var due []*conn
	for c := range u.mu.conns {
		if c.flight > 0 {
			due = append(due, c)
		}
	}
	if len(due) > 0 {
		u.sampleAgain(now)
	}
	u.mu.Unlock()
	u.sampleAll(due, now)
}
