package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestPublicCertificatesAreTrustedWhereTheSystemHasNone(t *testing.T) {
	const child = "WARMPOOL_TEST_ROOTS"
	if os.Getenv(child) != "" {
		_, err := (&x509.Certificate{}).Verify(x509.VerifyOptions{})
		if _, none := err.(x509.SystemRootsError); none {
			t.Fatal(err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil || pool.Equal(x509.NewCertPool()) {
			t.Fatalf("no roots: %v", err)
		}
		return
	}
	nowhere := filepath.Join(t.TempDir(), "none")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1", "SSL_CERT_FILE="+nowhere, "SSL_CERT_DIR="+nowhere)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
