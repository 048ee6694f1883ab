package pool_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// names is a resolver that answers as the test says.
type names struct {
	failed atomic.Int64 // times that the pool's observer was told of a failure

	mu    sync.Mutex
	addrs []netip.Addr
	err   error
	hangs bool
	asked int
}

func (n *names) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	n.asked++
	addrs, err, hangs := n.addrs, n.err, n.hangs
	n.mu.Unlock()
	if network != "ip" || host != "origin.test" {
		return nil, fmt.Errorf("asked for %s of %s", network, host)
	}
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return addrs, err
}

func (n *names) set(err error, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs, n.err, n.hangs = addrs, err, false
}

func (n *names) times() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// resolved plays a test on an upstream whose host n resolves.
func resolved(t *testing.T, n *names, change func(*pool.Policy), test func(*testing.T, *rig)) {
	observer := pool.Observer{ResolveFailed: func(string, error) { n.failed.Add(1) }}
	inMemoryWith(t, pool.Options{Resolver: n, Observer: observer}, func(p *pool.Policy) {
		p.Endpoints = nil
		if change != nil {
			change(p)
		}
	}, test)
}

var (
	one, two = endpointOne.Addr(), endpointTwo.Addr()
	errDNS   = &net.DNSError{Err: "server misbehaving", Name: "origin.test", IsTemporary: true}
)

func TestNewAddressesAreUsedAndOldOnesRetired(t *testing.T) {
	n := &names{addrs: []netip.Addr{one}}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		busy := r.get("/busy")
		old := r.accept()
		old.request()
		idle := r.connected(1)[0]
		n.set(nil, two)
		begun := time.Now()
		idle.finished()
		if waited := time.Since(begun); waited != 30*time.Second {
			t.Errorf("the old address was left after %v, want dns refresh, 30s", waited)
		}
		_ = idle.Close()
		old.ok("busy")
		busy.answered("busy")
		old.finished()
		_ = old.Close()
		r.closed(pool.CloseEndpointGone, 2)

		c := r.get("/new")
		d := r.next()
		if d.address != endpointTwo.String() {
			t.Errorf("%s is dialed", d.address)
		}
		peer := d.accept()
		peer.request()
		peer.ok("new")
		c.answered("new")
	})
}

func TestKnownAddressesStayInUseWhileTheResolverFails(t *testing.T) {
	n := &names{addrs: []netip.Addr{one}}
	resolved(t, n, func(p *pool.Policy) { p.MaxIdleTime = 0 }, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		n.set(errDNS)
		time.Sleep(10 * time.Minute)
		if n.failed.Load() == 0 {
			t.Fatal("the resolver has not failed")
		}
		go peer.echo()
		r.serves()
		r.quiet()
		r.numbers(0, 1, 0, 0)
	})
}

func TestAnUnresolvedHostFailsAtOnceAndIsLookedUpAgain(t *testing.T) {
	n := &names{err: errDNS}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		synctest.Wait()
		c := r.get("/")
		e := c.failed(pool.ReasonDNSFailed, pool.DeliveryNotSent)
		c.after(0)
		if _, ok := errors.AsType[*net.DNSError](e); !ok || !strings.Contains(e.Error(), `"origin.test"`) {
			t.Errorf("the failure is %v", e)
		}
		n.set(nil, one)
		time.Sleep(time.Second)
		r.serves()
	})
}

func TestRequestsWaitForTheFirstLookUp(t *testing.T) {
	n := &names{hangs: true}
	resolved(t, n, func(p *pool.Policy) { p.MaxWait = time.Minute }, func(t *testing.T, r *rig) {
		c := r.get("/")
		c.failed(pool.ReasonDNSFailed, pool.DeliveryNotSent)
		c.after(5 * time.Second) // a look-up takes no longer
	})
}

func TestALookUpWithoutAnyAddressIsAFailure(t *testing.T) {
	n := &names{}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		synctest.Wait()
		r.get("/").failed(pool.ReasonDNSFailed, pool.DeliveryNotSent)
	})
}

// However long a host cannot be resolved, it is asked for at a steady pace.
func TestLookUpsKeepTheirPaceHoweverLongTheyFail(t *testing.T) {
	n := &names{err: errDNS}
	resolved(t, n, nil, func(t *testing.T, r *rig) {
		time.Sleep(time.Hour)
		early := n.times()
		time.Sleep(time.Hour)
		if late := n.times() - early; late != 120 || early > 130 {
			t.Errorf("%d look-ups in the first hour and %d in the second, want one each 30s", early, late)
		}
	})
}

func TestALiteralAddressIsNotLookedUp(t *testing.T) {
	n := &names{err: errDNS}
	resolved(t, n, func(p *pool.Policy) { p.URL = "http://[2001:db8::1]:8080" }, func(t *testing.T, r *rig) {
		c := r.get("/")
		d := r.next()
		if d.address != "[2001:db8::1]:8080" {
			t.Errorf("%s is dialed", d.address)
		}
		peer := d.accept()
		if req := peer.head(); req.Host != "[2001:db8::1]:8080" {
			t.Errorf("the host is %s", req.Host)
		}
		peer.ok("")
		c.answered("")
		if n.times() != 0 {
			t.Error("it was looked up")
		}
	})
}
