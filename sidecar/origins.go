package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// origins makes upstreams of the origins that callers name, where dynamic_origins
// allows it, and takes them away when nobody has used them for a while. They stand
// in the book beside the others. What such an origin may be, config.CheckOrigin and
// the list say; where it may lead, the pool looks when it connects.
type origins struct {
	log   *slog.Logger
	book  *book
	grace func() time.Duration // of what runs on one that is removed
	rules atomic.Pointer[originRules]

	mu struct {
		sync.Mutex
		live map[*pool.Upstream]struct{} // those whose figures are still their own
		past pool.Counters               // of those that are gone
		any  bool                        // there has been one
	}
}

// originRules is what holds now. A reload puts another in its place.
type originRules struct {
	config  *warmpoolv1.Config
	allowed config.Origins
	most    int
	idle    time.Duration
}

// newOrigins lets callers name what cfg, which is complete, says.
func newOrigins(cfg *warmpoolv1.Config, b *book, log *slog.Logger, grace func() time.Duration) *origins {
	o := &origins{log: log, book: b, grace: grace}
	o.mu.live = make(map[*pool.Upstream]struct{})
	o.apply(cfg)
	return o
}

// apply puts what cfg says into force for origins that are named from now on. What
// becomes of those that there are is the reload's part.
func (o *origins) apply(cfg *warmpoolv1.Config) {
	d := cfg.GetDynamicOrigins()
	o.rules.Store(&originRules{
		config: cfg, allowed: config.NewOrigins(d.GetAllow()), most: int(d.GetMax()), idle: d.GetMaxIdleTime().AsDuration(),
	})
}

// origin is what is known of an upstream because a caller has named it.
type origin struct {
	holds atomic.Int64 // requests that use it; below zero: it is removed
	used  atomic.Int64 // when the last one ended, since epoch
}

// newOrigin is an origin that was used just now.
func newOrigin() *origin {
	o := &origin{}
	o.used.Store(int64(time.Since(epoch)))
	return o
}

// epoch is what moments are counted from, by the clock that is never set.
var epoch = time.Now()

// removed is added to the holds of an origin that is taken away.
const removed = math.MinInt64 / 2

// hold keeps an origin from being removed as unused; the zero value holds nothing.
type hold struct{ origin *origin }

// take holds the origin, unless it is removed.
func (o *origin) take() (hold, bool) {
	for {
		n := o.holds.Load()
		if n < 0 {
			return hold{}, false
		}
		if o.holds.CompareAndSwap(n, n+1) {
			return hold{o}, true
		}
	}
}

// leave ends the hold.
func (h hold) leave() {
	if h.origin != nil {
		h.origin.used.Store(int64(time.Since(epoch)))
		h.origin.holds.Add(-1)
	}
}

// unused is for how long nobody has held the origin; 0: somebody does.
func (o *origin) unused() time.Duration {
	if o.holds.Load() != 0 {
		return 0
	}
	return time.Since(epoch) - time.Duration(o.used.Load())
}

// retire marks the origin as removed if nobody holds it.
func (o *origin) retire() bool { return o.holds.CompareAndSwap(0, removed) }

// remove marks the origin as removed, whoever holds it.
func (o *origin) remove() {
	if o.holds.Load() >= 0 {
		o.holds.Add(removed)
	}
}

// admit finds or makes the upstream of the origin that a request names, and holds
// it. Whether it may be named is asked before whether it is there.
func (o *origins) admit(who *asker, r *wireRequest) (*pool.Upstream, hold, *pool.Error) {
	name := r.upstream
	e := o.book.get(name)
	if e == nil { // else it has been looked at
		if o.rules.Load().allowed.Empty() { // then its form is not what is wrong
			return nil, hold{}, noOrigins(name)
		}
		if err := config.CheckOrigin(name); err != nil {
			return nil, hold{}, badOrigin(name, err)
		}
	}
	if failure := who.refuses(name); failure != nil {
		return nil, hold{}, failure
	}
	if failure := checkHost(r); failure != nil {
		return nil, hold{}, failure
	}
	if e != nil {
		if held, ok := e.origin.take(); ok {
			return e.upstream, held, nil
		}
	}
	return o.add(who, name)
}

// noOrigins refuses whatever origin: the operator lets callers name none.
func noOrigins(name string) *pool.Error {
	return &pool.Error{
		Reason: pool.ReasonUnknownUpstream, Delivery: pool.DeliveryNotSent, Upstream: withoutPassword(name),
		Detail: "callers must name a configured upstream; origins they may not name, unless dynamic_origins.allow lets them",
	}
}

// withoutPassword is a name that can be repeated: nothing where it may hold a
// password.
func withoutPassword(name string) string {
	if strings.Contains(name, "@") {
		return ""
	}
	return name
}

// badOrigin refuses what is no origin.
func badOrigin(name string, why error) *pool.Error {
	return &pool.Error{
		Reason: pool.ReasonInvalidRequest, Delivery: pool.DeliveryNotSent, Upstream: withoutPassword(name),
		Detail: "the request cannot be sent", Err: &fieldError{"request.upstream", why.Error()},
	}
}

// checkHost refuses a Host other than the origin's: where several sites share an
// address, and a proxy before them goes by Host, it would lead to one that the list
// does not allow.
func checkHost(r *wireRequest) *pool.Error {
	_, host, _ := strings.Cut(r.upstream, "://")
	for i, f := range r.request.Fields {
		if strings.EqualFold(f.Name, "Host") && !strings.EqualFold(f.Value, host) {
			return &pool.Error{
				Reason: pool.ReasonInvalidRequest, Delivery: pool.DeliveryNotSent, Upstream: r.upstream, Detail: "the request cannot be sent",
				Err: &fieldError{headerPath(i) + ".value", fmt.Sprintf("Host must be that of the origin, %q, or be left out", host)},
			}
		}
	}
	return nil
}

// add makes the upstream of an origin that is in its canonical form, and holds it.
func (o *origins) add(who *asker, name string) (*pool.Upstream, hold, *pool.Error) {
	if failure := o.rules.Load().refuses(who, name); failure != nil {
		return nil, hold{}, failure
	}
	o.book.changing.Lock()
	defer o.book.changing.Unlock()
	rules := o.rules.Load() // a reload may have come between
	if failure := rules.refuses(who, name); failure != nil {
		return nil, hold{}, failure
	}
	if e := o.book.get(name); e != nil { // made meanwhile
		if held, ok := e.origin.take(); ok {
			return e.upstream, held, nil
		}
	}
	if failure := o.room(rules, name); failure != nil {
		return nil, hold{}, failure
	}
	p, err := o.book.prepare(config.OriginUpstream(rules.config, strings.Clone(name)), warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_DYNAMIC)
	if err != nil { // a file of the upstream that it is like
		return nil, hold{}, &pool.Error{
			Reason: pool.ReasonTLSFailed, Delivery: pool.DeliveryNotSent, Upstream: name,
			Detail: "the settings of dynamic origins cannot be read", Err: err,
		}
	}
	e, err := o.book.add(p, warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_DYNAMIC)
	if err != nil {
		return nil, hold{}, &pool.Error{
			Reason: pool.ReasonDraining, Delivery: pool.DeliveryNotSent, Upstream: name, Detail: "the pool is shutting down",
		}
	}
	o.mu.Lock()
	o.mu.live[e.upstream], o.mu.any = struct{}{}, true
	o.mu.Unlock()
	o.log.Info("upstream created", "upstream", e.name(), "source", "dynamic", "caller", who.name)
	held, _ := e.origin.take() // it is not removed as long as changing is held
	return e.upstream, held, nil
}

// refuses says why callers may not name an origin; nil: they may.
func (r *originRules) refuses(who *asker, name string) *pool.Error {
	switch {
	case r.allowed.Empty():
		return noOrigins(name)
	case !r.allowed.Allow(name):
		return &pool.Error{
			Delivery: pool.DeliveryNotSent, Upstream: name,
			Detail: fmt.Sprintf("the caller (%s) may not name this origin: dynamic_origins.allow does not have it", who.name),
			Err:    &callerError{warmpoolv1.Reason_REASON_NOT_ALLOWED, codes.PermissionDenied},
		}
	}
	return nil
}

// room finds one more origin a place. changing is held.
func (o *origins) room(rules *originRules, name string) *pool.Error {
	all := o.all()
	if len(all) < rules.most {
		return nil
	}
	var longest *entry
	for _, e := range all {
		if unused := e.origin.unused(); unused > 0 && (longest == nil || unused > longest.origin.unused()) && e.neverConnected() {
			longest = e
		}
	}
	if longest != nil && longest.origin.retire() {
		o.remove(longest, "it has never had a connection, and its place was needed")
		return nil
	}
	return &pool.Error{
		Delivery: pool.DeliveryNotSent, Upstream: name,
		Detail: fmt.Sprintf("there are %d dynamic origins, and dynamic_origins.max allows no more; each is removed when it was not used for %s", len(all), rules.idle),
		Err:    &callerError{warmpoolv1.Reason_REASON_ORIGIN_LIMIT, codes.ResourceExhausted},
	}
}

func (e *entry) neverConnected() bool {
	s := e.upstream.Stats()
	return s.Opened == 0 && s.Mode == pool.ModeActive
}

// all lists the entries that callers have made and that are not being removed.
func (o *origins) all() []*entry {
	var all []*entry
	for _, e := range o.book.list() {
		if e.origin != nil && o.book.get(e.name()) == e {
			all = append(all, e)
		}
	}
	return all
}

// sweepPause is the longest time between two looks for origins that are not used.
const sweepPause = 10 * time.Second

// sweep removes what has not been used for max_idle_time, until ctx ends.
func (o *origins) sweep(ctx context.Context) {
	for {
		pause := time.NewTimer(min(o.rules.Load().idle/8, sweepPause))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		o.mu.Lock()
		none := len(o.mu.live) == 0
		o.mu.Unlock()
		if !none {
			o.removeUnused()
		}
	}
}

func (o *origins) removeUnused() {
	o.book.changing.Lock()
	defer o.book.changing.Unlock()
	most := o.rules.Load().idle
	for _, e := range o.all() {
		// One that an operator has paused or drained is to stay so.
		if e.origin.unused() >= most && e.upstream.Mode() == pool.ModeActive && e.origin.retire() {
			o.remove(e, fmt.Sprintf("not used for %s", most))
		}
	}
}

// remove takes an origin away that nobody holds. changing is held.
func (o *origins) remove(e *entry, why string) {
	o.log.Info("upstream deleted", "upstream", e.name(), "source", "dynamic", "because", why)
	wait := o.book.remove(e)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), o.grace())
		defer cancel()
		wait(ctx)
	}()
}

// ended takes over the figures of an origin whose last connection has closed.
func (o *origins) ended(e *entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.mu.live[e.upstream]; ok {
		s := e.upstream.Stats()
		o.mu.past.Add(&s.Counters)
		delete(o.mu.live, e.upstream)
	}
}

// figures are those of all origins together, of the ones that are gone as well; ok
// is false as long as there has been none.
func (o *origins) figures() (sum pool.Stats, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	sum.Counters = o.mu.past
	for u := range o.mu.live {
		s := u.Stats()
		sum.Counters.Add(&s.Counters)
		sum.Max += s.Max
		sum.Total += s.Total
		sum.Active += s.Active
		sum.Idle += s.Idle
		sum.Dialing += s.Dialing
		sum.Waiting += s.Waiting
		sum.InFlight += s.InFlight
		sum.Warm += s.Warm
		sum.Endpoints += s.Endpoints
	}
	return sum, o.mu.any
}
