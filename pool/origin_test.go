package pool_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/tlstest"
)

// Host is the URL's authority, without the port where that is the scheme's own (RFC
// 9110, 7.2 and 4.2.3), and without a zone, which means something on this machine
// alone (RFC 6874, 4).
func TestHostIsWhatTheURLNames(t *testing.T) {
	for url, host := range map[string]string{
		"http://origin.test":            "origin.test",
		"http://origin.test:80":         "origin.test",
		"http://origin.test:080":        "origin.test",
		"http://origin.test:":           "origin.test",
		"http://origin.test:443":        "origin.test:443",
		"http://origin.test:08080":      "origin.test:8080",
		"http://10.0.0.9":               "10.0.0.9",
		"http://[::1]":                  "[::1]",
		"http://[::1]:8080":             "[::1]:8080",
		"http://[fe80::1%25eth0]":       "[fe80::1]",
		"http://[fe80::1%25eth0]:08080": "[fe80::1]:8080",
	} {
		t.Run(strings.ReplaceAll(url, "/", ""), func(t *testing.T) {
			inMemory(t, func(p *pool.Policy) { p.URL = url }, func(t *testing.T, r *rig) {
				c := r.get("/")
				peer := r.accept()
				if got := peer.head().Host; got != host {
					t.Errorf("Host: %s, want %s", got, host)
				}
				peer.ok("")
				c.answered("")
			})
		})
	}
}

func TestAURLThatNoRequestCouldNameIsRefused(t *testing.T) {
	for url, want := range map[string]string{
		"http://bücher.example": "ASCII form",
		"http://a,b":            "host or host:port",
		"http://a:65536":        "65535",
		"http://a:00":           "65535",
	} {
		p := pool.DefaultPolicy("origin", url)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to say %q", url, err, want)
		}
	}
}

// A certificate is for the address, whichever way it is reached.
func TestTheZoneOfAnAddressIsNoPartOfWhatItsCertificateIsFor(t *testing.T) {
	authority := tlstest.New(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := tls.NewListener(inner, &tls.Config{Certificates: []tls.Certificate{authority.Sign(t, "fe80::1").Certificate}})
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	u := upstreamAt(t, "https://[fe80::1%25eth0]", func(p *pool.Policy) {
		p.Endpoints = []netip.AddrPort{netip.MustParseAddrPort(inner.Addr().String())}
		p.TLS.RootCAs = authority.Roots()
	})
	if res, err := u.Do(context.Background(), &pool.Request{}); err != nil || res.Status != 404 {
		t.Errorf("%v, %v", res, err)
	}
}
