package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// crowdConfig lets 1,000 callers share 8 connections.
const crowdConfig = `
upstreams:
  - name: nginx
    url: http://%[1]s
    connections: {max: 8}
    queue: {max_waiting: 1000, max_wait: 30s}
  - name: haproxy
    url: http://%[2]s
    connections: {max: 8}
    queue: {max_waiting: 1000, max_wait: 30s}
  - name: httpbin-tls
    url: https://%[3]s
    tls: {ca_file: %[4]s}
    connections: {max: 8}
    queue: {max_waiting: 1000, max_wait: 30s}
`

func TestAThousandCallersShareEightConnections(t *testing.T) {
	const callers, connections = 1000, 8
	certs := makeCertificates(t)
	a := startApp(t, certs)
	n := startNginx(t, a, certs, nginxSettings{})
	h := startHAProxy(t, n)
	s := startSidecar(t, crowdConfig, loopback(n.plain), loopback(h.port), a.tls.addr, certs.ca)
	for _, front := range []front{goUnix, nodeTCP} {
		c := front.open(t, s)
		for _, upstream := range []string{"nginx", "haproxy", "httpbin-tls"} {
			t.Run(upstream+" through "+front.name, func(t *testing.T) {
				responses := crowd(t, callers, func(ctx context.Context, i int) (*warmpoolv1.HttpResponse, error) {
					return ownAnswer(ctx, c, upstream, i)
				})
				seen := 0 // connections, as the server counts them
				switch upstream {
				case "nginx":
					seen = nginxConnections(responses)
				case "haproxy":
					seen = h.mostConnections(t)
				case "httpbin-tls":
					seen = int(a.tls.most.Load())
				}
				if seen < 1 || seen > connections {
					t.Errorf("%s counts %d connections, want 1 to %d", upstream, seen, connections)
				}
				t.Logf("%d callers, %d connections", callers, seen)
			})
		}
	}
}

// nginxConnections counts the connections that nginx has given the responses on.
func nginxConnections(responses []*warmpoolv1.HttpResponse) int {
	used := make(map[string]bool)
	for _, r := range responses {
		for _, id := range valuesOf(r.GetHeaders(), "X-Connection") {
			used[id] = true
		}
	}
	return len(used)
}

// ownAnswer asks httpbin for an answer that names caller i, and takes a while, so that callers gather.
func ownAnswer(ctx context.Context, c caller, upstream string, i int) (*warmpoolv1.HttpResponse, error) {
	r, err := c.Send(ctx, &warmpoolv1.HttpRequest{Upstream: upstream, Path: fmt.Sprintf("/delay/5ms?caller=caller-%d", i)})
	if err != nil {
		return nil, err
	}
	if own := fmt.Sprintf(`"caller-%d"`, i); r.GetStatus() != 200 || !strings.Contains(string(r.GetBody()), own) {
		return nil, fmt.Errorf("status %d, the answer is not for %s: %.500s", r.GetStatus(), own, r.GetBody())
	}
	return r, nil
}

// crowd makes n calls at once, which all must be answered.
func crowd(t *testing.T, n int, call func(ctx context.Context, i int) (*warmpoolv1.HttpResponse, error)) []*warmpoolv1.HttpResponse {
	t.Helper()
	var (
		wg        sync.WaitGroup
		begin     = make(chan struct{})
		responses = make([]*warmpoolv1.HttpResponse, n)
		errs      = make([]error, n)
	)
	for i := range n {
		wg.Go(func() {
			<-begin
			responses[i], errs[i] = call(t.Context(), i)
		})
	}
	close(begin)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("%.4000s", err)
	}
	return responses
}
