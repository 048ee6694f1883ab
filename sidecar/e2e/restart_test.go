package e2e

import (
	"syscall"
	"testing"
)

// restartConfig allows more retries than the defaults: a server that goes down resets the connections that wait for it to
// accept them, so that a request may well meet the end twice, and all requests meet it at once.
const restartConfig = `
upstreams:
  - name: nginx
    url: http://%[1]s
    connections: {max: 8}
    queue: {max_wait: 10s}
    retry: {max_attempts: 4, min_budget: 100}
  - name: nginx-tls
    url: https://%[2]s
    tls: {ca_file: %[3]s}
    connections: {max: 8}
    queue: {max_wait: 10s}
    retry: {max_attempts: 4, min_budget: 100}
`

func TestNoIdempotentRequestIsLostWhenNginxIsReloadedOrRestarted(t *testing.T) {
	certs := makeCertificates(t)
	n := startNginx(t, startApp(t, certs), certs, nginxSettings{})
	s := startSidecar(t, restartConfig, loopback(n.plain), loopback(n.tls), certs.ca)
	c := openGo(t, s.unix)
	for _, upstream := range []string{"nginx", "nginx-tls"} {
		for _, disturbance := range []struct {
			name    string
			disturb func(*testing.T)
		}{
			{"reload", n.reload},
			{"stop that lets requests finish, and start", n.restartAfter(syscall.SIGQUIT)},
			{"stop that does not, and start", n.restartAfter(syscall.SIGTERM)},
		} {
			t.Run(upstream+" "+disturbance.name, func(t *testing.T) {
				l := &load{upstream: upstream, caller: c}
				l.run(t, 16, func() {
					for range 3 {
						disturbance.disturb(t)
						l.await(t, 200)
					}
				})
				l.judge(t, n)
			})
		}
	}
}
