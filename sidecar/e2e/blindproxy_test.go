package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// blindProxy is a proxy of the kind that RFC 9112, C.2.2, warns of. It passes a request's head on as it came, Connection
// with it, and hands back what the server sends until the server closes. Only then does it look at its client again, so
// that a second request on the connection is never seen.
type blindProxy struct {
	addr     string
	to       string
	accepted atomic.Int64 // connections from clients
	requests atomic.Int64
	named    atomic.Int64 // of these, that had a Connection field, which was passed on
}

func startBlindProxy(t *testing.T, to string) *blindProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &blindProxy{addr: l.Addr().String(), to: to}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			serving.Go(func() { p.serve(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		serving.Wait()
	})
	return p
}

// serve is one connection: one request, as it turns out.
func (p *blindProxy) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	defer context.AfterFunc(ctx, func() { _ = client.Close() })()
	in := bufio.NewReader(client)
	var head bytes.Buffer
	body := 0
	for head.Len() == 0 || !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(line)), ":")
		switch name {
		case "content-length":
			_, _ = fmt.Sscan(value, &body)
		case "connection":
			p.named.Add(1)
		}
		head.WriteString(line)
	}
	p.requests.Add(1)
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if _, err := server.Write(head.Bytes()); err != nil {
		return
	}
	if _, err := io.CopyN(server, in, int64(body)); err != nil {
		return
	}
	_, _ = io.Copy(client, server)
}

const blindConfig = `
upstreams:
  - name: chain
    url: http://%[1]s
    connections: {max: 4}
    timeouts: {response_head: 300ms}
`

// askInARow sends n requests one after another, every second one a POST, and returns how many failed. An answer is the one to
// its own request.
func askInARow(t *testing.T, c caller, n int) (failed int) {
	t.Helper()
	for i := range n {
		body := fmt.Sprintf("request %d", serial.Add(1))
		r := &warmpoolv1.HttpRequest{Upstream: "chain", Method: "POST", Path: "/own/echo", Body: []byte(body)}
		if i%2 == 0 {
			r.Method, r.Path, r.Body, body = "GET", "/own/bytes?n=100", nil, string(pattern(100))
		}
		ctx, cancel := context.WithTimeout(t.Context(), callLimit)
		response, err := c.Send(ctx, r)
		cancel()
		switch {
		case err != nil:
			failed++
			if f := failureIn(err); f.GetReason() != warmpoolv1.Reason_REASON_RESPONSE_TIMEOUT {
				t.Errorf("%s: %v", r.GetMethod(), err)
			}
		case response.GetStatus() != 200 || string(response.GetBody()) != body:
			t.Errorf("%s: status %d, %d bytes, want 200 and its own answer", r.GetMethod(), response.GetStatus(), len(response.GetBody()))
		}
	}
	return failed
}

// The blind one is in front of a correct one, as the sidecar sees it: every connection's second request hangs. That is
// noticed, said, and from then on each connection carries one exchange, which says so; and as the blind one passes even
// that on, the chain works.
func TestABlindProxyInFrontOfACorrectOneLosesAFewRequestsAndThenNone(t *testing.T) {
	t.Parallel()
	certs := makeCertificates(t)
	n := startNginx(t, startApp(t, certs), certs, nginxSettings{})
	blind := startBlindProxy(t, loopback(n.plain))
	s := startSidecar(t, blindConfig, blind.addr)
	c := openGo(t, s.unix)
	if failed := askInARow(t, c, 8); failed != 3 {
		t.Errorf("%d of the first requests failed, want 3: what hangs must be seen so often", failed)
	}
	if text := s.process.log.String(); strings.Count(text, "carry one request each") != 1 ||
		!strings.Contains(text, blind.addr) || !strings.Contains(text, "never its second") {
		t.Errorf("the log does not say once what is wrong with %s:\n%s", blind.addr, text)
	}
	before, named := blind.accepted.Load(), blind.named.Load()
	const more = 40
	if failed := askInARow(t, c, more); failed > 0 {
		t.Errorf("%d of %d requests failed after that", failed, more)
	}
	if opened, closing := blind.accepted.Load()-before, blind.named.Load()-named; opened != more || closing != more {
		t.Errorf("%d requests came on %d connections, %d of them said close", more, opened, closing)
	}
}

const closingHAProxy = `
global
  maxconn 1000

defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option http-server-close

frontend front
  bind 127.0.0.1:%[1]d
  default_backend blind

backend blind
  server blind %[2]s
`

// A correct one is in front, and keeps what concerns a connection to that connection: nothing is noticed of the blind one
// behind it, and all requests come on one connection.
func TestABlindProxyBehindACorrectOneChangesNothing(t *testing.T) {
	t.Parallel()
	a := startApp(t, makeCertificates(t))
	blind := startBlindProxy(t, a.plain.addr)
	path, dir, port := program(t, "haproxy", "haproxy"), folder(t), freePort(t)
	config := filepath.Join(dir, "haproxy.cfg")
	writeFile(t, config, fmt.Sprintf(closingHAProxy, port, blind.addr))
	proxy := start(t, "haproxy", exec.Command(path, "-db", "-f", config))
	if err := proxy.accepts(t.Context(), loopback(port)); err != nil {
		t.Fatal(err)
	}
	s := startSidecar(t, blindConfig, loopback(port))
	c := openGo(t, s.unix)
	const n = 40
	begun := time.Now()
	if failed := askInARow(t, c, n); failed > 0 {
		t.Errorf("%d of %d requests failed", failed, n)
	}
	if asked := blind.requests.Load(); asked != n || blind.accepted.Load() != n {
		t.Errorf("the blind proxy took %d requests on %d connections, want %d", asked, blind.accepted.Load(), n)
	}
	if text := s.process.log.String(); strings.Contains(text, "carry one request each") {
		t.Errorf("the log says of the correct proxy:\n%s", text)
	}
	receipt := must(t, c, &warmpoolv1.HttpRequest{Upstream: "chain", Path: "/own/bytes?n=1", Options: &warmpoolv1.RequestOptions{Receipt: true}}).GetReceipt()
	if receipt.GetConnectionExchanges() != n {
		t.Errorf("the connection had carried %d exchanges, want %d", receipt.GetConnectionExchanges(), n)
	}
	t.Logf("%d requests in %v", n, time.Since(begun).Round(time.Millisecond))
}
