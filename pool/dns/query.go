package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// lookup is one call of Lookup that asks DNS.
type lookup struct {
	resolver *Resolver
	files    files
	config   config
	servers  []netip.AddrPort // in the order in which they are asked
	name     string           // what is looked up, in lower case
	hurried  bool
}

// silence is for how long a server that did not answer is asked after the
// others, so that one that is down costs a lookup in thirty seconds its timeout
// and not each.
const silence = 30 * time.Second

// order is in which order servers are asked.
func (r *Resolver) order(c config) []netip.AddrPort {
	servers := slices.Clone(c.servers)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.rotate {
		by := int(r.mu.turn) % len(servers)
		r.mu.turn++
		servers = slices.Concat(servers[by:], servers[:by])
	}
	late := func(s netip.AddrPort) int {
		if now.Before(r.mu.silent[s]) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(servers, func(a, b netip.AddrPort) int { return late(a) - late(b) })
	return servers
}

// maxRemembered bounds what is kept between lookups.
const maxRemembered = 1024

// heard takes note of whether a server answered.
func (r *Resolver) heard(server netip.AddrPort, answered bool) {
	until := time.Now().Add(silence)
	r.mu.Lock()
	defer r.mu.Unlock()
	if answered {
		delete(r.mu.silent, server)
		return
	}
	if len(r.mu.silent) >= maxRemembered {
		clear(r.mu.silent)
	}
	r.mu.silent[server] = until
}

// query asks one server after the other until one knows what there is of a type
// under a full name, be it that there is nothing. What the reply leads to by
// CNAMEs is asked for when it is not in the reply.
func (l *lookup) query(ctx context.Context, full string, t dnsmessage.Type) (*reply, string, time.Duration, *Error) {
	ttl := longest
	for range maxAliases {
		r, err := l.ask(ctx, full, t)
		if err != nil {
			return nil, "", 0, err
		}
		end, least, loop := r.follow(full)
		if loop != nil {
			return nil, "", 0, &Error{Kind: ServerFailed, Name: l.name, TTL: Unknown, Detail: full, Err: loop}
		}
		ttl = min(ttl, least)
		if end == full || r.code != dnsmessage.RCodeSuccess || r.has(end, t) || r.negative != Unknown {
			return r, end, ttl, nil
		}
		full = end
	}
	return nil, "", 0, &Error{
		Kind: ServerFailed, Name: l.name, TTL: Unknown,
		Detail: fmt.Sprintf("more than %d CNAMEs follow each other", maxAliases),
	}
}

// has reports whether there is a record of a type under a name.
func (r *reply) has(name string, t dnsmessage.Type) bool {
	if t == dnsmessage.TypeSRV {
		return slices.ContainsFunc(r.services, func(s target) bool { return s.name == name })
	}
	return slices.ContainsFunc(r.addresses, func(a address) bool {
		return a.name == name && a.addr.Is4() == (t == dnsmessage.TypeA)
	})
}

// ask asks one server after the other. NXDOMAIN is a reply.
func (l *lookup) ask(ctx context.Context, full string, t dnsmessage.Type) (*reply, *Error) {
	name, err := fullName(full)
	if err != nil {
		return nil, &Error{Kind: Malformed, Name: full, TTL: Unknown, Detail: err.Error()}
	}
	q := dnsmessage.Question{Name: name, Type: t, Class: dnsmessage.ClassINET}
	failed := &Error{Name: l.name, TTL: Unknown}
	said := make(map[netip.AddrPort]string)
	for range l.config.attempts {
		for _, server := range l.servers {
			r, err := exchange(ctx, server, q, l.config.timeout, l.config.tcp)
			silent := err != nil && timedOut(err)
			if !errors.Is(ctx.Err(), context.Canceled) {
				l.resolver.heard(server, !silent)
			}
			switch {
			case err != nil && silent:
				said[server], failed.Kind = fmt.Sprintf("%s did not answer within %s", server, l.config.timeout), max(failed.Kind, Timeout)
				if ctx.Err() != nil {
					said[server] = fmt.Sprintf("%s did not answer", server)
				}
			case err != nil:
				kind := ServerFailed
				if op, ok := errors.AsType[*net.OpError](err); ok {
					kind, err = Unreachable, op.Err
				}
				said[server], failed.Kind = fmt.Sprintf("%s: %v", server, err), max(failed.Kind, kind)
			case r.lame:
				said[server], failed.Kind = fmt.Sprintf("%s does not answer for other zones than its own", server), ServerFailed
			case r.code == dnsmessage.RCodeSuccess || r.code == dnsmessage.RCodeNameError:
				return r, nil
			default:
				said[server], failed.Kind = fmt.Sprintf("%s answered %s", server, codeName(r.code)), ServerFailed
			}
			if ctx.Err() != nil {
				break
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	failed.Detail = strings.TrimPrefix(t.String(), "Type") + " of " + strings.TrimSuffix(full, ".")
	for _, server := range l.servers {
		if text := said[server]; text != "" {
			failed.Detail += "; " + text
		}
	}
	return nil, failed
}

func timedOut(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled)
}

// codeName is a response code as its RFCs write it.
func codeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return fmt.Sprintf("RCODE %d", uint16(c))
}
