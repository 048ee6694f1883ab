package e2e

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// narrow leaves 200 local ports. A port in TIME_WAIT stays taken, as it does between machines: Linux gives it away early
// only on a loopback interface.
var narrow = map[string]string{"ip_local_port_range": "40000 40199", "tcp_tw_reuse": "0"}

const localPorts = 200

// shortage collects what the pool says of local ports.
type shortage struct {
	mu       sync.Mutex
	warnings []pool.PortUse
	refused  atomic.Int64 // dials for want of a port
	others   atomic.Int64 // dials that failed for anything else
}

func (s *shortage) warned() []pool.PortUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.warnings)
}

func (s *shortage) observer() pool.Observer {
	return pool.Observer{
		PortsShort: func(_ string, use pool.PortUse) {
			s.mu.Lock()
			s.warnings = append(s.warnings, use)
			s.mu.Unlock()
		},
		DialFailed: func(_ string, why pool.Reason, _ netip.AddrPort, _ error) {
			if why == pool.ReasonNoLocalPort {
				s.refused.Add(1)
			} else {
				s.others.Add(1)
			}
		},
	}
}

func wide(h *holding, connections int) pool.Policy {
	p := pool.DefaultPolicy("holding", "http://"+h.addr.String())
	p.Max, p.MaxDialing, p.MaxWait = connections, 32, 2*time.Second
	p.Preconnect, p.PeakMemory = 1, 0 // no connection but those that are asked for
	return p
}

func TestOneSourceAddressThatRunsOutOfPortsFailsClearlyAndNotUnannounced(t *testing.T) {
	inNamespace(t, narrow, func(t *testing.T) {
		h, s := startHolding(t), new(shortage)
		p, u := inProcess(t, s.observer(), wide(h, 1000))
		fine := requests(t, u, localPorts)
		h.holds(t, localPorts)
		if s.refused.Load() != 0 {
			t.Fatalf("%d dials failed before the ports were taken", s.refused.Load())
		}
		want := pool.PortUse{Source: h.addr.Addr(), Endpoint: h.addr, Open: localPorts * 8 / 10, Range: localPorts}
		if got := s.warned(); len(got) != 1 || got[0] != want {
			t.Errorf("warned of %+v, want once, %+v", got, want)
		}

		begun := time.Now()
		tooMany := requests(t, u, 50)
		for range 50 {
			err := <-tooMany
			e, ok := errors.AsType[*pool.Error](err)
			if !ok || e.Reason != pool.ReasonNoLocalPort || e.Delivery != pool.DeliveryNotSent {
				t.Fatalf("the request without a port: %v, want NO_LOCAL_PORT", err)
			}
			if text := e.Error(); !strings.Contains(text, h.addr.String()) || !strings.Contains(text, "200 active") || !strings.Contains(text, "cannot assign requested address") {
				t.Errorf("the failure does not say what happened: %s", text)
			}
		}
		// Pauses of 25 ms at most, doubled up to 2 s, drawn evenly from nothing on.
		if n, took := s.refused.Load(), time.Since(begun); n > 100 || s.others.Load() > 0 {
			t.Errorf("%d dials in vain in %v, %d failed otherwise: there is no back-off", n, took, s.others.Load())
		} else {
			t.Logf("50 requests without a port: %d dials in vain in %v", n, took.Round(time.Millisecond))
		}

		h.let(true)
		for range localPorts {
			if err := <-fine; err != nil {
				t.Errorf("a request that had its port: %v", err)
			}
		}
		h.let(false)

		// What this side closes holds its port for another minute.
		u = another(t, p, h)
		its, ours := timeWaits(t, int(h.addr.Port()))
		uses := u.Stats().Ports
		if len(uses) != 1 || uses[0].TimeWait != ours || uses[0].Open != 0 || ours+its < localPorts {
			t.Errorf("counted %+v; the kernel has %d of ours and %d of the server's", uses, ours, its)
		}
		e, ok := errors.AsType[*pool.Error](<-requests(t, u, 1))
		if !ok || e.Reason != pool.ReasonNoLocalPort {
			t.Errorf("a request while all ports are in TIME_WAIT: %v, want NO_LOCAL_PORT", e)
		}
		t.Logf("all closed: %d in TIME_WAIT here, %d at the server; then: %v", ours, its, e)
	})
}

// another takes the upstream away, which closes its connections, and adds one like it.
func another(t *testing.T, p *pool.Pool, h *holding) *pool.Upstream {
	t.Helper()
	if err := p.Remove(t.Context(), "holding"); err != nil {
		t.Fatal(err)
	}
	u, err := p.Add(wide(h, 1000))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestThreeSourceAddressesCarryOn(t *testing.T) {
	inNamespace(t, narrow, func(t *testing.T) {
		const connections = 2*localPorts + 150
		h, s := startHolding(t), new(shortage)
		policy := wide(h, 1000)
		for _, source := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
			policy.TCP.SourceAddresses = append(policy.TCP.SourceAddresses, netip.MustParseAddr(source))
		}
		_, u := inProcess(t, s.observer(), policy)
		over := requests(t, u, connections)
		h.holds(t, connections)
		if s.refused.Load()+s.others.Load() > 0 {
			t.Errorf("%d dials failed", s.refused.Load()+s.others.Load())
		}
		for _, source := range policy.TCP.SourceAddresses {
			if n := h.from[source]; n < connections/3-10 || n > localPorts {
				t.Errorf("%d connections from %v, want about a third of %d", n, source, connections)
			}
		}
		if uses := u.Stats().Ports; len(uses) != 3 {
			t.Errorf("counted %+v, want three sources", uses)
		}
		t.Logf("%d connections at once: %v", connections, h.from)
		h.let(true)
		for range connections {
			if err := <-over; err != nil {
				t.Error(err)
			}
		}
	})
}

// One source address has its ports once for each destination, because the port is chosen when the destination is known
// (IP_BIND_ADDRESS_NO_PORT).
func TestOneSourceAddressHasAllPortsTowardsEachOfTwoDestinations(t *testing.T) {
	inNamespace(t, narrow, func(t *testing.T) {
		const connections = 2 * localPorts
		one, two, s := startHolding(t), startHolding(t), new(shortage)
		policy := wide(one, 1000)
		policy.Endpoints = []netip.AddrPort{one.addr, two.addr}
		policy.MaxWait = callLimit // on a busy machine so many connections take their time
		policy.TCP.SourceAddresses = []netip.Addr{netip.MustParseAddr("127.0.0.2")}
		_, u := inProcess(t, s.observer(), policy)
		over := requests(t, u, connections)
		one.holds(t, localPorts)
		two.holds(t, localPorts)
		t.Logf("%d connections from one address with %d ports; %d dials found none", connections, localPorts, s.refused.Load())
		one.let(true)
		two.let(true)
		for range connections {
			if err := <-over; err != nil {
				t.Error(err)
			}
		}
	})
}
