package dns

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// remembered is which full name answered for a name.
type remembered struct {
	full  string
	until time.Time
}

// rememberedFor is how long the rest of the search list is not asked.
const rememberedFor = 5 * time.Minute

func (r *Resolver) recall(key string) string {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.mu.full[key]; ok && now.Before(m.until) {
		return m.full
	}
	return ""
}

func (r *Resolver) remember(key, full string) {
	until := time.Now().Add(rememberedFor)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.full) >= maxRemembered {
		clear(r.mu.full)
	}
	r.mu.full[key] = remembered{full, until}
}

// candidates are the full names that are asked for until one is there, in the
// order of resolv.conf(5).
func (l *lookup) candidates() []string {
	if strings.HasSuffix(l.name, ".") {
		return []string{l.name}
	}
	var all []string
	for _, domain := range l.config.search {
		if full := l.name + "." + domain + "."; len(full) <= 254 {
			all = append(all, full)
		}
	}
	alone := l.name + "."
	if strings.Count(l.name, ".") >= l.config.ndots {
		return slices.Insert(all, 0, alone)
	}
	return append(all, alone)
}

// search asks for one full name after the other. One that is not there leads to
// the next. So does one that servers fail to look up, but its failure is the
// search's when none is there; when servers are silent, further names are of no
// use.
func (l *lookup) search(ctx context.Context, find func(context.Context, string) (Answer, *Error)) (Answer, error) {
	all := l.candidates()
	var failed *Error
	known := l.resolver.recall(l.key())
	if known != "" && len(all) > 1 {
		a, err := find(ctx, known)
		if err == nil {
			return a, nil
		}
		if failed = err; !err.settles() {
			return Answer{}, err
		}
	}
	for i, full := range all {
		if full == known {
			continue
		}
		a, err := find(ctx, full)
		if err == nil {
			if len(all) > 1 {
				l.resolver.remember(l.key(), full)
			}
			return a, nil
		}
		if failed == nil || rank(err) > rank(failed) {
			failed = err
		} else if err.settles() && failed.settles() {
			failed.TTL = min(failed.TTL, err.TTL)
		}
		if err.Kind == Timeout || err.Kind == Unreachable || ctx.Err() != nil {
			all = all[:i+1]
			break
		}
	}
	if len(all) > 1 && failed.settles() {
		short := make([]string, len(all))
		for i, full := range all {
			short[i] = strings.TrimSuffix(full, ".")
		}
		failed.Detail = "asked for " + strings.Join(short, ", ")
	}
	return Answer{}, failed
}

// key tells what is remembered of a host from what is of a service, and by which
// servers.
func (l *lookup) key() string { return fmt.Sprint(l.name, l.config.servers) }

// rank tells what says more of a failed search.
func rank(e *Error) int {
	switch e.Kind {
	case NotFound:
		return 0
	case NoAddress:
		return 1
	}
	return 2
}

// family is what came of the question for one kind of address.
type family struct {
	addrs   []netip.Addr
	ttl     time.Duration
	nowhere bool // the name does not exist at all
	err     *Error
}

// resolutionDelay is for how long the second kind of address is waited for when
// the first is there and there is a hurry (RFC 8305, 3).
const resolutionDelay = 50 * time.Millisecond

// host finds the addresses of a full name, asking for both kinds at once.
func (l *lookup) host(ctx context.Context, full string) (Answer, *Error) {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	types := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	found := make(chan family, len(types))
	if l.config.inTurn {
		asking.Go(func() {
			for _, t := range types {
				found <- l.family(ctx, full, t)
			}
		})
	} else {
		for _, t := range types {
			asking.Go(func() { found <- l.family(ctx, full, t) })
		}
	}
	var late <-chan time.Time
	var all []family
	for len(all) < len(types) {
		select {
		case f := <-found:
			all = append(all, f)
			if f.nowhere {
				return merge(l.name, all, false)
			}
			if l.hurried && len(f.addrs) > 0 && late == nil {
				timer := time.NewTimer(resolutionDelay)
				defer timer.Stop()
				late = timer.C
			}
		case <-late:
			return merge(l.name, all, true)
		}
	}
	return merge(l.name, all, false)
}

// merge makes one answer of what was found of each kind. IPv6 and IPv4
// alternate (RFC 8305, 4), each kind in the servers' order.
func merge(name string, all []family, partial bool) (Answer, *Error) {
	a := Answer{TTL: longest, Partial: partial}
	nothing := &Error{Kind: NoAddress, Name: name, TTL: longest}
	var failed *Error
	slices.SortStableFunc(all, func(x, y family) int { return cmp.Compare(bits(y), bits(x)) })
	for i := range maxAddresses {
		for _, f := range all {
			if i < len(f.addrs) {
				a.add(Endpoint{Addr: f.addrs[i]})
			}
		}
	}
	for _, f := range all {
		switch {
		case f.err != nil:
			failed, a.Partial = f.err, true
		case len(f.addrs) > 0:
			a.TTL = min(a.TTL, f.ttl)
		default:
			nothing.TTL = min(nothing.TTL, f.ttl)
			if f.nowhere {
				nothing.Kind = NotFound
			}
		}
	}
	switch {
	case len(a.Endpoints) > 0:
		return a, nil
	case failed != nil && nothing.Kind != NotFound:
		return Answer{}, failed
	}
	return Answer{}, nothing
}

func bits(f family) int {
	if len(f.addrs) == 0 {
		return 0
	}
	return f.addrs[0].BitLen()
}

func (l *lookup) family(ctx context.Context, full string, t dnsmessage.Type) family {
	r, end, ttl, err := l.query(ctx, full, t)
	if err != nil {
		return family{err: err}
	}
	var f family
	all, least := r.addressesOf(end)
	for _, addr := range all {
		if addr.Is4() == (t == dnsmessage.TypeA) {
			f.addrs = append(f.addrs, addr)
		}
	}
	if f.ttl = min(ttl, least); len(f.addrs) == 0 {
		f.ttl, f.nowhere = r.negative, r.code == dnsmessage.RCodeNameError
	}
	return f
}

// maxAtOnce is how many targets of a service are looked up at once.
const maxAtOnce = 8

// service finds the targets of a service and their addresses, which servers may
// have put beside the targets.
func (l *lookup) service(ctx context.Context, full string) (Answer, *Error) {
	r, end, ttl, err := l.query(ctx, full, dnsmessage.TypeSRV)
	if err != nil {
		return Answer{}, err
	}
	targets := slices.DeleteFunc(slices.Clone(r.services), func(t target) bool { return t.name != end })
	if len(targets) == 0 {
		nothing := &Error{Kind: NoAddress, Name: l.name, TTL: r.negative, Detail: "it has no SRV record"}
		if r.code == dnsmessage.RCodeNameError {
			nothing.Kind, nothing.Detail = NotFound, ""
		}
		return Answer{}, nothing
	}
	if len(targets) == 1 && targets[0].host == "." {
		return Answer{}, &Error{
			Kind: NoAddress, Name: l.name, TTL: targets[0].ttl,
			Detail: `its SRV record says that the service is not offered (target ".", RFC 2782)`,
		}
	}
	slices.SortStableFunc(targets, func(a, b target) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.weight, a.weight))
	})
	a := Answer{TTL: ttl, Partial: len(targets) > maxTargets}
	targets = targets[:min(len(targets), maxTargets)]

	type host struct {
		answer Answer
		err    *Error
	}
	hosts := make([]host, len(targets))
	var looking sync.WaitGroup
	room := make(chan struct{}, maxAtOnce)
	for i, t := range targets {
		if t.host == "." {
			hosts[i].err = &Error{Kind: NoAddress, Name: l.name, TTL: t.ttl}
			continue
		}
		if addrs, ttl := r.addressesOf(t.host); len(addrs) > 0 {
			hosts[i].answer = hostAnswer(addrs, ttl)
			continue
		}
		if addrs := l.files.lookupStatic(t.host); addrs != nil {
			hosts[i].answer = hostAnswer(addrs, longest)
			continue
		}
		room <- struct{}{}
		looking.Go(func() {
			hosts[i].answer, hosts[i].err = l.host(ctx, t.host)
			<-room
		})
	}
	looking.Wait()
	var failed *Error
	for i, t := range targets {
		a.TTL = min(a.TTL, t.ttl)
		if h := hosts[i]; h.err != nil {
			failed, a.Partial = h.err, a.Partial || !h.err.settles()
		} else {
			a.TTL, a.Partial = min(a.TTL, h.answer.TTL), a.Partial || h.answer.Partial
			for _, e := range h.answer.Endpoints {
				a.add(Endpoint{Addr: e.Addr, Port: t.port, Priority: t.priority, Weight: t.weight})
			}
		}
	}
	if len(a.Endpoints) == 0 {
		failed.Detail = "a target of its SRV records: " + cmp.Or(failed.Detail, failed.Kind.String())
		return Answer{}, failed
	}
	return a, nil
}
