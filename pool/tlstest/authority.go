// Package tlstest makes certificates for tests: an authority that exists as long as
// its test, and what it signs, as files and as values.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Authority signs certificates for one test.
type Authority struct {
	Certificate *x509.Certificate
	// File is its certificate, PEM.
	File string

	key  *ecdsa.PrivateKey
	dir  string
	made int
}

// Identity is a certificate, of a server and a client alike, and its key.
type Identity struct {
	tls.Certificate
	CertFile, KeyFile string // the same, PEM
}

// New makes an authority, valid for a day.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{dir: t.TempDir()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "tlstest authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	a.Certificate, a.key = a.issue(t, template, template, nil)
	a.File = a.write(t, "ca.pem", "CERTIFICATE", a.Certificate.Raw)
	return a
}

// Roots has the authority alone.
func (a *Authority) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate)
	return roots
}

// Sign makes a certificate for DNS names and IP addresses, valid for a day. The
// first is its common name.
func (a *Authority) Sign(t testing.TB, names ...string) Identity {
	t.Helper()
	return a.SignUntil(t, time.Now().Add(24*time.Hour), names...)
}

// SignUntil is Sign with another end, which may lie in the past.
func (a *Authority) SignUntil(t testing.TB, end time.Time, names ...string) Identity {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   end.Add(-48 * time.Hour), NotAfter: end,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	leaf, key := a.issue(t, template, a.Certificate, a.key)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.made++
	file := names[0] + "-" + strconv.Itoa(a.made)
	return Identity{
		Certificate: tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf},
		CertFile:    a.write(t, file+".pem", "CERTIFICATE", leaf.Raw),
		KeyFile:     a.write(t, file+"-key.pem", "PRIVATE KEY", encoded),
	}
}

// issue makes a certificate and its key, signed by the key of parent, or, where
// that is nil, by its own.
func (a *Authority) issue(t testing.TB, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (a *Authority) write(t testing.TB, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
