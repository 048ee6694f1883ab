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

	Mode                                       Mode
	Max, Total, Active, Idle, Dialing, Waiting int
	InFlight                                   int           // exchanges that are on a connection
	Warm                                       int           // connections that are kept with no traffic: the warm floor or, while one is held, that of Warm
	Wanted                                     int           // connections to be kept now: the floor, or more for what was needed of late
	Leaving                                    int           // of the idle ones, those about to end, whose replacements are wanted
	OldestWait                                 time.Duration // for how long the first of those that wait has waited
	Endpoints                                  int           // addresses in use
	LastDialError                              string        // the newest dial or resolver error, empty when the newest dial succeeded
	SinceDialError                             time.Duration // since the last dial failed, or lookup without which none can be made; 0: none has
	Ports                                      []PortUse     // towards the upstream's endpoints
	IdleLimits                                 []IdleLimit
	Addresses                                  []EndpointStats // the endpoints one by one, by address
}

// EndpointStats is one address of an upstream as it is now.
type EndpointStats struct {
	Endpoint                        netip.AddrPort
	Dialing, Idle, Active, Draining int
	Gone                            bool            // no longer an address of the upstream: nothing new goes there
	Missing                         time.Duration   // since an answer held it last, while it is not gone; 0: the newest does
	Priority, Weight                uint16          // of a service: its SRV record's
	Failures                        int             // rounds of failed dials in a row
	FamilyFailed                    bool            // no address of its IP version answers: it is dialed beside others only
	RetryIn                         time.Duration   // until it may be dialed again; 0: it may
	IdleLimit                       time.Duration   // idle time after which its connections retire; 0: no limit
	IdleLimitSource                 IdleLimitSource // where that comes from
	ReuseOff                        time.Duration   // for which its connections carry one exchange each; 0: as many as they may
	PipeliningOff                   time.Duration   // for which requests are not pipelined to it; 0: as the policy says
	RTT                             time.Duration   // median of its connections' smoothed round trips; 0: not known
}

// IdleLimit is for how long an endpoint lets a connection idle, as learned from
// what it did.
type IdleLimit struct {
	Endpoint netip.AddrPort
	Unused   bool // of connections that never carried a request, for which servers often have a time of their own
	Limit    time.Duration
}

// Counters only grow.
type Counters struct {
	Opened         uint64                   // connections established
	Dials          [dialCauseCount]uint64   // dials begun, by DialCause
	Exchanges      uint64                   // attempts that ended, well or not
	Reused         uint64                   // of these, on a connection that had carried one before
	Stood          uint64                   // of these, on a connection that stood before they asked for one, used before or not
	Responses      uint64                   // exchanges that ended with a response
	Failures       [reasonCount]uint64      // exchanges that failed, refused ones included, by Reason
	Retries        uint64                   // attempts that repeated a failed one
	RetriesAfter   [reasonCount]uint64      // the same, by the Reason of the failed one
	RetriesRefused uint64                   // failures that could have been repeated had the budget allowed it
	Stale          uint64                   // attempts that met a connection which the upstream had closed or was closing
	NotReceived    uint64                   // failed attempts whose request was proven not to have been received
	Waits          uint64                   // exchanges that had to wait for a connection, and got one
	WaitTime       time.Duration            // waited by all of them together
	DialsFailed    uint64                   // dials that gave no connection
	DialFailures   [reasonCount]uint64      // the same, by Reason
	TLSHandshakes  uint64                   // completed
	TLSResumed     uint64                   // of these, with a session of an earlier connection
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

// Add adds another upstream's counters.
func (c *Counters) Add(o *Counters) {
	for _, pair := range [][2][]uint64{
		{c.Dials[:], o.Dials[:]},
		{c.Failures[:], o.Failures[:]},
		{c.RetriesAfter[:], o.RetriesAfter[:]},
		{c.DialFailures[:], o.DialFailures[:]},
		{c.Refused[:], o.Refused[:]},
		{c.Closed[:], o.Closed[:]},
	} {
		for i, n := range pair[1] {
			pair[0][i] += n
		}
	}
	c.Opened += o.Opened
	c.Exchanges += o.Exchanges
	c.Reused += o.Reused
	c.Stood += o.Stood
	c.Responses += o.Responses
	c.Retries += o.Retries
	c.RetriesRefused += o.RetriesRefused
	c.Stale += o.Stale
	c.NotReceived += o.NotReceived
	c.Waits += o.Waits
	c.WaitTime += o.WaitTime
	c.DialsFailed += o.DialsFailed
	c.TLSHandshakes += o.TLSHandshakes
	c.TLSResumed += o.TLSResumed
	c.ConnectTime += o.ConnectTime
	c.HandshakeTime += o.HandshakeTime
	c.Sent += o.Sent
	c.Received += o.Received
	c.HandshakesSaved += o.HandshakesSaved
	c.HandshakeTimeSaved += o.HandshakeTimeSaved
	c.RoundsSaved += o.RoundsSaved
	c.UpkeepRequests += o.UpkeepRequests
	c.UpkeepBytes += o.UpkeepBytes
	c.UpkeepRefused += o.UpkeepRefused
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

	Closing     CloseReason // why it is about to end; CloseNone: it is not
	CloseDetail string      // what went wrong, of one that ended; empty: nothing
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

// Counters is what the upstream has done so far, without the bytes of connections
// that are open. It costs less than Stats.
func (u *Upstream) Counters() Counters {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mu.counters
}

// Stats is a snapshot.
func (u *Upstream) Stats() Stats {
	now := u.pool.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	a := &u.mu.admission
	s := Stats{
		Upstream: u.name, Counters: u.mu.counters, Mode: u.mode(),
		Max: a.policy.Max, Total: a.total, Active: a.active, Idle: a.idle, Dialing: a.dialing, Waiting: a.waiting.len,
		Endpoints: len(a.endpoints), Warm: a.floor(now), Wanted: a.want(now), Leaving: a.leaving, OldestWait: a.waiting.oldest(now),
		Addresses: u.addresses(now),
	}
	if a.failedAt > 0 {
		s.SinceDialError = max(1, now-a.failedAt)
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
		for unused, l := range map[bool]*idleLimit{false: &e.lets, true: &e.letsUnused} {
			if limit := l.learned(now); limit > 0 {
				s.IdleLimits = append(s.IdleLimits, IdleLimit{Endpoint: e.addr, Unused: unused, Limit: limit})
			}
		}
	}
	s.Ports = u.pool.ports.list(now, localPorts(), func(e netip.AddrPort) bool { return mine[e] })
	for c := range u.mu.conns {
		s.InFlight += c.slot.inflight
	}
	return s
}

// addresses describes, under the lock, the endpoints one by one.
func (u *Upstream) addresses(now instant) []EndpointStats {
	a := &u.mu.admission
	rtts := make(map[*endpoint][]time.Duration)
	for c := range u.mu.conns {
		if rtt := c.slot.tcp.rtt; c.slot.sampled > 0 && rtt > 0 {
			rtts[c.slot.endpoint] = append(rtts[c.slot.endpoint], rtt)
		}
	}
	left := func(until instant) time.Duration { return max(0, until-now) }
	list := make([]EndpointStats, 0, len(a.endpoints))
	for _, e := range a.endpoints {
		is := EndpointStats{
			Endpoint: e.addr, Dialing: e.dialing, Idle: len(e.idle), Active: e.active, Gone: e.gone,
			Draining: e.total - e.dialing - len(e.idle) - e.active, Failures: e.fails,
			Priority: e.priority, Weight: e.weight, FamilyFailed: a.families[familyOf(e)].fails > 0,
			RetryIn: left(a.heldBack(e)), ReuseOff: left(e.reuse.off), PipeliningOff: left(e.noPipelining),
		}
		if e.misses > 0 && !e.gone {
			is.Missing = max(1, now-e.missing)
		}
		is.IdleLimit, is.IdleLimitSource = a.mayIdle(&slot{endpoint: e}, now)
		if known := rtts[e]; len(known) > 0 {
			slices.Sort(known)
			is.RTT = known[len(known)/2]
		}
		list = append(list, is)
	}
	slices.SortFunc(list, func(a, b EndpointStats) int { return a.Endpoint.Compare(b.Endpoint) })
	return list
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
	i.Closing = s.condemned
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
