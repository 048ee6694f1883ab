package pool

import (
	"cmp"
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
	Sent           int64                    // bytes of HTTP written, before TLS
	Received       int64                    // bytes of HTTP read, after TLS

	HandshakesSaved    uint64        // exchanges answered on a connection that stood before they asked for one
	HandshakeTimeSaved time.Duration // that the dials of those connections took
	RoundsSaved        uint64        // round trips of slow start that they were spared by its windows, estimated

	UpkeepRequests uint64 // requests sent only to keep windows open
	UpkeepBytes    int64  // written and read for them
	UpkeepRefused  uint64 // times that keeping windows open was refused, because it would have bought nothing
}

// ConnectionInfo is one connection as it is now.
type ConnectionInfo struct {
	Upstream  string
	ID        uint64 // unique within the pool
	Endpoint  netip.AddrPort
	Local     netip.AddrPort // the local address; zero: not known
	State     string         // dialing, idle, active, draining or closed
	Dialing   time.Duration  // since dialing began, while it is dialed
	Age       time.Duration  // since it was established
	Idle      time.Duration  // since its last exchange ended, while idle
	Exchanges int            // carried so far
	InFlight  int            // exchanges on it now
	Sent      int64          // bytes of HTTP written, before TLS
	Received  int64          // bytes of HTTP read, after TLS

	Connect   time.Duration // TCP connect
	Handshake time.Duration // TLS handshake; 0 for plain HTTP
	TLS       TLSInfo

	IdleLimit       time.Duration // it is retired when it has been idle for so long; 0: no limit
	IdleLimitSource IdleLimitSource
	LifetimeLeft    time.Duration // until max_lifetime retires it, at least 1 ns; 0: no limit

	TCP TCPFigures
}

// IdleLimitSource is how it became known for how long a connection may idle.
type IdleLimitSource uint8

// The sources of idle limits.
const (
	IdleUnlimited IdleLimitSource = iota // there is no limit
	IdleByPolicy                         // the policy's max_idle_time
	IdleAnnounced                        // the server's Keep-Alive field, less a margin
	IdleLearned                          // the ages at which the endpoint closed idle connections, less a margin
)

// String is the source's name: policy, announced or learned.
func (s IdleLimitSource) String() string {
	return nameOf([]string{"unlimited", "policy", "announced", "learned"}, uint8(s))
}

// TLSInfo is how a connection speaks TLS; zero for plain HTTP.
type TLSInfo struct {
	Version     uint16 // tls.VersionTLS13, …
	CipherSuite uint16 // tls.TLS_AES_128_GCM_SHA256, …
	Resumed     bool   // with a session of an earlier connection
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
	for c := range u.mu.conns {
		sent, received := c.traffic()
		s.Sent += sent
		s.Received += received
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

// Connections lists the established connections, oldest first. It asks the
// kernel for the figures of each.
func (u *Upstream) Connections() []ConnectionInfo {
	conns := u.open()
	u.sampleAll(conns, u.pool.now())
	now := u.pool.now()
	list := make([]ConnectionInfo, 0, len(conns))
	u.mu.Lock()
	for _, c := range conns {
		list = append(list, u.info(c, now))
	}
	u.mu.Unlock()
	slices.SortFunc(list, func(a, b ConnectionInfo) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// info describes c, under the lock.
func (u *Upstream) info(c *conn, now instant) ConnectionInfo {
	s := c.slot
	i := ConnectionInfo{
		Upstream: u.name, ID: c.id, Endpoint: s.endpoint.addr, Local: c.local, State: s.state.String(),
		Age: now - s.opened, Exchanges: s.exchanges, InFlight: s.inflight,
		Connect: c.dialed.connect, Handshake: c.dialed.handshake, TLS: c.tls,
		TCP: s.figures(now),
	}
	i.Sent, i.Received = c.traffic()
	i.TCP.Congestion = c.congestion
	i.IdleLimit, i.IdleLimitSource = u.mu.admission.mayIdle(s, now)
	if s.expires > 0 {
		i.LifetimeLeft = max(1, s.expires-now)
	}
	if s.state == slotIdle {
		i.Idle = now - s.idleSince
	}
	return i
}
