package pool

import (
	"net/netip"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool/dns"
)

func TestAddressesWithoutARouteAreLeftOutWhereThereAreOthers(t *testing.T) {
	four, six := located{addr: endpointAddr(1)}, located{addr: endpointAddrSix(1)}
	no6 := func(a netip.AddrPort) bool { return a.Addr().Is4() }
	if got := routable([]located{six, four}, no6); len(got) != 1 || got[0] != four {
		t.Errorf("of both: %v", got)
	}
	if got := routable([]located{six}, no6); len(got) != 1 || got[0] != six {
		t.Errorf("of one without a route: %v", got)
	}
	if !hasRoute(netip.MustParseAddrPort("127.0.0.1:80")) {
		t.Error("there is no route to loopback")
	}
}

// The pauses between lookups: the policy's bounds, jitter, back-off.
func TestThePaceOfLookups(t *testing.T) {
	policy := DefaultPolicy("u", "http://u").DNS
	gone := &dns.Error{Kind: dns.NotFound, TTL: 20 * time.Second}
	for _, luck := range []float64{0, 0.999} {
		p := pace{policy: &policy, chance: func() float64 { return luck }}
		within := func(what string, got, least, most time.Duration) {
			t.Helper()
			if got < least || got > most {
				t.Errorf("%s: %v, want %v to %v", what, got, least, most)
			}
		}
		for ttl, want := range map[time.Duration]time.Duration{
			0: 5 * time.Second, 7 * time.Second: 7 * time.Second, time.Hour: time.Minute, dns.Unknown: 30 * time.Second,
		} {
			within(ttl.String(), p.answered(dns.Answer{TTL: ttl}, false), want, want+want/10)
		}
		within("what is late", p.answered(dns.Answer{TTL: time.Hour, Partial: true}, true), 0, 0)
		within("what is late for good", p.answered(dns.Answer{TTL: time.Hour, Partial: true}, false), time.Minute, 66*time.Second)
		for _, want := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second} {
			within("a failure", p.failed(errSilent), want/2, want)
		}
		within("what does not exist", p.failed(gone), 20*time.Second, 20*time.Second)
		for range 100 {
			p.failed(errSilent)
		}
		within("a failure without end", p.failed(errSilent), 15*time.Second, 30*time.Second)
	}
}

var errSilent = &dns.Error{Kind: dns.Timeout, TTL: dns.Unknown}
