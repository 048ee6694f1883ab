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

// resolve begins to keep the upstream's endpoints up to date. Fixed addresses
// are taken as they are; a name is looked up now and again every DNSRefresh,
// off the path of any request.
func (u *Upstream) resolve() {
	if fixed := u.fixedEndpoints(); fixed != nil {
		u.setEndpoints(fixed)
		return
	}
	u.tasks.Go(u.keepResolving)
}

func (u *Upstream) fixedEndpoints() []netip.AddrPort {
	if len(u.policy.Endpoints) > 0 {
		return u.policy.Endpoints
	}
	if ip, err := netip.ParseAddr(u.origin.host); err == nil {
		return u.withPort([]netip.Addr{ip})
	}
	return nil
}

func (u *Upstream) withPort(ips []netip.Addr) []netip.AddrPort {
	port, _ := strconv.ParseUint(u.origin.port, 10, 16) // parseOrigin has checked it
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

func (u *Upstream) keepResolving() {
	var resolver Resolver = net.DefaultResolver
	if r := u.pool.options.Resolver; r != nil {
		resolver = r
	}
	retry := resolveRetryFirst
	for u.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(u.ctx, resolveTimeout)
		ips, err := resolver.LookupNetIP(ctx, "ip", u.origin.host)
		cancel()
		if err == nil && len(ips) == 0 {
			err = errors.New("the name has no address")
		}
		pause := u.policy.DNSRefresh
		if err == nil {
			u.setEndpoints(u.withPort(ips))
			retry = resolveRetryFirst
		} else if u.ctx.Err() == nil {
			u.unresolved(resolveFailure(u.origin.host, err))
			if f := u.pool.options.Observer.ResolveFailed; f != nil {
				f(u.policy.Name, err)
			}
			pause = min(retry, u.policy.DNSRefresh)
			retry = 2 * pause // of what was waited, so that it never overflows
		}
		select {
		case <-u.ctx.Done():
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
