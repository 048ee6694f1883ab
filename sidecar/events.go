package sidecar

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// hub hands what happens to those who watch. Nothing waits for a watcher: each has
// a bounded buffer, and what comes while it is full is left out and counted.
type hub struct {
	mu struct {
		sync.Mutex
		sequence uint64
		watchers map[*watcher]struct{}
	}
}

// eventBuffer is how many events one watcher may be behind.
const eventBuffer = 1024

// watcher is one who watches.
type watcher struct {
	wants func(*warmpoolv1.Event) bool
	wake  chan struct{} // receives when there is something to take

	// Guarded by the hub's lock.
	waiting []*warmpoolv1.Event
	before  uint64 // left out before waiting[0]
	dropped uint64 // left out behind what waits
}

func newHub() *hub {
	h := &hub{}
	h.mu.watchers = make(map[*watcher]struct{})
	return h
}

// publish numbers an event, dates it and hands it on. It does not block.
func (h *hub) publish(e *warmpoolv1.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.sequence++
	if len(h.mu.watchers) == 0 {
		return
	}
	e.Sequence, e.Time = h.mu.sequence, timestamppb.Now()
	for w := range h.mu.watchers {
		if !w.wants(e) {
			continue
		}
		if len(w.waiting) == eventBuffer || w.dropped > 0 && len(w.waiting) > 0 {
			w.dropped++ // until the watcher has taken what waits, so that what it is told of lies in one place
			continue
		}
		w.waiting = append(w.waiting, e)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// unwatched reports that nobody watches, and numbers the event that is not made
// for that reason.
func (h *hub) unwatched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.watchers) > 0 {
		return false
	}
	h.mu.sequence++
	return true
}

// watch begins to keep events for someone, until unwatch.
func (h *hub) watch(wants func(*warmpoolv1.Event) bool) *watcher {
	w := &watcher{wants: wants, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	h.mu.watchers[w] = struct{}{}
	h.mu.Unlock()
	return w
}

func (h *hub) unwatch(w *watcher) {
	h.mu.Lock()
	delete(h.mu.watchers, w)
	h.mu.Unlock()
}

// take is what waits for w, and how many events were left out before it.
func (h *hub) take(w *watcher) (events []*warmpoolv1.Event, dropped uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	events, dropped = w.waiting, w.before
	w.waiting, w.before, w.dropped = nil, w.dropped, 0
	return events, dropped
}

// observe publishes what the pool tells.
func (h *hub) observe() pool.Observer {
	return pool.Observer{
		ConnectionOpened: func(c pool.ConnectionInfo) {
			h.publish(&warmpoolv1.Event{
				Kind: warmpoolv1.EventKind_EVENT_KIND_CONNECTION_OPENED, Upstream: c.Upstream,
				Endpoint: addressText(c.Endpoint), ConnectionId: c.ID,
			})
		},
		ConnectionClosed: func(c pool.ConnectionInfo, why pool.CloseReason) {
			h.publish(&warmpoolv1.Event{
				Kind: warmpoolv1.EventKind_EVENT_KIND_CONNECTION_CLOSED, Upstream: c.Upstream,
				Endpoint: addressText(c.Endpoint), ConnectionId: c.ID, CloseReason: closeReasonTwin(why), Message: c.CloseDetail,
			})
		},
		DialFailed: h.failed(warmpoolv1.EventKind_EVENT_KIND_DIAL_FAILED),
		Refused:    h.failed(warmpoolv1.EventKind_EVENT_KIND_REQUEST_REFUSED),
		Retried:    h.failed(warmpoolv1.EventKind_EVENT_KIND_RETRY),
		ResolveFailed: func(f pool.ResolveFailure) {
			h.failed(warmpoolv1.EventKind_EVENT_KIND_DIAL_FAILED)(f.Upstream, pool.ReasonDNSFailed, netip.AddrPort{}, f.Err)
		},
		EndpointsChanged: func(c pool.EndpointChange) {
			h.publish(&warmpoolv1.Event{
				Kind: warmpoolv1.EventKind_EVENT_KIND_ENDPOINTS_CHANGED, Upstream: c.Upstream, Message: endpointsText(c),
			})
		},
		ModeChanged: func(upstream string, mode pool.Mode) {
			h.publish(&warmpoolv1.Event{
				Kind: warmpoolv1.EventKind_EVENT_KIND_UPSTREAM_STATE_CHANGED, Upstream: upstream, Message: modeWord(mode),
			})
		},
		WarmChanged: func(upstream string, ready, floor int) {
			kind := warmpoolv1.EventKind_EVENT_KIND_WARM
			if ready < floor {
				kind = warmpoolv1.EventKind_EVENT_KIND_NOT_WARM
			}
			h.publish(&warmpoolv1.Event{Kind: kind, Upstream: upstream, Message: fmt.Sprintf("%d of %d connections", ready, floor)})
		},
		UpkeepChanged: func(c pool.UpkeepChange) {
			h.publish(&warmpoolv1.Event{
				Kind: warmpoolv1.EventKind_EVENT_KIND_UPKEEP, Upstream: c.Upstream, Endpoint: addressText(c.Endpoint), Message: c.Because,
			})
		},
		PortsShort: func(upstream string, use pool.PortUse) {
			h.publish(&warmpoolv1.Event{
				Kind: warmpoolv1.EventKind_EVENT_KIND_PORTS_LOW, Upstream: upstream, Endpoint: addressText(use.Endpoint),
				Message: portsText(use),
			})
		},
		PrivilegeChanged: func(c pool.PrivilegeChange) {
			h.publish(&warmpoolv1.Event{
				Kind: warmpoolv1.EventKind_EVENT_KIND_ENDPOINT_DEGRADED, Upstream: c.Upstream, Endpoint: addressText(c.Endpoint),
				Message: privilegeText(c) + ": " + c.Because,
			})
		},
	}
}

// privilegeText is what has become of an endpoint's connections.
func privilegeText(c pool.PrivilegeChange) string {
	switch {
	case c.Privilege == pool.PrivilegeReuse && c.Lost:
		return "connections carry one request each for a while"
	case c.Privilege == pool.PrivilegeReuse:
		return "connections carry more than one request again"
	case c.Lost:
		return "requests are not pipelined for a while"
	}
	return "requests are pipelined again"
}

// modeWord is what has become of an upstream whose mode has changed.
func modeWord(m pool.Mode) string {
	if m == pool.ModeActive {
		return "resumed"
	}
	return m.String()
}

func (h *hub) failed(kind warmpoolv1.EventKind) func(string, pool.Reason, netip.AddrPort, error) {
	return func(upstream string, why pool.Reason, endpoint netip.AddrPort, err error) {
		if h.unwatched() { // under load there are many of these, and words cost
			return
		}
		h.publish(&warmpoolv1.Event{
			Kind: kind, Upstream: upstream, Endpoint: addressText(endpoint), Reason: reasonTwin(why), Message: clip(err.Error(), maxMessage),
		})
	}
}

// recent keeps the connections that ended last, of each upstream so many.
type recent struct {
	mu struct {
		sync.Mutex
		ended map[string][]ended // the newest last
	}
}

const recentConnections = 100 // that are kept of each upstream

// ended is a connection as it ended.
type ended struct {
	pool.ConnectionInfo
	why pool.CloseReason
	at  *timestamppb.Timestamp
}

func newRecent() *recent {
	r := &recent{}
	r.mu.ended = make(map[string][]ended)
	return r
}

func (r *recent) observe() pool.Observer {
	return pool.Observer{ConnectionClosed: func(c pool.ConnectionInfo, why pool.CloseReason) {
		r.mu.Lock()
		defer r.mu.Unlock()
		list := r.mu.ended[c.Upstream]
		list = append(list, ended{c, why, timestamppb.Now()})
		if len(list) > recentConnections {
			list = slices.Delete(list, 0, len(list)-recentConnections)
		}
		r.mu.ended[c.Upstream] = list
	}}
}

// of lists them; of all upstreams where the name is empty.
func (r *recent) of(upstream string) []ended {
	r.mu.Lock()
	defer r.mu.Unlock()
	if upstream != "" {
		return slices.Clone(r.mu.ended[upstream])
	}
	var all []ended
	for _, list := range r.mu.ended {
		all = append(all, list...)
	}
	return all
}

// forget drops those of an upstream that is no more.
func (r *recent) forget(upstream string) {
	r.mu.Lock()
	delete(r.mu.ended, upstream)
	r.mu.Unlock()
}
