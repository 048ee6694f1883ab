package pool_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// swallowing is an HTTP server that reads request bodies and answers with a few
// bytes, and the change that makes a policy trust it.
func swallowing(t *testing.T, secured bool) (*httptest.Server, func(*pool.Policy)) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "thanks")
	}))
	if secured {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s, func(p *pool.Policy) {
		if secured {
			p.TLS.RootCAs = x509.NewCertPool()
			p.TLS.RootCAs.AddCert(s.Certificate())
		}
	}
}

func TestAConnectionShowsWhatTheKernelSaysOfIt(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			s, trust := swallowing(t, secured)
			u := open(t, s.URL, func(p *pool.Policy) {
				trust(p)
				p.TCP.Congestion = "reno" // every Linux has it, and everybody may choose it
			})
			body := strings.Repeat("x", 300_000)
			before := time.Now()
			if _, err := u.Do(t.Context(), &pool.Request{Method: "POST", Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
			all := u.Connections()
			if len(all) != 1 {
				t.Fatalf("%d connections, want 1", len(all))
			}
			c := all[0]
			tcp := c.TCP
			switch {
			case tcp.RTT <= 0 || tcp.RTT > patience || tcp.RTO < tcp.RTT:
				t.Errorf("round trip %v ± %v, timeout %v", tcp.RTT, tcp.RTTDeviation, tcp.RTO)
			case tcp.MSS < 500 || tcp.Window < 10*int64(tcp.MSS) || tcp.EffectiveWindow < 10*int64(tcp.MSS) || tcp.EffectiveWindow > tcp.Window:
				t.Errorf("MSS %d, window %d, effective %d bytes", tcp.MSS, tcp.Window, tcp.EffectiveWindow)
			case tcp.LastSent < 0 || tcp.LastSent > time.Since(before)+time.Second:
				t.Errorf("data was last sent %v ago", tcp.LastSent)
			case tcp.DeliveryRate == 0 || tcp.Congestion != "reno":
				t.Errorf("delivery rate %d, congestion control %q", tcp.DeliveryRate, tcp.Congestion)
			case tcp.Age < 0 || tcp.Age > patience:
				t.Errorf("the figures are %v old", tcp.Age)
			}
			if c.Sent <= int64(len(body)) || c.Sent > int64(len(body))+500 || c.Received < int64(len("thanks")) || c.Received > 500 {
				t.Errorf("%d bytes of HTTP sent, %d received", c.Sent, c.Received)
			}
			if !c.Local.Addr().IsLoopback() || c.Local.Port() == 0 || c.Local == c.Endpoint {
				t.Errorf("the local address is %v", c.Local)
			}
			if c.IdleLimit > 55*time.Second || c.IdleLimit <= 49*time.Second || c.IdleLimitSource != pool.IdleByPolicy || c.LifetimeLeft <= 13*time.Minute || c.LifetimeLeft > 15*time.Minute {
				t.Errorf("it may idle for %v (%v) and live for %v", c.IdleLimit, c.IdleLimitSource, c.LifetimeLeft)
			}
			if want := secured; (c.TLS.Version == tls.VersionTLS13) != want || (c.TLS.CipherSuite != 0) != want || c.TLS.Resumed {
				t.Errorf("TLS %+v", c.TLS)
			}
			if stats := u.Stats(); stats.Sent != c.Sent || stats.Received != c.Received {
				t.Errorf("the upstream counts %d bytes sent, %d received; its only connection %d, %d", stats.Sent, stats.Received, c.Sent, c.Received)
			}
		})
	}
}
