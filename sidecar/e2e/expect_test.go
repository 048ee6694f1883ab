package e2e

import (
	"context"
	"testing"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

const expectConfig = `
upstreams:
  - name: patient
    url: https://%[1]s
    tls: {ca_file: %[2]s}
    timeouts: {expect_continue: 30s}
  - name: hasty
    url: https://%[1]s
    tls: {ca_file: %[2]s}
    timeouts: {expect_continue: 0s}
`

// Both servers ask for the body as soon as they have the head, which may be before the sidecar has done with writing it;
// and with no time to wait for that, the body follows its head.
func TestABodyThatIsWithheldLeavesAsSoonAsItMay(t *testing.T) {
	t.Parallel()
	certs := makeCertificates(t)
	a := startApp(t, certs)
	n := startNginx(t, a, certs, nginxSettings{})
	for name, addr := range map[string]string{"nginx": loopback(n.tls), "httpbin": a.tls.addr} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSidecar(t, expectConfig, addr, certs.ca)
			c := openGo(t, s.unix)
			for _, upstream := range []string{"patient", "hasty"} {
				t.Run(upstream, func(t *testing.T) {
					for range 200 {
						r := &warmpoolv1.HttpRequest{
							Upstream: upstream, Method: "POST", Path: "/own/echo", Body: pattern(100),
							Headers: []*warmpoolv1.Header{header("Expect", "100-continue")},
						}
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						response, err := c.Send(ctx, r)
						cancel()
						if err != nil {
							t.Fatal(err)
						}
						sameBody(t, response.GetBody(), r.GetBody())
					}
				})
			}
		})
	}
}
