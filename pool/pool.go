package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warmpool-dev/warmpool/pool/dns"
)

// Options are what a Pool works with. The zero value is a pool on the real
// network.
type Options struct {
	// Dial makes a TCP connection; nil stands for a net.Dialer with the
	// upstream's TCPPolicy. TLS is spoken by the pool on what Dial returns.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolver finds the addresses of upstreams; nil stands for dns.New.
	Resolver Resolver
	// MaxDialing bounds the handshakes in flight over all upstreams, each of which
	// has a bound of its own beside it (Policy.MaxDialing); 0: no such bound.
	MaxDialing int
	// DescriptorsBelow bounds the file descriptors of connections that the pool makes
	// itself (Dial is nil): one that would get this number, or a higher one, is given
	// up, so that connections cannot take all that the process may have. The system
	// gives the lowest number that is free. 0: no such bound.
	DescriptorsBelow int
	// Observer is told what happens.
	Observer Observer
}

// Resolver finds addresses, and for how long they hold. A *dns.Resolver is one.
type Resolver interface {
	Lookup(ctx context.Context, q dns.Query) (dns.Answer, error)
}

// Observer is told what happens, by those of its functions that are not nil.
// They are called outside every lock, from the goroutine in which it happened,
// and must not block.
type Observer struct {
	ConnectionOpened func(ConnectionInfo)
	ConnectionClosed func(ConnectionInfo, CloseReason)
	DialFailed       func(upstream string, why Reason, endpoint netip.AddrPort, err error)
	// Resolved: a lookup of an upstream's addresses is over, well or not.
	Resolved      func(upstream string, took time.Duration, err error)
	ResolveFailed func(ResolveFailure)
	// ResolveRecovered: a lookup succeeded after so many that failed, over so long.
	ResolveRecovered func(upstream string, failures int, lasted time.Duration)
	EndpointsChanged func(EndpointChange)
	// AttemptEnded: one try of an exchange is over, well or not. It is called for
	// every request, from the goroutine that reads the connection.
	AttemptEnded func(AttemptEnd)
	// Refused: a request failed before it was tried.
	Refused func(upstream string, why Reason, endpoint netip.AddrPort, err error)
	// Retried: an attempt failed and another one follows; why is the failed one's.
	Retried func(upstream string, why Reason, endpoint netip.AddrPort, err error)
	// ModeChanged: the upstream was paused, resumed or drained, or a pause has ended
	// by itself.
	ModeChanged func(upstream string, mode Mode)
	// WarmChanged: with ready established connections the warm floor is reached, or
	// not any more.
	WarmChanged func(upstream string, ready, floor int)
	// PortsShort: most local ports towards an endpoint are taken. Told once, when
	// it becomes so.
	PortsShort func(upstream string, use PortUse)
	// UpkeepChanged: windows cannot be kept open by requests, or can again.
	UpkeepChanged func(UpkeepChange)
	// PrivilegeChanged: connections to an endpoint may for a while carry one exchange
	// each, or none before the one in front is answered; or they may again.
	PrivilegeChanged func(PrivilegeChange)
}

// Privilege is what an endpoint's connections are used for only as long as it, and what
// is on the way to it, takes it well.
type Privilege uint8

// The privileges.
const (
	PrivilegeReuse      Privilege = iota // a connection carries more than one exchange
	PrivilegePipelining                  // several requests are outstanding on one
)

// String is the privilege's name: reuse or pipelining.
func (p Privilege) String() string { return nameOf([]string{"reuse", "pipelining"}, uint8(p)) }

// PrivilegeChange says that an endpoint's connections have lost a privilege, or have
// it again.
type PrivilegeChange struct {
	Upstream  string
	Endpoint  netip.AddrPort
	Privilege Privilege
	Lost      bool   // for a while; false: it is given back, to be tried again
	Because   string // in words
}

// ResolveFailure is a failed lookup of an upstream's addresses. Those that are
// known stay in use.
type ResolveFailure struct {
	Upstream string
	Err      error
	Failures int           // in a row, this one included
	Lasts    time.Duration // since the first of them
	Known    int           // addresses that stay in use
}

// EndpointChange is what a lookup changed of an upstream's addresses.
type EndpointChange struct {
	Upstream string
	Added    []netip.AddrPort // new, or not known any more
	Returned []netip.AddrPort // missing from the answer before
	Missing  []netip.AddrPort // missing from this answer and not from the one before: dialed no more
	Gone     []netip.AddrPort // missing for long enough: their connections retire
	Current  int              // addresses that the answer holds
}

func (c *EndpointChange) any() bool {
	return len(c.Added)+len(c.Returned)+len(c.Missing)+len(c.Gone) > 0
}

// Pool is a set of upstreams, by name. Its methods may be called from any
// goroutine.
type Pool struct {
	options   Options
	resolver  Resolver
	epoch     time.Time
	ports     ports
	ids       atomic.Uint64 // of connections
	restarts  restarts
	turnstile *turnstile // every dial passes it

	mu struct {
		sync.RWMutex
		upstreams map[string]*Upstream
		leaving   []*Upstream // being removed
		closed    bool
	}
}

// New makes a pool without upstreams.
func New(o Options) *Pool {
	p := &Pool{options: o, epoch: time.Now(), turnstile: newTurnstile(o.MaxDialing)}
	if p.resolver = o.Resolver; p.resolver == nil {
		p.resolver = dns.New()
	}
	p.mu.upstreams = make(map[string]*Upstream)
	return p
}

func (p *Pool) now() instant { return time.Since(p.epoch) }

// Add makes an upstream known and begins to resolve its host and to dial its
// warm floor. It fails when the policy is invalid, the name is taken or the
// pool is closed.
func (p *Pool) Add(policy Policy) (*Upstream, error) {
	if err := policy.Validate(); err != nil {
		return nil, fmt.Errorf("upstream %q: %w", policy.Name, err)
	}
	u, err := newUpstream(p, &policy)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", policy.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return nil, fmt.Errorf("upstream %q: the pool is closed", policy.Name)
	}
	if p.mu.upstreams[policy.Name] != nil {
		return nil, fmt.Errorf("upstream %q: there is one of that name already", policy.Name)
	}
	p.mu.upstreams[policy.Name] = u
	u.begin()
	return u, nil
}

// Upstream finds an upstream by name.
func (p *Pool) Upstream(name string) (*Upstream, error) {
	p.mu.RLock()
	u := p.mu.upstreams[name]
	p.mu.RUnlock()
	if u != nil {
		return u, nil
	}
	return nil, &Error{
		Reason: ReasonUnknownUpstream, Delivery: DeliveryNotSent, Upstream: name,
		Detail: fmt.Sprintf("there is no such upstream; there are: %s", shortList(p.listed())),
	}
}

func shortList(names []string) string {
	const most = 20
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > most:
		return fmt.Sprintf("%q and %d more", names[:most], n-most)
	default:
		return fmt.Sprintf("%q", names)
	}
}

// all lists the upstreams, those that are being removed as well.
func (p *Pool) all() []*Upstream {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return append(slices.Collect(maps.Values(p.mu.upstreams)), p.mu.leaving...)
}

// Names lists the upstreams' names in order.
func (p *Pool) Names() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Sorted(maps.Keys(p.mu.upstreams))
}

// listed are the names that everybody may know.
func (p *Pool) listed() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var names []string
	for name, u := range p.mu.upstreams {
		if !u.policy().Unlisted {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Remove takes an upstream away: requests that wait for it fail, those that
// run may finish until ctx ends.
func (p *Pool) Remove(ctx context.Context, name string) error {
	finish, err := p.Withdraw(name)
	if err != nil {
		return err
	}
	return finish(ctx)
}

// Withdraw takes an upstream away in two steps: when it has returned the name is
// free again, and finish is to be called, which does the rest of what Remove does.
func (p *Pool) Withdraw(name string) (finish func(context.Context) error, err error) {
	p.mu.Lock()
	u := p.mu.upstreams[name]
	if u != nil {
		delete(p.mu.upstreams, name)
		p.mu.leaving = append(p.mu.leaving, u)
	}
	p.mu.Unlock()
	if u == nil {
		_, err := p.Upstream(name)
		return nil, err
	}
	return func(ctx context.Context) error {
		err := u.close(ctx, ReasonUpstreamDeleted)
		p.mu.Lock()
		p.mu.leaving = slices.DeleteFunc(p.mu.leaving, func(other *Upstream) bool { return other == u })
		p.mu.Unlock()
		return err
	}, nil
}

// Drain prepares for Close while requests are still served: idle connections
// retire, and each connection's last request says that it is the last, so that
// the upstream closes first and the TIME_WAIT stays with it.
func (p *Pool) Drain() {
	for _, u := range p.all() {
		u.drain()
	}
}

// Close refuses new requests, lets running exchanges finish until ctx ends and
// then closes every connection. When it returns nothing of the pool runs any
// more. The error, a *CutError for each upstream concerned, says what was cut.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	upstreams := p.all()
	errs := make([]error, len(upstreams))
	var wg sync.WaitGroup
	for i, u := range upstreams {
		wg.Go(func() { errs[i] = u.close(ctx, ReasonDraining) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// CutError says that closing an upstream cut exchanges that were running.
type CutError struct {
	Upstream  string
	Exchanges int
}

func (e *CutError) Error() string {
	return fmt.Sprintf("upstream %q: %d running exchanges were cut", e.Upstream, e.Exchanges)
}
