package pool

import (
	"sync/atomic"
	"time"
)

// restarts is whether this system lowers the window of a connection that lay
// idle: net.ipv4.tcp_slow_start_after_idle of the process's network namespace,
// read again when it was read a while ago.
type restarts struct {
	on   atomic.Bool
	read atomic.Int64 // instant of the last reading; 0: none
}

const restartsReread = 5 * time.Second

func (r *restarts) look(now instant) bool {
	if at := instant(r.read.Load()); at == 0 || now-at >= restartsReread {
		r.on.Store(slowStartAfterIdle())
		r.read.Store(int64(max(1, now)))
	}
	return r.on.Load()
}

// decays reports whether idleness lowers c's window.
func (u *Upstream) decays(c *conn) bool {
	return !keepsWindow(c.congestion) && u.pool.restarts.on.Load()
}

// sample asks the kernel for the figures of connections and tells the decisions.
func (u *Upstream) sample(conns []*conn) {
	u.pool.restarts.look(u.pool.now())
	type result struct {
		sample tcpSample
		known  bool
		at     instant
	}
	results := make([]result, len(conns))
	for i, c := range conns {
		r := &results[i]
		r.sample, r.known = c.notice.socket.sample()
		r.at = u.pool.now()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, c := range conns {
		if r := &results[i]; r.known {
			u.mu.admission.measured(c.slot, r.sample, u.decays(c), r.at)
		}
	}
}
