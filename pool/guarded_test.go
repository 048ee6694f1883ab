package pool_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

var (
	outside = netip.MustParseAddr("198.51.100.7")
	inside  = netip.MustParseAddr("127.0.0.1")
)

func guarded(p *pool.Policy) { p.GuardAddresses, p.DNS.MinTTL = true, time.Second }

func TestAGuardedUpstreamConnectsToNoForbiddenAddress(t *testing.T) {
	for _, text := range []string{"127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1%eth0", "64:ff9b::7f00:1"} {
		t.Run(text, func(t *testing.T) {
			n := &names{}
			n.set(nil, netip.MustParseAddr(text))
			resolved(t, n, guarded, func(t *testing.T, r *rig) {
				e := r.get("/").failed(pool.ReasonAddressForbidden, pool.DeliveryNotSent)
				if !strings.Contains(e.Error(), text) || e.Attempts != 0 {
					t.Errorf("%d attempts: %v; want one that names the address", e.Attempts, e)
				}
				r.quiet()
				if s := r.upstream.Stats(); s.Opened != 0 || s.DialFailures[pool.ReasonAddressForbidden] != 1 {
					t.Errorf("%d connections, dials that failed: %v", s.Opened, s.DialFailures)
				}
			})
		})
	}
}

func TestAnUpstreamOfTheOperatorsConnectsToLoopback(t *testing.T) {
	n := &names{}
	n.set(nil, inside)
	resolved(t, n, nil, func(t *testing.T, r *rig) { r.serves() })
}

// DNS rebinding: what a name is when it is asked for and what it is when it is
// connected to are two things, so the second one is looked at.
func TestANameThatIsBoundAnewToLoopbackLeadsNowhere(t *testing.T) {
	n := &names{}
	n.sets(holding(time.Second, outside), nil)
	resolved(t, n, guarded, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		n.sets(holding(time.Second, inside), nil)
		time.Sleep(5 * time.Second) // the address is another, and its connections retire
		_ = peer.Close()
		synctest.Wait()
		r.get("/").failed(pool.ReasonAddressForbidden, pool.DeliveryNotSent)
		r.quiet()
		n.sets(holding(time.Second, outside), nil)
		time.Sleep(5 * time.Second)
		r.serves()
	})
}

// A forbidden address says nothing of the others of its family.
func TestAForbiddenAddressKeepsNobodyFromTheOthers(t *testing.T) {
	n := &names{}
	n.set(nil, inside, outside, netip.MustParseAddr("2001:db8::7"))
	resolved(t, n, guarded, func(t *testing.T, r *rig) {
		for range 8 {
			c := r.get("/")
			d := r.next()
			if strings.HasPrefix(d.address, "127.") {
				t.Fatalf("%s is dialed", d.address)
			}
			peer := d.accept()
			peer.request()
			peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			c.answered("")
			_ = peer.Close()
			synctest.Wait()
		}
		for _, e := range r.upstream.Stats().Addresses {
			if e.FamilyFailed {
				t.Errorf("the family of %s counts as failed", e.Endpoint)
			}
		}
	})
}

func TestAnUnlistedUpstreamIsNotToldOf(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *rig) {
		policy := pool.DefaultPolicy("https://secret.example", "https://secret.example")
		policy.Endpoints, policy.Unlisted = []netip.AddrPort{endpointTwo}, true
		if _, err := r.pool.Add(policy); err != nil {
			t.Fatal(err)
		}
		_, err := r.pool.Upstream("nowhere")
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), `"origin"`) {
			t.Errorf("%v", err)
		}
	})
}
