package e2e

import (
	"slices"
	"testing"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// matrixConfig names one upstream of each kind.
const matrixConfig = `
upstreams:
  - name: nginx
    url: http://%[1]s
  - name: nginx-tls
    url: https://%[2]s
    tls: {ca_file: %[6]s}
  - name: haproxy
    url: http://%[3]s
  - name: httpbin
    url: http://%[4]s
  - name: httpbin-tls
    url: https://%[5]s
    tls: {ca_file: %[6]s}
`

// An upstreamKind is one row of the matrix.
type upstreamKind struct {
	name  string
	nginx bool // nginx's own routes can be reached through it
}

var upstreamKinds = []upstreamKind{{"nginx", true}, {"nginx-tls", true}, {"haproxy", true}, {"httpbin", false}, {"httpbin-tls", false}}

// A feature is something that must work with every upstream and every client.
type feature struct {
	name  string
	nginx bool // needs nginx's own routes
	test  func(u target)
}

// target is one cell of the matrix, for one test.
type target struct {
	*testing.T
	caller
	upstream upstreamKind
}

// request makes a request to the cell's upstream.
func (u target) request(method, path string, headers ...*warmpoolv1.Header) *warmpoolv1.HttpRequest {
	return &warmpoolv1.HttpRequest{Upstream: u.upstream.name, Method: method, Path: path, Headers: headers}
}

// get sends a GET that must be answered with the status.
func (u target) get(status uint32, path string, headers ...*warmpoolv1.Header) *warmpoolv1.HttpResponse {
	u.Helper()
	return u.expect(status, u.request("GET", path, headers...))
}

// expect sends a request that must be answered with the status.
func (u target) expect(status uint32, r *warmpoolv1.HttpRequest) *warmpoolv1.HttpResponse {
	u.Helper()
	response := must(u.T, u, r)
	if response.GetStatus() != status {
		u.Fatalf("%s %s: status %d, want %d\n%v\n%.200q", r.GetMethod(), r.GetPath(), response.GetStatus(), status, response.GetHeaders(), response.GetBody())
	}
	return response
}

func TestEveryClientGetsEveryKindOfAnswerFromEveryUpstream(t *testing.T) {
	t.Parallel()
	certs := makeCertificates(t)
	a := startApp(t, certs)
	n := startNginx(t, a, certs, nginxSettings{})
	h := startHAProxy(t, n)
	s := startSidecar(t, matrixConfig, loopback(n.plain), loopback(n.tls), loopback(h.port), a.plain.addr, a.tls.addr, certs.ca)
	for _, front := range allFronts {
		t.Run(front.name, func(t *testing.T) {
			t.Parallel()
			c := front.open(t, s)
			for _, kind := range upstreamKinds {
				for _, f := range slices.Concat(bodyFeatures, messageFeatures) {
					if !f.nginx || kind.nginx {
						t.Run(kind.name+": "+f.name, func(t *testing.T) { f.test(target{t, c, kind}) })
					}
				}
			}
		})
	}
}
