package e2e

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

const idleConfig = `
upstreams:
  - name: nginx
    url: http://%[1]s
    connections: {max: 64}
`

// The server closes what was idle for a second; callers come back after about as long, so that requests and closes meet.
func TestRequestsThatMeetTheServersIdleTimeoutAreNotLost(t *testing.T) {
	t.Parallel()
	n, s := startIdle(t, nginxSettings{keepaliveTimeout: "1s"})
	l := &load{upstream: "nginx", caller: openGo(t, s.unix)}
	l.pause = func(ctx context.Context) {
		select {
		case <-time.After(999*time.Millisecond + rand.N(2*time.Millisecond)):
		case <-ctx.Done():
		}
	}
	l.run(t, 64, func() { l.await(t, 3*64) })
	l.judge(t, n)
}

// The server ends each connection with its tenth answer, which says so: nothing may fail, not even what must not be sent
// again.
func TestNothingFailsWhenTheServerEndsEachConnectionAfterTenRequests(t *testing.T) {
	t.Parallel()
	n, s := startIdle(t, nginxSettings{keepaliveRequests: "10"})
	l := &load{upstream: "nginx", caller: openGo(t, s.unix)}
	l.run(t, 16, func() { l.await(t, 1000) })
	if failed := l.judge(t, n); failed > 0 {
		t.Errorf("%d POST failed, want none", failed)
	}
}

func startIdle(t *testing.T, settings nginxSettings) (*nginx, *sidecar) {
	t.Helper()
	certs := makeCertificates(t)
	n := startNginx(t, startApp(t, certs), certs, settings)
	return n, startSidecar(t, idleConfig, loopback(n.plain))
}
