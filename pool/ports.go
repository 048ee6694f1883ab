package pool

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ports counts, for each pair of local address and endpoint, the local ports
// that connections take: those that are open, and those that this side closed
// first, whose ports TIME_WAIT keeps for another minute (RFC 9293, 3.6.1; the
// minute is Linux's). When none is left towards an endpoint, connect fails with
// EADDRNOTAVAIL; the counts say so before.
type ports struct {
	mu struct {
		sync.Mutex
		pairs map[portPair]*portUse
	}
}

type portPair struct {
	source   netip.Addr
	endpoint netip.AddrPort
}

type portUse struct {
	open    int
	waiting [timeWaitSeconds]uint32 // ports whose TIME_WAIT ends in that second
	second  int64                   // up to which waiting is current
	warned  bool
}

const timeWaitSeconds = 60

// PortUse is how many local ports one local address has taken towards one endpoint.
type PortUse struct {
	Source   netip.Addr
	Endpoint netip.AddrPort
	Open     int // connections
	TimeWait int // ports held by connections that this side closed first, estimated
	Range    int // ports there are; 0: unknown
}

// Short reports that most ports are taken.
func (p PortUse) Short() bool {
	return p.Range > 0 && float64(p.Open+p.TimeWait) >= portWarning*float64(p.Range)
}

const portWarning = 0.8

// opened counts a new connection. It reports the pair's numbers when they have
// just become short.
func (p *ports) opened(pair portPair, now instant, size int) (PortUse, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.pairs == nil {
		p.mu.pairs = make(map[portPair]*portUse)
	}
	use := p.mu.pairs[pair]
	if use == nil {
		use = &portUse{second: second(now)}
		p.mu.pairs[pair] = use
	}
	use.open++
	is := use.report(pair, now, size)
	crossed := is.Short() && !use.warned
	use.warned = is.Short()
	return is, crossed
}

// closed counts a connection's end. first says that this side closed it first.
func (p *ports) closed(pair portPair, first bool, now instant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	use := p.mu.pairs[pair]
	use.open--
	use.pass(now)
	if first {
		use.waiting[second(now)%timeWaitSeconds]++
	}
	if use.open == 0 && use.held() == 0 {
		delete(p.mu.pairs, pair)
	}
}

// list reports all pairs with the endpoints given.
func (p *ports) list(now instant, size int, of func(netip.AddrPort) bool) []PortUse {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []PortUse
	for pair, use := range p.mu.pairs {
		if of(pair.endpoint) {
			all = append(all, use.report(pair, now, size))
		}
	}
	slices.SortFunc(all, func(a, b PortUse) int {
		return cmp.Or(a.Source.Compare(b.Source), a.Endpoint.Compare(b.Endpoint))
	})
	return all
}

func (u *portUse) report(pair portPair, now instant, size int) PortUse {
	u.pass(now)
	return PortUse{Source: pair.source, Endpoint: pair.endpoint, Open: u.open, TimeWait: u.held(), Range: size}
}

// pass forgets the ports whose TIME_WAIT has ended.
func (u *portUse) pass(now instant) {
	to := second(now)
	if to-u.second >= timeWaitSeconds {
		u.waiting = [timeWaitSeconds]uint32{}
	} else {
		for s := u.second + 1; s <= to; s++ {
			u.waiting[s%timeWaitSeconds] = 0
		}
	}
	u.second = to
}

func (u *portUse) held() int {
	n := 0
	for _, w := range u.waiting {
		n += int(w)
	}
	return n
}

func second(now instant) int64 { return int64(now / time.Second) }
