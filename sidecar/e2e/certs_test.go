package e2e

import (
	"crypto/tls"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/tlstest"
)

// certificates are files of an authority made for one test, and of a server's certificate for 127.0.0.1 and localhost.
type certificates struct {
	ca, cert, key string
	pair          tls.Certificate
}

func makeCertificates(t *testing.T) certificates {
	t.Helper()
	authority := tlstest.New(t)
	own := authority.Sign(t, "localhost", "127.0.0.1")
	return certificates{ca: authority.File, cert: own.CertFile, key: own.KeyFile, pair: own.Certificate}
}
