package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// resolve begins, under the lock, to keep the endpoints up to date, in place of
// what did so before. Fixed addresses are taken as they are; a name is looked up
// now and again every DNSRefresh, off the path of any request.
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
	if ip, err := netip.ParseAddr(t.origin.host); err == nil {
		return t.withPort([]netip.Addr{ip})
	}
	return nil
}

func (t *target) withPort(ips []netip.Addr) []netip.AddrPort {
	port, _ := strconv.ParseUint(t.origin.port, 10, 16) // parseOrigin has checked it
	list := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		list[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return list
}

// The pace of look-ups after a failure.
const (
	resolveTimeout    = 5 * time.Second
	resolveRetryFirst = 250 * time.Millisecond
)

func (u *Upstream) keepResolving(resolving context.Context, to *target) {
	var resolver Resolver = net.DefaultResolver
	if r := u.pool.options.Resolver; r != nil {
		resolver = r
	}
	retry := resolveRetryFirst
	for resolving.Err() == nil {
		ctx, cancel := context.WithTimeout(resolving, resolveTimeout)
		ips, err := resolver.LookupNetIP(ctx, "ip", to.origin.host)
		cancel()
		if err == nil && len(ips) == 0 {
			err = errors.New("the name has no address")
		}
		pause := to.policy.DNSRefresh
		if err == nil {
			u.setEndpoints(resolving, to.withPort(ips))
			retry = resolveRetryFirst
		} else if resolving.Err() == nil {
			u.unresolved(resolving, resolveFailure(to.origin.host, err))
			if f := u.pool.options.Observer.ResolveFailed; f != nil {
				f(u.name, err)
			}
			pause = min(retry, to.policy.DNSRefresh)
			retry = 2 * pause // of what was waited, so that it never overflows
		}
		select {
		case <-resolving.Done():
		case <-time.After(pause):
		}
	}
}

func resolveFailure(host string, err error) *dialFailure {
	var dns *net.DNSError
	return &dialFailure{
		reason:    ReasonDNSFailed,
		detail:    fmt.Sprintf("the host %q could not be resolved", host),
		err:       err,
		permanent: errors.As(err, &dns) && dns.IsNotFound,
	}
}
