package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/dns/dnstest"
)

// instance is one of the servers of an upstream, each at an address of its own.
type instance struct {
	host     string // its IP address
	port     int
	requests atomic.Int64
	opened   atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// startInstances runs HTTP servers on one port of several addresses of the loopback network.
func startInstances(t *testing.T, hosts ...string) []*instance {
	t.Helper()
	port := freePort(t)
	all := make([]*instance, len(hosts))
	for i, host := range hosts {
		one := &instance{host: host, port: port, open: make(map[net.Conn]struct{})}
		l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port)).String())
		if err != nil {
			unavailable(t, fmt.Sprintf("there is no loopback address %s: %v", host, err))
		}
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				one.requests.Add(1)
				time.Sleep(2 * time.Millisecond) // so that requests overlap
				fmt.Fprint(w, one.host)
			}),
			ConnState: func(c net.Conn, state http.ConnState) {
				one.mu.Lock()
				defer one.mu.Unlock()
				switch state {
				case http.StateNew:
					one.open[c] = struct{}{}
					one.opened.Add(1)
				case http.StateClosed:
					delete(one.open, c)
				}
			},
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l)
		}()
		t.Cleanup(func() {
			_ = server.Close()
			<-done
		})
		all[i] = one
	}
	return all
}

func (i *instance) connections() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.open)
}

// traffic is callers that send GETs one after the other, of which none may fail.
type traffic struct{ sent, failed atomic.Int64 }

// during keeps the callers going while conduct runs.
func (l *traffic) during(t *testing.T, s *sidecar, callers int, conduct func()) {
	t.Helper()
	c := openGo(t, s.unix)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for ctx.Err() == nil {
				r, err := c.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: "payments", Path: "/"})
				if l.sent.Add(1); err != nil || r.GetStatus() != 200 {
					if l.failed.Add(1) <= 3 {
						t.Errorf("a request failed: %v, %v", r.GetStatus(), err)
					}
				}
			}
		})
	}
	conduct()
	stop()
	running.Wait()
	t.Logf("%d requests, %d failed", l.sent.Load(), l.failed.Load())
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	begun := time.Now()
	for !so() {
		if time.Since(begun) > callLimit {
			t.Fatalf("not within %s: %s", callLimit, what)
		}
		time.Sleep(pollPause)
	}
	t.Logf("%s: after %s", what, time.Since(begun).Round(10*time.Millisecond))
}

// shares is the part of the next n requests that each instance gets.
func (l *traffic) shares(t *testing.T, n int64, all ...*instance) []float64 {
	t.Helper()
	before := make([]int64, len(all))
	for i, one := range all {
		before[i] = one.requests.Load()
	}
	for until := l.sent.Load() + n; l.sent.Load() < until; {
		time.Sleep(pollPause)
	}
	shares, sum := make([]float64, len(all)), 0.0
	for i, one := range all {
		shares[i] = float64(one.requests.Load() - before[i])
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares
}

const dnsConfig = `
upstreams:
  - name: payments
    url: http://payments.test:%[1]d
    dns: {servers: ["%[2]s"], min_ttl: 1s, max_ttl: 1s%[3]s}
    connections: {warm: 8, max: 32}
`

func TestAChangeOfAddressesUnderLoadFailsNoRequest(t *testing.T) {
	t.Parallel()
	servers := startInstances(t, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	old, stays, news := servers[0], servers[1], servers[2]
	names := dnstest.Start(t)
	names.Set("payments.test", "A 1 127.0.0.1", "A 1 127.0.0.2")
	s := startSidecar(t, dnsConfig, old.port, names.Addr(), "")
	load := &traffic{}
	load.during(t, s, 8, func() {
		eventually(t, "both addresses are used", func() bool { return old.requests.Load() > 100 && stays.requests.Load() > 100 })

		names.Set("payments.test", "A 1 127.0.0.2", "A 1 127.0.0.3")
		eventually(t, "the new address is used", func() bool { return news.requests.Load() > 100 })
		eventually(t, "no connection to the old address is left", func() bool { return old.connections() == 0 })
		if got := load.shares(t, 2000, stays, news); got[1] < 0.3 || got[1] > 0.7 {
			t.Errorf("the new address gets %.0f %% of the requests, want about half", 100*got[1])
		}
		before := old.requests.Load()

		for _, code := range []string{"SERVFAIL", "NXDOMAIN"} {
			names.Script(func(dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Code: code}, true })
			names.Asked()
			eventually(t, code+" was answered", func() bool { return len(names.Questions()) > 4 })
			load.shares(t, 500, stays, news)
		}
		names.Script(func(dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Silent: true}, true })
		load.shares(t, 2000, stays, news)
		names.Script(nil)
		eventually(t, "the servers answer again", func() bool { return strings.Contains(s.process.log.String(), "the addresses are looked up again") })
		if n := old.requests.Load() - before; n != 0 {
			t.Errorf("%d requests went to an address that is gone", n)
		}
	})
	text := s.process.log.String()
	for _, sign := range []string{"addresses changed", "those known stay in use"} {
		if !strings.Contains(text, sign) {
			t.Errorf("the log does not say %q", sign)
		}
	}
}

func TestAnswersThatHoldPartsOfASetInTurnCloseNoConnections(t *testing.T) {
	t.Parallel()
	hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}
	servers := startInstances(t, hosts...)
	names := dnstest.Start(t)
	var turn atomic.Int64
	names.Script(func(q dnstest.Question) (dnstest.Reply, bool) {
		if q.Type != "A" {
			return dnstest.Reply{}, true
		}
		n := int(turn.Add(1))
		return dnstest.Reply{Records: []string{"A 1 " + hosts[n%4], "A 1 " + hosts[(n+1)%4]}}, true
	})
	s := startSidecar(t, dnsConfig, servers[0].port, names.Addr(), "")
	load := &traffic{}
	load.during(t, s, 8, func() {
		eventually(t, "twelve answers later", func() bool { return turn.Load() >= 12 })
	})
	if text := s.process.log.String(); strings.Contains(text, "gone=") {
		t.Error("an address was taken for gone")
	}
	opened := int64(0)
	for _, one := range servers {
		opened += one.opened.Load()
	}
	if opened > 32 {
		t.Errorf("%d connections were opened over 12 answers", opened)
	}
}

func TestAServiceIsUsedByPriorityAndWeight(t *testing.T) {
	t.Parallel()
	servers := startInstances(t, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	light, heavy, spare := servers[0], servers[1], servers[2]
	names := dnstest.Start(t)
	record := func(priority, weight int, host string) string {
		return fmt.Sprintf("SRV 1 %d %d %d %s", priority, weight, light.port, host)
	}
	names.Set("_http._tcp.payments.test", record(10, 10, "a.test"), record(10, 30, "b.test"), record(20, 100, "c.test"))
	names.Set("a.test", "A 1 127.0.0.1")
	names.Set("b.test", "A 1 127.0.0.2")
	names.Set("c.test", "A 1 127.0.0.3")
	s := startSidecar(t, dnsConfig, 1, names.Addr(), ", srv: _http._tcp.payments.test") // the URL's port is nobody's
	load := &traffic{}
	load.during(t, s, 8, func() {
		eventually(t, "both are used", func() bool { return light.requests.Load() > 50 && heavy.requests.Load() > 50 })
		if got := load.shares(t, 2000, light, heavy); got[1] < 0.6 || got[1] > 0.9 {
			t.Errorf("the one with three times the weight gets %.0f %% of the requests, want about 75 %%", 100*got[1])
		}
		if n := spare.requests.Load(); n != 0 {
			t.Errorf("%d requests went to the second priority", n)
		}
		names.Set("_http._tcp.payments.test", record(20, 100, "c.test"))
		eventually(t, "the second priority takes over", func() bool { return light.connections()+heavy.connections() == 0 })
	})
}
