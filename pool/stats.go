package pool

import (
	"net/netip"
	"slices"
	"time"
)

// Stats is an upstream's state and what it has done so far.
type Stats struct {
	Upstream string
	Counters

	Max, Total, Active, Idle, Dialing, Waiting int
	Endpoints                                  int // addresses in use
	LastDialError                              string
	Ports                                      []PortUse // towards the upstream's endpoints
	IdleLimits                                 []IdleLimit
}

// IdleLimit is for how long an endpoint lets a connection idle, as learned from
// what it did.
type IdleLimit struct {
	Endpoint netip.AddrPort
	Limit    time.Duration
}

// Counters only grow.
type Counters struct {
	Opened         uint64                   // connections established
	Exchanges      uint64                   // attempts that ended, well or not
	Reused         uint64                   // of these, on a connection that had carried one before: handshakes saved
	Retries        uint64                   // attempts that repeated a failed one
	RetriesRefused uint64                   // failures that could have been repeated had the budget allowed it
	DialsFailed    uint64                   // dials that gave no connection
	ConnectTime    time.Duration            // spent in TCP connects, summed over Opened
	HandshakeTime  time.Duration            // spent in TLS handshakes, summed over Opened
	Refused        [reasonCount]uint64      // requests that got no connection, by Reason
	Closed         [closeReasonCount]uint64 // connections ended, by CloseReason
}

// ConnectionInfo is one connection as it is now.
type ConnectionInfo struct {
	Upstream  string
	ID        uint64 // unique within the pool
	Endpoint  netip.AddrPort
	State     string        // idle, active, draining or closed
	Age       time.Duration // since it was established
	Idle      time.Duration // since its last exchange ended, while idle
	Exchanges int           // carried so far
	Connect   time.Duration // TCP connect
	Handshake time.Duration // TLS handshake; 0 for plain HTTP
}

// Stats is a snapshot.
func (u *Upstream) Stats() Stats {
	now := u.pool.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	a := &u.mu.admission
	s := Stats{
		Upstream: u.name, Counters: u.mu.counters,
		Max: a.policy.Max, Total: a.total, Active: a.active, Idle: a.idle, Dialing: a.dialing, Waiting: a.waiting.len,
		Endpoints: len(a.endpoints),
	}
	if a.failure != nil {
		s.LastDialError = a.failure.text()
	}
	mine := make(map[netip.AddrPort]bool)
	for _, e := range a.endpoints {
		mine[e.addr] = true
		if limit := e.lets.learned(now); limit > 0 {
			s.IdleLimits = append(s.IdleLimits, IdleLimit{e.addr, limit})
		}
	}
	s.Ports = u.pool.ports.list(now, localPorts(), func(e netip.AddrPort) bool { return mine[e] })
	return s
}

// Connections lists the established connections, oldest first.
func (u *Upstream) Connections() []ConnectionInfo {
	now := u.pool.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	list := make([]ConnectionInfo, 0, len(u.mu.conns))
	for c := range u.mu.conns {
		list = append(list, u.info(c, now))
	}
	slices.SortFunc(list, func(a, b ConnectionInfo) int { return int(a.ID) - int(b.ID) })
	return list
}

// info describes c, under the lock.
func (u *Upstream) info(c *conn, now instant) ConnectionInfo {
	s := c.slot
	i := ConnectionInfo{
		Upstream: u.name, ID: c.id, Endpoint: s.endpoint.addr, State: s.state.String(),
		Age: now - s.opened, Exchanges: s.exchanges,
		Connect: c.dialed.connect, Handshake: c.dialed.handshake,
	}
	if s.state == slotIdle {
		i.Idle = now - s.idleSince
	}
	return i
}
