package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/warmpool-dev/warmpool/pool/dns"
)

// resolve begins, under the lock, to keep the endpoints up to date, in place of
// what did so before. Fixed addresses are taken as they are; a name is looked up
// now and again when what was found no longer holds, off the path of any request.
func (u *Upstream) resolve(to *target, now instant) {
	if u.mu.resolving != nil {
		u.mu.resolving()
		u.mu.resolving = nil
	}
	if fixed := to.fixedEndpoints(); fixed != nil {
		u.mu.admission.resolved(fixed, now)
		return
	}
	ctx, cancel := context.WithCancel(u.ctx)
	u.mu.resolving = cancel
	u.tasks.Go(func() { u.keepResolving(ctx, to) })
}

func (t *target) fixedEndpoints() []netip.AddrPort {
	if len(t.policy.Endpoints) > 0 {
		return t.policy.Endpoints
	}
	if ip, err := netip.ParseAddr(t.origin.host); err == nil && t.policy.DNS.SRV == "" {
		return []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), t.port())}
	}
	return nil
}

func (t *target) port() uint16 {
	port, _ := strconv.ParseUint(t.origin.port, 10, 16) // parseOrigin has checked it
	return uint16(port)
}

func (p *DNSPolicy) equal(other *DNSPolicy) bool {
	return p.Refresh == other.Refresh && p.MinTTL == other.MinTTL && p.MaxTTL == other.MaxTTL && p.SRV == other.SRV &&
		slices.Equal(p.Servers, other.Servers)
}

// resolveTimeout bounds a lookup, whatever the resolver is.
const resolveTimeout = 10 * time.Second

// keepResolving looks the upstream's addresses up for as long as the policy is
// what it was.
func (u *Upstream) keepResolving(ctx context.Context, to *target) {
	pace := pace{policy: &to.policy.DNS, chance: rand.Float64}
	name, lookup := to.origin.host, dns.Query{Name: to.origin.host, Servers: to.policy.DNS.Servers}
	if srv := to.policy.DNS.SRV; srv != "" {
		name, lookup.Name, lookup.Service = srv, srv, true
	}
	lookup.Hurried = true // requests may be waiting
	var failing lookupFailures
	for ctx.Err() == nil {
		begun := time.Now()
		limited, cancel := context.WithTimeout(ctx, resolveTimeout)
		answer, err := u.pool.resolver.Lookup(limited, lookup)
		cancel()
		if err == nil && len(answer.Endpoints) == 0 {
			err = errors.New("the answer has no address")
		}
		if told := u.pool.options.Observer.Resolved; told != nil && ctx.Err() == nil {
			told(u.name, time.Since(begun), err)
		}
		var pause time.Duration
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = pace.failed(err)
			u.lookupFailed(ctx, name, err, &failing)
		default:
			pause = pace.answered(answer, lookup.Hurried)
			found := to.located(answer)
			if u.pool.options.Dial == nil {
				found = routable(found, hasRoute)
			}
			u.lookupSucceeded(ctx, found, answer.Partial, &failing)
			lookup.Hurried = false
		}
		u.rest(ctx, begun, pause, to.policy.DNS.MinTTL)
	}
}

// rest waits for the next lookup. A dial that fails may be the sign of an address
// that is no longer one, and lets the lookup come as early as min_ttl allows.
func (u *Upstream) rest(ctx context.Context, begun time.Time, pause, least time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	doubted := u.doubted
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-doubted:
			doubted = nil
			if sooner := time.Until(begun.Add(least)); sooner < pause-time.Since(begun) {
				timer.Reset(max(0, sooner))
			}
		}
	}
}

// doubt says that a dial has failed in a way that another address might not.
func (u *Upstream) doubt(f *dialFailure) {
	switch f.reason {
	case ReasonAddressForbidden, ReasonDialRefused, ReasonDialTimeout, ReasonDialFailed, ReasonConnectionClosed, ReasonConnectionReset:
		select {
		case u.doubted <- struct{}{}:
		default:
		}
	}
}

// pace decides when to look up again.
type pace struct {
	policy   *DNSPolicy
	chance   func() float64 // 0 to 1
	failures int            // in a row
}

const (
	resolveJitter     = 0.1 // of a pause, added by chance: many sidecars that began together do not ask together
	resolveRetryFirst = 250 * time.Millisecond
)

// answered is the pause after an answer. Asking before it is over would bring the
// same answer from a server's cache.
func (p *pace) answered(a dns.Answer, hurried bool) time.Duration {
	p.failures = 0
	pause := p.policy.Refresh
	switch {
	case hurried && a.Partial:
		return 0 // the rest is only late
	case a.TTL != dns.Unknown:
		pause = p.clamp(a.TTL)
	}
	return pause + time.Duration(p.chance()*resolveJitter*float64(pause))
}

// failed is the pause after a failure: twice as long each time, up to that after
// an answer, half of it by chance. What does not exist is asked for again when its
// absence no longer holds.
func (p *pace) failed(err error) time.Duration {
	bound := min(resolveRetryFirst<<min(p.failures, 20), p.policy.Refresh)
	p.failures++
	pause := bound/2 + time.Duration(p.chance()*float64(bound/2))
	if e, ok := errors.AsType[*dns.Error](err); ok && e.TTL != dns.Unknown && (e.Kind == dns.NotFound || e.Kind == dns.NoAddress) {
		pause = max(pause, p.clamp(e.TTL))
	}
	return pause
}

func (p *pace) clamp(ttl time.Duration) time.Duration {
	return min(max(ttl, p.policy.MinTTL), p.policy.MaxTTL)
}

// lookupFailures are those since an answer came.
type lookupFailures struct {
	count int
	since instant
}

// lookupFailed takes note that the upstream's addresses could not be looked up.
func (u *Upstream) lookupFailed(ctx context.Context, name string, err error, failing *lookupFailures) {
	now := u.pool.now()
	if failing.count++; failing.count == 1 {
		failing.since = now
	}
	u.mu.Lock()
	if ctx.Err() == nil {
		u.mu.admission.unresolved(resolveFailure(name, err), now)
	}
	known := u.mu.admission.known()
	todo := u.settle()
	u.mu.Unlock()
	if f := u.pool.options.Observer.ResolveFailed; f != nil {
		f(ResolveFailure{Upstream: u.name, Err: err, Failures: failing.count, Lasts: now - failing.since, Known: known})
	}
	u.carryOut(todo)
}

// lookupSucceeded takes the addresses that were found, unless the policy has
// changed since they were asked for.
func (u *Upstream) lookupSucceeded(ctx context.Context, found []located, partial bool, failing *lookupFailures) {
	now := u.pool.now()
	var change EndpointChange
	u.mu.Lock()
	if ctx.Err() == nil {
		change = u.mu.admission.answered(found, partial, now)
	}
	todo := u.settle()
	u.mu.Unlock()
	observer := &u.pool.options.Observer
	if f := observer.ResolveRecovered; f != nil && failing.count > 0 {
		f(u.name, failing.count, now-failing.since)
	}
	*failing = lookupFailures{}
	if f := observer.EndpointsChanged; f != nil && change.any() {
		change.Upstream = u.name
		f(change)
	}
	u.carryOut(todo)
}

// located are the addresses of an answer, those of a host with the URL's port.
func (t *target) located(a dns.Answer) []located {
	list := make([]located, len(a.Endpoints))
	for i, e := range a.Endpoints {
		l := located{addr: netip.AddrPortFrom(e.Addr, e.Port), priority: e.Priority, weight: e.Weight, weighed: e.Port != 0}
		if !l.weighed {
			l.addr = netip.AddrPortFrom(e.Addr, t.port())
		}
		list[i] = l
	}
	return list
}

// routable leaves out the addresses to which there is no route, as most machines
// have none to IPv6, unless there is none to any.
func routable(found []located, has func(netip.AddrPort) bool) []located {
	fit := slices.DeleteFunc(slices.Clone(found), func(l located) bool { return !has(l.addr) })
	if len(fit) == 0 {
		return found
	}
	return fit
}

// hasRoute asks the kernel for a route, and sends nothing.
func hasRoute(to netip.AddrPort) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err == nil {
		_ = c.Close()
	}
	return !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.EADDRNOTAVAIL) &&
		!errors.Is(err, syscall.EAFNOSUPPORT)
}

func resolveFailure(name string, err error) *dialFailure {
	e, ok := errors.AsType[*dns.Error](err)
	return &dialFailure{
		reason:    ReasonDNSFailed,
		detail:    fmt.Sprintf("%q could not be resolved", name),
		err:       err,
		permanent: ok && (e.Kind == dns.NotFound || e.Kind == dns.NoAddress || e.Kind == dns.Malformed),
	}
}
