package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

const httpbinModule = "github.com/mccutchen/go-httpbin/v2"

// demoUpstream is go-httpbin on a free loopback port. It counts the connections
// that were opened to it, whoever opened them.
type demoUpstream struct {
	url    string
	opened atomic.Int64
	server *http.Server
}

// startUpstream serves at once; with an identity it speaks TLS.
func startUpstream(ctx context.Context, identity *demoIdentity) (*demoUpstream, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo upstream: %w", err)
	}
	u := &demoUpstream{url: "http://" + listener.Addr().String()}
	u.server = &http.Server{
		Handler:           httpbin.New(httpbin.WithEnv(nil)),
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // what fails here, fails at the caller, who says so
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				u.opened.Add(1)
			}
		},
	}
	u.server.Protocols.SetHTTP1(true)
	if identity != nil {
		u.url = "https://" + listener.Addr().String()
		u.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{identity.certificate}, MinVersion: tls.VersionTLS12}
		listener = tls.NewListener(listener, u.server.TLSConfig)
	}
	go u.server.Serve(listener) //nolint:errcheck // always http.ErrServerClosed, by close
	return u, nil
}

func (u *demoUpstream) close() { u.server.Close() } //nolint:errcheck,gosec // nothing is left to do about it

// httpbinVersion is the version of go-httpbin that was built in.
func httpbinVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == httpbinModule {
				return module.Version
			}
		}
	}
	return "(version unknown)"
}

// demoIdentity is a certificate for 127.0.0.1 that is its own authority and
// lives as long as the process.
type demoIdentity struct {
	certificate tls.Certificate
	pem         []byte
	roots       *x509.CertPool
}

func newIdentity() (*demoIdentity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("demo certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "warmpool demo"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(30 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("demo certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("demo certificate: %w", err)
	}
	id := &demoIdentity{
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		pem:         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		roots:       x509.NewCertPool(),
	}
	id.roots.AddCert(leaf)
	return id, nil
}
