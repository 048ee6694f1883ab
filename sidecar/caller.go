package sidecar

import (
	"container/list"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// callers knows who is connected, and what the configuration lets each do. It
// is asked for every request, and costs those nothing as long as no rule and no
// limit is configured.
type callers struct {
	access atomic.Pointer[access]

	mu struct {
		sync.Mutex
		known map[string]*caller // by name; those that have a connection
	}
}

// access is what holds now. A reload puts another in its place.
type access struct {
	config.Access
	tokens      bool // some rule asks for one
	maxInFlight int  // of one caller; 0: no limit
	maxWaiting  int
	maxWait     time.Duration
}

// newCallers reads what cfg says of callers. File names in it are relative to dir.
func newCallers(cfg *warmpoolv1.Config, dir string) (*callers, error) {
	cs := &callers{}
	cs.mu.known = make(map[string]*caller)
	return cs, cs.apply(cfg, dir)
}

// apply puts what cfg says of callers into force, for requests from now on. When
// it fails what held before holds on.
func (cs *callers) apply(cfg *warmpoolv1.Config, dir string) error {
	read, err := config.NewAccess(cfg, dir)
	if err != nil {
		return err
	}
	limits := cfg.GetCallers()
	cs.access.Store(&access{
		Access:      read,
		tokens:      slices.ContainsFunc(read.Rules, func(r config.Rule) bool { return r.Token != nil }),
		maxInFlight: int(limits.GetMaxInFlight()),
		maxWaiting:  int(limits.GetMaxWaiting()),
		maxWait:     limits.GetMaxWait().AsDuration(),
	})
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.mu.known {
		c.settle()
	}
	return nil
}

// caller is one who asks: a user of the Unix socket, a certificate, a token, or
// an address. Its connections share its limits.
type caller struct {
	name string // as logs show it, such as "uid 1000"
	all  *callers

	connections int // guarded by all.mu

	mu struct {
		sync.Mutex
		inFlight int
		waiting  list.List // of *turn, first come first served
	}
}

// connected finds or makes the caller of that name, for a connection more.
func (cs *callers) connected(name string) *caller {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.mu.known[name]
	if c == nil {
		c = &caller{name: name, all: cs}
		cs.mu.known[name] = c
	}
	c.connections++
	return c
}

// left ends what connected began.
func (cs *callers) left(c *caller) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.connections--; c.connections == 0 {
		delete(cs.mu.known, c.name)
	}
}

// asker is one end of a connection with what it has shown, or with a token in
// addition.
type asker struct {
	*caller
	uid, gid     *uint32
	certificates []string // the names in the certificate
	token        *[sha256.Size]byte

	granted atomic.Pointer[grant]
}

// grant is what an asker may do, by the rules it was worked out for.
type grant struct {
	by        *access
	every     bool                // all upstreams
	upstreams map[string]struct{} // these
	origins   config.Origins      // and these, as far as callers may name origins
	control   string
}

// grants is what the asker may do now.
func (a *asker) grants() *grant {
	now := a.all.access.Load()
	if g := a.granted.Load(); g != nil && g.by == now {
		return g
	}
	g := &grant{by: now, every: len(now.Rules) == 0, upstreams: make(map[string]struct{})}
	var patterns []string
	for _, r := range now.Rules {
		if !a.meets(&r) {
			continue
		}
		for _, name := range r.Upstreams {
			g.every = g.every || name == config.EveryUpstream
			if config.IsOrigin(name) {
				patterns = append(patterns, name)
			} else {
				g.upstreams[name] = struct{}{}
			}
		}
		if g.control != controlAll && r.Control != "" {
			g.control = r.Control
		}
	}
	g.origins = config.NewOrigins(patterns)
	a.granted.Store(g)
	return g
}

// The values of allow[].control.
const (
	controlRead = "read"
	controlAll  = "all"
)

func (a *asker) meets(r *config.Rule) bool {
	switch {
	case r.UID != nil && (a.uid == nil || *a.uid != *r.UID),
		r.GID != nil && (a.gid == nil || *a.gid != *r.GID),
		r.Certificate != "" && !slices.Contains(a.certificates, r.Certificate),
		r.Token != nil && (a.token == nil || *a.token != *r.Token):
		return false
	}
	return true
}

// refuses says why the asker may not send to an upstream; nil: it may. What there
// is beside that it does not tell.
func (a *asker) refuses(upstream string) *pool.Error {
	g := a.grants()
	if g.every {
		return nil
	}
	if _, ok := g.upstreams[upstream]; ok || g.origins.Allow(upstream) {
		return nil
	}
	return &pool.Error{
		Delivery: pool.DeliveryNotSent, Upstream: upstream,
		Detail: fmt.Sprintf("the caller (%s) may not send to this upstream: no rule in allow lets it", a.name),
		Err:    &callerError{warmpoolv1.Reason_REASON_NOT_ALLOWED, codes.PermissionDenied},
	}
}

// callerError marks a failure that is about the caller, of which the pool knows
// nothing, with what it is called in the API.
type callerError struct {
	reason warmpoolv1.Reason
	code   codes.Code
}

func (e *callerError) Error() string { return strings.TrimPrefix(e.reason.String(), "REASON_") }

// asks is who makes a call.
func (cs *callers) asks(ctx context.Context) *asker {
	p, _ := peer.FromContext(ctx)
	c, _ := p.AuthInfo.(*connection) // every server has handshake as its credentials
	if !cs.access.Load().tokens {
		return &c.asker
	}
	const scheme = "Bearer "
	for _, value := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		if len(value) > len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
			return c.withToken(sha256.Sum256([]byte(strings.TrimSpace(value[len(scheme):]))))
		}
	}
	return &c.asker
}

// turn is a request that waits for its caller to have fewer under way.
type turn struct{ ready chan struct{} }

// place is one of the exchanges that a caller may have under way; the zero value
// counts for none.
type place struct{ caller *caller }

// try takes a place if there is one without waiting.
func (c *caller) try() (place, bool) {
	limits := c.all.access.Load()
	if limits.maxInFlight == 0 {
		return place{}, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.inFlight >= limits.maxInFlight || c.mu.waiting.Len() > 0 {
		return place{}, false
	}
	c.mu.inFlight++
	return place{c}, true
}

// enter takes a place, waiting for one as long as callers.max_wait, the request's
// own timeout and ctx allow. What it has waited is taken from the timeout.
func (c *caller) enter(ctx context.Context, upstream string, timeout *time.Duration) (place, *pool.Error) {
	if p, ok := c.try(); ok {
		return p, nil
	}
	limits := c.all.access.Load()
	t := &turn{ready: make(chan struct{})}
	c.mu.Lock()
	if c.mu.waiting.Len() >= limits.maxWaiting {
		c.mu.Unlock()
		return place{}, c.overLimit(upstream, fmt.Sprintf("and %d waiting: callers.max_in_flight and callers.max_waiting allow no more", limits.maxWaiting))
	}
	at := c.mu.waiting.PushBack(t)
	c.mu.Unlock()
	c.settle() // a place may have come free in between

	longest := limits.maxWait
	if *timeout > 0 {
		longest = min(longest, *timeout)
	}
	begun := time.Now()
	over := time.NewTimer(longest)
	defer over.Stop()
	var failure *pool.Error
	select {
	case <-t.ready:
	case <-ctx.Done():
		failure = goneAlready(ctx, upstream)
	case <-over.C:
		failure = c.overLimit(upstream, fmt.Sprintf("and none ended within %v", longest))
	}
	if failure != nil {
		c.mu.Lock()
		select {
		case <-t.ready: // meanwhile it was given one
			c.mu.Unlock()
			place{c}.leave()
		default:
			c.mu.waiting.Remove(at)
			c.mu.Unlock()
		}
		return place{}, failure
	}
	if *timeout > 0 {
		*timeout = max(1, *timeout-time.Since(begun))
	}
	return place{c}, nil
}

func (c *caller) overLimit(upstream, detail string) *pool.Error {
	return &pool.Error{
		Delivery: pool.DeliveryNotSent, Upstream: upstream,
		Detail: fmt.Sprintf("the caller (%s) has %d exchanges under way, %s", c.name, c.all.access.Load().maxInFlight, detail),
		Err:    &callerError{warmpoolv1.Reason_REASON_CALLER_LIMIT, codes.ResourceExhausted},
	}
}

// leave gives the place back, and so to who waits longest.
func (p place) leave() {
	if p.caller == nil {
		return
	}
	p.caller.mu.Lock()
	p.caller.mu.inFlight--
	p.caller.mu.Unlock()
	p.caller.settle()
}

// settle gives places that are free to those who wait.
func (c *caller) settle() {
	most := c.all.access.Load().maxInFlight
	c.mu.Lock()
	defer c.mu.Unlock()
	for first := c.mu.waiting.Front(); first != nil && (most == 0 || c.mu.inFlight < most); first = c.mu.waiting.Front() {
		c.mu.waiting.Remove(first)
		c.mu.inFlight++
		close(first.Value.(*turn).ready) //nolint:forcetypeassert // the list holds nothing else
	}
}
