package e2e

import (
	"crypto/tls"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
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

// Of a certificate that has expired the caller, the log and the command tell which one
// it is, since when, and what to do.
func TestACertificateThatHasExpiredIsNamedWithItsDate(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	authority := tlstest.New(t)
	end := time.Now().Add(time.Hour - 3*day)
	expired := authority.SignUntil(t, end, "payments.internal", "127.0.0.1")
	origin := serveApp(t, http.NotFoundHandler(), &tls.Config{Certificates: []tls.Certificate{expired.Certificate}})
	s := startSidecar(t, "upstreams: [{name: payments, url: 'https://%s', tls: {ca_file: '%s'}}]", origin.addr, authority.File)
	words := []string{
		origin.addr, `the certificate "payments.internal", issued by "tlstest authority", expired at ` + end.UTC().Format(time.RFC3339) + ", 2 days ago",
	}
	c := goUnix.open(t, s)
	_, err := c.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: "payments", Path: "/"})
	expectFailure(t, err, codes.Unavailable, warmpoolv1.Reason_REASON_TLS_FAILED, warmpoolv1.Delivery_DELIVERY_NOT_SENT, words...)
	s.logs(t, "expired at")

	out, err := exec.Command(warmpool(t), "send", "-s", s.unix, "payments", "/").CombinedOutput()
	if err == nil {
		t.Error("the command succeeded")
	}
	for _, text := range append(words, "TLS_FAILED", "have that certificate renewed") {
		if !strings.Contains(string(out), text) {
			t.Errorf("the command does not say %q:\n%s", text, out)
		}
	}
}
