package pool_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate for a name, of a server and a client alike.
func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	return a.issueFor(t, name, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

// issueFor is issue for a time of its own.
func (a *authority) issueFor(t *testing.T, name string, begin, end time.Time) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: begin, NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// secure is a server of net/http over TLS that answers with what its
// handshakes were like.
type secure struct {
	addr string
	mu   sync.Mutex
	seen []tls.ConnectionState
}

func newSecure(t *testing.T, config *tls.Config) *secure {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &secure{addr: l.Addr().String()}
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			s.seen = append(s.seen, *r.TLS)
			s.mu.Unlock()
			if r.URL.Path == "/close" {
				w.Header().Set("Connection", "close")
			}
			_, _ = io.WriteString(w, "secure")
		}),
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(tls.NewListener(l, config)) })
	t.Cleanup(func() {
		_ = server.Close()
		running.Wait()
	})
	return s
}

func (s *secure) last(t *testing.T) tls.ConnectionState {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		t.Fatal("the server has seen no request")
	}
	return s.seen[len(s.seen)-1]
}

// towards makes an upstream of a secure server under a name that it has a
// certificate for.
func (s *secure) towards(t *testing.T, name string, roots *x509.CertPool, change func(*pool.Policy)) *pool.Upstream {
	t.Helper()
	return open(t, "https://"+s.addr, func(p *pool.Policy) {
		p.TLS.RootCAs, p.TLS.ServerName = roots, name
		if change != nil {
			change(p)
		}
	})
}

func TestTLSVerifiesTheNameThatIsConfiguredAndSendsIt(t *testing.T) {
	ca := newAuthority(t)
	server := newSecure(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "inner.test")}})
	u := server.towards(t, "inner.test", ca.pool(), nil)
	(<-ask(t, u, &pool.Request{})).mustBe(t, "secure")
	state := server.last(t)
	if state.ServerName != "inner.test" || state.Version != tls.VersionTLS13 {
		t.Errorf("server name %q, version %#x", state.ServerName, state.Version)
	}
	if s := u.Stats(); s.HandshakeTime <= 0 {
		t.Error("the handshake took no time")
	}
}

// What no retry can mend fails at once, with what was wrong.
func TestACertificateThatDoesNotVerifyFailsAtOnce(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	valid := ca.issue(t, "inner.test")
	const day = 24 * time.Hour
	ended, begins := time.Now().Add(time.Hour-10*day), time.Now().Add(time.Hour+10*day)
	for name, test := range map[string]struct {
		shows  tls.Certificate
		server string
		roots  *x509.CertPool
		says   []string
	}{
		"wrong authority": {valid, "inner.test", stranger.pool(), []string{`the certificate "inner.test", issued by "authority": `, "unknown authority"}},
		"wrong name":      {valid, "other.test", ca.pool(), []string{"other.test"}},
		"expired": {ca.issueFor(t, "inner.test", ended.Add(-90*day), ended), "inner.test", ca.pool(), []string{
			`the certificate "inner.test", issued by "authority", expired at ` + ended.UTC().Format(time.RFC3339) + ", 9 days ago; it is 2",
		}},
		"not valid yet": {ca.issueFor(t, "inner.test", begins, begins.Add(90*day)), "inner.test", ca.pool(), []string{
			`the certificate "inner.test", issued by "authority", is not valid before ` + begins.UTC().Format(time.RFC3339) + ", in 10 days; it is 2",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server := newSecure(t, &tls.Config{Certificates: []tls.Certificate{test.shows}})
			u := server.towards(t, test.server, test.roots, nil)
			for range 3 {
				e := (<-ask(t, u, &pool.Request{})).mustFail(t, pool.ReasonTLSFailed, pool.DeliveryNotSent)
				for _, text := range test.says {
					if e.Endpoint.String() != server.addr || !strings.Contains(e.Error(), text) {
						t.Errorf("the failure is %v, want %s", e, text)
					}
				}
				if _, ok := errors.AsType[*tls.CertificateVerificationError](e); !ok {
					t.Errorf("the cause is %T", errors.Unwrap(e))
				}
			}
		})
	}
}

func TestVerificationCanBeSwitchedOff(t *testing.T) {
	server := newSecure(t, &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue(t, "inner.test")}})
	u := server.towards(t, "", nil, func(p *pool.Policy) { p.TLS.InsecureSkipVerify = true })
	(<-ask(t, u, &pool.Request{})).mustBe(t, "secure")
}

func TestAClientCertificateIsShownToAServerThatAsks(t *testing.T) {
	ca := newAuthority(t)
	server := newSecure(t, &tls.Config{
		Certificates: []tls.Certificate{ca.issue(t, "inner.test")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	})
	u := server.towards(t, "inner.test", ca.pool(), func(p *pool.Policy) {
		p.TLS.Certificates = []tls.Certificate{ca.issue(t, "client.test")}
	})
	(<-ask(t, u, &pool.Request{})).mustBe(t, "secure")
	if peers := server.last(t).PeerCertificates; len(peers) != 1 || peers[0].Subject.CommonName != "client.test" {
		t.Errorf("the server was shown %v", peers)
	}

	// TLS 1.3 tells of a refused certificate only behind the handshake.
	for range 10 {
		without := server.towards(t, "inner.test", ca.pool(), nil)
		a := <-ask(t, without, &pool.Request{Method: "POST"})
		if e, ok := errors.AsType[*pool.Error](a.err); !ok || e.Delivery == pool.DeliveryResponded {
			t.Fatalf("got %+v, %v", a.res, a.err)
		}
	}
}

func TestAServerBelowTheMinimumVersionIsRefused(t *testing.T) {
	ca := newAuthority(t)
	server := newSecure(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "inner.test")}, MaxVersion: tls.VersionTLS12})
	old := server.towards(t, "inner.test", ca.pool(), nil)
	(<-ask(t, old, &pool.Request{})).mustBe(t, "secure")
	if v := server.last(t).Version; v != tls.VersionTLS12 {
		t.Errorf("version %#x", v)
	}
	strict := server.towards(t, "inner.test", ca.pool(), func(p *pool.Policy) { p.TLS.MinVersion = tls.VersionTLS13 })
	(<-ask(t, strict, &pool.Request{})).mustFail(t, pool.ReasonTLSFailed, pool.DeliveryNotSent)
}

func TestOnlyHTTP11IsNegotiated(t *testing.T) {
	ca := newAuthority(t)
	cert := []tls.Certificate{ca.issue(t, "inner.test")}
	both := newSecure(t, &tls.Config{Certificates: cert, NextProtos: []string{"h2", "http/1.1"}})
	(<-ask(t, both.towards(t, "inner.test", ca.pool(), nil), &pool.Request{})).mustBe(t, "secure")
	if proto := both.last(t).NegotiatedProtocol; proto != "http/1.1" {
		t.Errorf("negotiated %q", proto)
	}
	other := newSecure(t, &tls.Config{Certificates: cert, NextProtos: []string{"other/1"}})
	(<-ask(t, other.towards(t, "inner.test", ca.pool(), nil), &pool.Request{})).mustFail(t, pool.ReasonTLSFailed, pool.DeliveryNotSent)
}

func TestTheSecondConnectionResumesTheSession(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			server := newSecure(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "inner.test")}, MaxVersion: version})
			u := server.towards(t, "inner.test", ca.pool(), nil)
			for i := range 3 {
				(<-ask(t, u, &pool.Request{Path: "/close"})).mustBe(t, "secure")
				if state := server.last(t); state.DidResume != (i > 0) {
					t.Errorf("connection %d: resumed %v", i+1, state.DidResume)
				}
			}
		})
	}
}

func TestATLSHandshakeThatHangsTimesOut(t *testing.T) {
	addr := silent(t, func(c net.Conn) {
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	})
	u := open(t, "https://"+addr, func(p *pool.Policy) { p.TLSHandshakeTimeout, p.MaxWait = 50*time.Millisecond, time.Minute })
	e := (<-ask(t, u, &pool.Request{})).mustFail(t, pool.ReasonDialTimeout, pool.DeliveryNotSent)
	if !strings.Contains(e.Error(), "timeouts.tls_handshake") {
		t.Errorf("the failure is %v", e)
	}
}

func TestWhatIsNotTLSFailsTheHandshake(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := open(t, "https://"+origin.Addr(), nil)
	done := ask(t, u, &pool.Request{})
	origin.Accept().Send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
	(<-done).mustFail(t, pool.ReasonTLSFailed, pool.DeliveryNotSent)
}

// A body that lasts until the close is complete only when TLS says so: a bare
// FIN is what anybody on the way can send (RFC 9112, 9.8).
func TestABodyUntilCloseIsCompleteOnlyWithCloseNotify(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"
	origin, u := origins(t, h1test.TLS, nil)
	done := ask(t, u, &pool.Request{})
	peer := origin.Accept()
	peer.ReadRequest()
	peer.Send(head)
	peer.CloseNotify()
	(<-done).mustBe(t, "all of it")

	done = ask(t, u, &pool.Request{})
	peer = origin.Accept()
	peer.ReadRequest()
	peer.Send(head)
	peer.CloseFIN()
	(<-done).mustFail(t, pool.ReasonResponseTruncated, pool.DeliveryResponded)
}
