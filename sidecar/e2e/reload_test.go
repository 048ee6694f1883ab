package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// reloads is a sidecar whose file is read again on SIGHUP and on request.
type reloads struct {
	*sidecar

	pool warmpoolv1.PoolServiceClient
}

// config is what GetConfig says now.
func (r *reloads) config(t *testing.T) *warmpoolv1.ConfigStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	answer, err := r.pool.GetConfig(ctx, &warmpoolv1.GetConfigRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetStatus()
}

// becomes waits until GetConfig says what is wanted.
func (r *reloads) becomes(t *testing.T, what string, is func(*warmpoolv1.ConfigStatus) bool) *warmpoolv1.ConfigStatus {
	t.Helper()
	for end := time.Now().Add(callLimit); ; <-time.After(pollPause) {
		now := r.config(t)
		if is(now) {
			return now
		}
		if time.Now().After(end) {
			t.Fatalf("%s: the configuration stays %v", what, now)
		}
	}
}

// hangUp sends SIGHUP and waits until a file was applied for it.
func (r *reloads) hangUp(t *testing.T) {
	t.Helper()
	before := r.config(t).GetGeneration()
	r.process.signal(syscall.SIGHUP)
	r.becomes(t, "after SIGHUP", func(c *warmpoolv1.ConfigStatus) bool {
		return c.GetGeneration() > before && len(c.GetErrors()) == 0
	})
}

// ask calls ReloadConfig.
func (r *reloads) ask(t *testing.T) (*warmpoolv1.ReloadConfigResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	return r.pool.ReloadConfig(ctx, &warmpoolv1.ReloadConfigRequest{})
}

// The file is changed in everything that takes effect while requests are served, is broken, and is put right, time and
// again; it is read on SIGHUP and by ReloadConfig. No call fails.
func TestReloadsUnderLoadFailNoCall(t *testing.T) {
	l := startLedger(t)
	moved := serveApp(t, l, nil) // the same origin at another address
	p := startOnPaths(t, l, "30s")
	r := &reloads{sidecar: p.sidecar, pool: warmpoolv1.NewPoolServiceClient(dialTarget(t, p.control))}
	text, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	first := string(text)
	with := func(from, to string) string {
		if !strings.Contains(first, from) {
			t.Fatalf("the file does not hold %q", from)
		}
		return strings.Replace(first, from, to, 1)
	}
	const floor = "connections: {warm: 4}"
	files := []string{
		with("http://"+l.addr, "http://"+moved.addr),
		with(floor, "connections: {warm: 1, max: 3, max_lifetime: 1s}"),
		with(floor, "connections: {warm: 20, max_requests: 5}\n    pipelining: {depth: 4}"),
		with("log: {format: text}", "log: {format: text, level: warn}\ncallers: {max_in_flight: 20, max_waiting: 10000, max_wait: 30s}"),
		first + "  - name: other\n    url: http://" + moved.addr + "\n    connections: {warm: 2}\n",
		first,
	}
	tr := newMixture(t, l, p.unix, 0)
	tr.run(t, func() {
		for round := range 4 {
			for _, file := range files {
				writeFile(t, p.file, file)
				if round%2 == 0 {
					r.hangUp(t)
				} else if _, err := r.ask(t); err != nil {
					t.Error(err)
				}
				tr.await(t, 50)
			}
			writeFile(t, p.file, "upstreams: [}\n")
			if round%2 == 0 {
				p.process.signal(syscall.SIGHUP)
			} else if _, err := r.ask(t); status.Code(err) != codes.InvalidArgument {
				t.Errorf("a broken file: %v", err)
			}
			r.becomes(t, "after a broken file", func(c *warmpoolv1.ConfigStatus) bool { return len(c.GetErrors()) > 0 })
			tr.await(t, 50)
		}
	})
	tr.judge(t, judgement{succeeded: true})
	t.Logf("%d files were applied", r.config(t).GetGeneration()-1)
}

const tlsConfig = `
listen: ["tcp://%[2]s"]
control: ["unix://%[1]s/control.sock"]
admin: "off"
log: {format: text}
tls: {cert_file: cert.pem, key_file: key.pem}
upstreams:
  - name: app
    url: http://%[3]s
`

// A renewed certificate is shown to those who connect from then on, and disturbs nobody who is connected. A pair that is
// none changes nothing, and is told.
func TestARenewedCertificateIsShownToNewConnections(t *testing.T) {
	l := startLedger(t)
	dir := folder(t)
	first, second, third := makeCertificates(t), makeCertificates(t), makeCertificates(t)
	put := func(cert, key string) {
		t.Helper()
		for from, to := range map[string]string{cert: "cert.pem", key: "key.pem"} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, to), string(text))
		}
	}
	put(first.cert, first.key)
	file, port := filepath.Join(dir, "warmpool.yaml"), loopback(freePort(t))
	writeFile(t, file, fmt.Sprintf(tlsConfig, dir, port, l.addr))
	s := &sidecar{file: file, tcp: port}
	s.begin(t)
	if err := s.process.accepts(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	r := &reloads{sidecar: s, pool: warmpoolv1.NewPoolServiceClient(dialTarget(t, "unix://"+dir+"/control.sock"))}

	early := tlsCaller(t, port, first)
	early.sends(t, first)
	put(second.cert, second.key)
	r.hangUp(t)
	tlsCaller(t, port, second).sends(t, second)
	early.sends(t, first) // on the connection that it has
	if err := tlsCaller(t, port, first).send(t); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("who trusts the old certificate's authority alone: %v", err)
	}

	put(third.cert, first.key) // which is another's key
	before := r.config(t).GetGeneration()
	_, err := r.ask(t)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "tls.key_file") {
		t.Errorf("a pair that is none: %v", err)
	}
	now := r.config(t)
	if now.GetGeneration() != before || len(now.GetErrors()) == 0 || now.GetErrors()[0].GetPath() != "tls.key_file" {
		t.Errorf("after a pair that is none: %v", now)
	}
	s.logs(t, "configuration refused")
	tlsCaller(t, port, second).sends(t, second)

	put(third.cert, third.key)
	r.becomes(t, "without a word", func(c *warmpoolv1.ConfigStatus) bool { return c.GetGeneration() > before && len(c.GetErrors()) == 0 })
	tlsCaller(t, port, third).sends(t, third)
	early.sends(t, first)
}

// overTLS is a caller with a connection of its own.
type overTLS struct{ client warmpoolv1.HttpServiceClient }

// tlsCaller makes one that trusts the authority of c.
func tlsCaller(t *testing.T, addr string, c certificates) overTLS {
	t.Helper()
	text, err := os.ReadFile(c.ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return overTLS{warmpoolv1.NewHttpServiceClient(conn)}
}

func (o overTLS) send(t *testing.T, options ...grpc.CallOption) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	_, err := o.client.Send(ctx, &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "app"}}, options...)
	return err
}

// sends carries out a call and expects the sidecar to have shown the certificate of c.
func (o overTLS) sends(t *testing.T, c certificates) {
	t.Helper()
	var other peer.Peer
	if err := o.send(t, grpc.Peer(&other)); err != nil {
		t.Error(err)
		return
	}
	shown := other.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0]
	if want := c.pair.Certificate[0]; string(shown.Raw) != string(want) {
		t.Errorf("the sidecar has shown certificate %v of %v", shown.SerialNumber, shown.NotBefore)
	}
}
