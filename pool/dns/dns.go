// Package dns finds the addresses of a host, or the hosts and ports of a
// service, together with how long the answer holds: what the standard library's
// resolver does not say, and what a pool needs to follow a change in time
// without asking all the time.
//
// It is a stub resolver: it asks recursive servers and follows what they say.
// It reads what the system's own resolver reads, again whenever it changes:
// /etc/hosts first, then the servers, search list and options of
// /etc/resolv.conf. Names that the system finds by other means (a source in
// /etc/nsswitch.conf that is neither files nor dns; mDNS for .local) are left to
// the system's resolver, and then nothing is known of how long the answer holds.
//
// # One lookup
//
//	dns.go       Lookup          localhost, hosts file, the system's own, or DNS
//	search.go    search          which full names are asked for, in which order
//	search.go    host, service   A and AAAA at once; SRV and then its targets
//	query.go     query           one question to one server after the other
//	exchange.go  exchange        one question to one server: UDP, TCP when truncated
//	reply.go     readReply       the answer's bytes, judged and taken apart
//
// # What it costs
//
// A name below the search list's ndots (5 in Kubernetes) is asked for in every
// domain of the list before it is asked for as it stands: up to eight questions
// for a name outside the cluster. The name that answered is remembered for five
// minutes and asked for alone, which makes it two, until it stops answering. So a
// name that comes into being earlier in the list is noticed after five minutes.
//
// # What is believed
//
// A reply counts when it comes from the address that was asked, on a socket of
// its own (a local port by chance), with the id that was drawn for the question
// and the question itself in it. Records that the question's name does not lead
// to, by CNAMEs in the same reply, are passed over. Everything is bounded: the
// reply's size by the protocol, records, CNAMEs, addresses, targets, attempts
// and time by constants and options.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Query is what is to be found.
type Query struct {
	// Name is a host's name or, of a service, that of its SRV record, such as
	// "_http._tcp.payments.internal". The search list applies unless it ends in a
	// dot.
	Name string
	// Service asks for SRV records (RFC 2782) and the addresses of their targets.
	Service bool
	// Servers are asked instead of those in /etc/resolv.conf. Nothing is left to
	// the system's resolver then.
	Servers []netip.AddrPort
	// Hurried settles for the addresses of one family when the other's take 50 ms
	// longer (RFC 8305, 3: resolution delay; here for both). The answer is then
	// Partial.
	Hurried bool
}

// Answer is what was found.
type Answer struct {
	// Endpoints has at least one element, no two with the same address and port.
	Endpoints []Endpoint
	// TTL is for how long the answer holds, the least of all records that led to
	// it; Unknown when it did not come from DNS.
	TTL time.Duration
	// Partial says that addresses may be missing: those of one family or of some
	// of a service's targets could not be found out.
	Partial bool
}

// Endpoint is an address of a host, or of one of the hosts of a service.
type Endpoint struct {
	Addr netip.Addr
	// Of a service only: the port; its priority, the lowest being used first; and
	// its share among those of equal priority, in proportion.
	Port             uint16
	Priority, Weight uint16
}

// Unknown is the TTL of which nothing is known.
const Unknown time.Duration = -1

// Bounds of an answer.
const (
	maxAddresses = 256 // of a host; further ones are passed over
	maxTargets   = 64  // of a service, the most preferred
)

// limit bounds a lookup, whatever the options of resolv.conf allow.
const limit = 30 * time.Second

// Resolver looks names up. Its methods may be called from any goroutine.
type Resolver struct {
	paths  paths
	port   uint16 // of the servers in resolv.conf
	system system // for names that are found by other means

	mu struct {
		sync.Mutex
		files  files
		turn   uint32                       // for the option rotate
		full   map[string]remembered        // which full name answered for a name
		silent map[netip.AddrPort]time.Time // servers that did not answer, and until when they are asked last
	}
}

// system is what a *net.Resolver does.
type system interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// New makes a resolver that reads the system's files.
func New() *Resolver {
	return newResolver(paths{hosts: "/etc/hosts", resolv: "/etc/resolv.conf", nsswitch: "/etc/nsswitch.conf"}, net.DefaultResolver)
}

func newResolver(p paths, s system) *Resolver {
	r := &Resolver{paths: p, port: 53, system: s}
	r.mu.full = make(map[string]remembered)
	r.mu.silent = make(map[netip.AddrPort]time.Time)
	return r
}

// Lookup finds what q asks for. The error is an *Error. When Lookup returns
// nothing of it runs any more.
func (r *Resolver) Lookup(ctx context.Context, q Query) (Answer, error) {
	name := strings.ToLower(q.Name)
	if _, err := fullName(name); err != nil {
		return Answer{}, &Error{Kind: Malformed, Name: q.Name, Detail: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	f := r.files()
	if !q.Service {
		if addrs := f.lookupStatic(name); addrs != nil {
			return hostAnswer(addrs, Unknown), nil
		}
	}
	c := f.config
	if len(q.Servers) > 0 {
		c.servers = q.Servers
	} else if f.sources.others(name) {
		return r.askSystem(ctx, q)
	}
	l := &lookup{resolver: r, files: f, config: c, servers: r.order(c), name: name, hurried: q.Hurried}
	find := l.host
	if q.Service {
		find = l.service
	}
	return l.search(ctx, find)
}

func hostAnswer(addrs []netip.Addr, ttl time.Duration) Answer {
	a := Answer{TTL: ttl}
	for _, addr := range addrs {
		a.add(Endpoint{Addr: addr})
	}
	return a
}

// add takes e unless it is there or there are too many.
func (a *Answer) add(e Endpoint) {
	e.Addr = e.Addr.Unmap()
	known := func(o Endpoint) bool { return o.Addr == e.Addr && o.Port == e.Port }
	if len(a.Endpoints) < maxAddresses && !slices.ContainsFunc(a.Endpoints, known) {
		a.Endpoints = append(a.Endpoints, e)
	}
}

// askSystem leaves the lookup to the system's resolver.
func (r *Resolver) askSystem(ctx context.Context, q Query) (Answer, error) {
	if !q.Service {
		addrs, err := r.system.LookupNetIP(ctx, "ip", q.Name)
		if err != nil {
			return Answer{}, systemError(q.Name, err)
		}
		if len(addrs) == 0 {
			return Answer{}, &Error{Kind: NoAddress, Name: q.Name, TTL: Unknown, Detail: "the system's resolver knows none"}
		}
		return hostAnswer(addrs, Unknown), nil
	}
	_, records, err := r.system.LookupSRV(ctx, "", "", q.Name)
	if err != nil {
		return Answer{}, systemError(q.Name, err)
	}
	a := Answer{TTL: Unknown}
	var failed error
	for _, s := range records[:min(len(records), maxTargets)] {
		addrs, err := r.system.LookupNetIP(ctx, "ip", s.Target)
		if err != nil {
			a.Partial, failed = true, err
		}
		for _, addr := range addrs {
			a.add(Endpoint{Addr: addr, Port: s.Port, Priority: s.Priority, Weight: s.Weight})
		}
	}
	switch {
	case len(a.Endpoints) > 0:
		return a, nil
	case failed != nil:
		return Answer{}, systemError(q.Name, failed)
	}
	return Answer{}, &Error{Kind: NoAddress, Name: q.Name, TTL: Unknown, Detail: "the service has no target"}
}

func systemError(name string, err error) *Error {
	e := &Error{Kind: ServerFailed, Name: name, TTL: Unknown, Detail: "the system's resolver failed", Err: err}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			e.Kind, e.Detail, e.Err = NotFound, "says the system's resolver", nil
		case dns.IsTimeout:
			e.Kind = Timeout
		}
	}
	return e
}
