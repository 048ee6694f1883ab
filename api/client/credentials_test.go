package client_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/tlstest"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// onTCP starts a sidecar on a TCP port of loopback and changes its configuration
// before.
func onTCP(t *testing.T, change func(*warmpoolv1.Config)) *house {
	t.Helper()
	cfg := &warmpoolv1.Config{
		Listen: []string{"tcp://127.0.0.1:0"}, Control: []string{"off"}, Admin: "off",
		Upstreams: []*warmpoolv1.Upstream{web(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })},
	}
	change(cfg)
	return startWith(t, config.WithDefaults(cfg))
}

func secret(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAClientShowsItsCertificateAndKnowsTheSidecarByIts(t *testing.T) {
	a := tlstest.New(t)
	own, shop, other := a.Sign(t, "sidecar.internal"), a.Sign(t, "shop.internal"), a.Sign(t, "other.internal")
	h := onTCP(t, func(c *warmpoolv1.Config) {
		c.Tls = &warmpoolv1.ListenerTls{CertFile: own.CertFile, KeyFile: own.KeyFile, ClientCaFile: a.File}
		c.Allow = []*warmpoolv1.Allow{{Certificate: "shop.internal", Upstreams: []string{"web"}}}
	})
	right := client.Credentials{CAFile: a.File, CertFile: shop.CertFile, KeyFile: shop.KeyFile, ServerName: "sidecar.internal"}
	for _, options := range [][]client.Option{nil, {client.Streaming()}} {
		response, err := dial(t, h.socket, append(options, client.Secured(right))...).Do(t.Context(), request(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, response); got != "hello" {
			t.Errorf("the body is %q", got)
		}
	}

	another := tlstest.New(t)
	for _, c := range []struct {
		name   string
		change func(*client.Credentials)
		says   string // of several, what the end of the connection let through
	}{
		{"a sidecar of another authority", func(c *client.Credentials) { c.CAFile = another.File }, "certificate signed by unknown authority"},
		{"a sidecar of another name", func(c *client.Credentials) { c.ServerName = "warmpool.internal" }, "certificate is valid for sidecar.internal, not warmpool.internal"},
		{"no name, with an address for a target", func(c *client.Credentials) { c.ServerName = "" }, "127.0.0.1"},
		{"no certificate", func(c *client.Credentials) { c.CertFile, c.KeyFile = "", "" }, ""},
		{"no TLS", func(c *client.Credentials) { *c = client.Credentials{} }, ""},
	} {
		credentials := right
		c.change(&credentials)
		_, err := dial(t, h.socket, client.Secured(credentials), client.Patience(0)).Do(t.Context(), request(t, "GET", "/", nil))
		if !errors.Is(err, client.ErrNoSidecar) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want no sidecar and %q", c.name, err, c.says)
		}
	}

	wrong := right
	wrong.CertFile, wrong.KeyFile = other.CertFile, other.KeyFile
	_, err := dial(t, h.socket, client.Secured(wrong)).Do(t.Context(), request(t, "GET", "/", nil))
	if f, ok := errors.AsType[*client.Failure](err); !ok || f.Reason != warmpoolv1.Reason_REASON_NOT_ALLOWED {
		t.Errorf("a certificate that no rule knows: %v", err)
	}
}

func TestACertificateThatIsReplacedIsShownByTheNextConnection(t *testing.T) {
	a := tlstest.New(t)
	own, first, second := a.Sign(t, "127.0.0.1"), a.Sign(t, "first.internal"), a.Sign(t, "second.internal")
	h := onTCP(t, func(c *warmpoolv1.Config) {
		c.Tls = &warmpoolv1.ListenerTls{CertFile: own.CertFile, KeyFile: own.KeyFile, ClientCaFile: a.File}
		c.Allow = []*warmpoolv1.Allow{{Certificate: "second.internal", Upstreams: []string{"web"}}}
	})
	credentials := client.Credentials{CAFile: a.File, CertFile: first.CertFile, KeyFile: first.KeyFile}
	conn, err := client.Connect(h.socket, credentials)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for from, to := range map[string]string{second.CertFile: first.CertFile, second.KeyFile: first.KeyFile} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	in := &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web"}}
	if _, err := warmpoolv1.NewHttpServiceClient(conn).Send(t.Context(), in); err != nil {
		t.Error(err)
	}
}

func TestATokenGoesWithEveryCallAndIsReadAgain(t *testing.T) {
	const right = "correct-horse-battery-staple"
	file := secret(t, right+"\n")
	h := onTCP(t, func(c *warmpoolv1.Config) {
		c.Allow = []*warmpoolv1.Allow{{TokenFile: file, Upstreams: []string{"web"}}}
	})
	mine := secret(t, "wrong-horse-battery-staple")
	c := dial(t, h.socket, client.Secured(client.Credentials{TokenFile: mine}))
	streaming := dial(t, h.socket, client.Secured(client.Credentials{TokenFile: mine}), client.Streaming())
	for _, one := range []*client.Client{c, streaming} {
		_, err := one.Do(t.Context(), request(t, "GET", "/", nil))
		if f, ok := errors.AsType[*client.Failure](err); !ok || f.Reason != warmpoolv1.Reason_REASON_NOT_ALLOWED {
			t.Errorf("a wrong token: %v", err)
		}
	}
	if err := os.WriteFile(mine, []byte(right), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, one := range []*client.Client{c, streaming} {
		for end := time.Now().Add(patience); ; { // its file is read once a second at most
			response, err := one.Do(t.Context(), request(t, "GET", "/", nil))
			if err == nil {
				body(t, response)
				break
			}
			if time.Now().After(end) {
				t.Fatalf("a token that was replaced: %v", err)
			}
		}
	}
}

func TestNothingIsConnectedWithCredentialsThatAreWrong(t *testing.T) {
	a := tlstest.New(t)
	one, two := a.Sign(t, "one.internal"), a.Sign(t, "two.internal")
	token, none := secret(t, "a-token"), filepath.Join(t.TempDir(), "none")
	const far, socket = "tcp://sidecar.internal:7600", "unix:///run/warmpool/warmpool.sock"
	for _, c := range []struct {
		target      string
		credentials client.Credentials
		field, says string
	}{
		{far, client.Credentials{CAFile: none}, "CAFile", "there is no such file"},
		{far, client.Credentials{CAFile: token}, "CAFile", "holds no certificate"},
		{far, client.Credentials{CAFile: t.TempDir()}, "CAFile", "is a directory"},
		{far, client.Credentials{CertFile: one.CertFile}, "CertFile", "KeyFile is missing"},
		{far, client.Credentials{KeyFile: one.KeyFile}, "KeyFile", "CertFile is missing"},
		{far, client.Credentials{CertFile: none, KeyFile: one.KeyFile}, "CertFile", "there is no such file"},
		{far, client.Credentials{CertFile: one.CertFile, KeyFile: none}, "KeyFile", "there is no such file"},
		{far, client.Credentials{CertFile: one.CertFile, KeyFile: two.KeyFile}, "CertFile", "it is no certificate of the key in " + two.KeyFile},
		{socket, client.Credentials{TLS: true}, "TLS", "has no TLS"},
		{socket, client.Credentials{CAFile: a.File}, "CAFile", "has no TLS"},
		{socket, client.Credentials{ServerName: "sidecar.internal"}, "ServerName", "has no TLS"},
		{socket, client.Credentials{TokenFile: none}, "TokenFile", "there is no such file"},
		{socket, client.Credentials{TokenFile: secret(t, " \n")}, "TokenFile", "holds no token"},
		{socket, client.Credentials{TokenFile: secret(t, "two tokens")}, "TokenFile", "more than one token"},
		{far, client.Credentials{TokenFile: token}, "TokenFile", "in the clear to " + far},
		{"tcp://10.1.2.3:7600", client.Credentials{TokenFile: token}, "TokenFile", "in the clear"},
		{"sidecar.internal:7600", client.Credentials{TokenFile: token}, "TokenFile", "in the clear"},
		{"dns:///sidecar.internal:7600", client.Credentials{TokenFile: token}, "TokenFile", "in the clear"},
		{"passthrough:///10.1.2.3:7600", client.Credentials{TokenFile: token}, "TokenFile", "in the clear"},
		{"localhost.internal", client.Credentials{TokenFile: token}, "TokenFile", "in the clear"},
	} {
		_, err := client.Dial(c.target, client.Secured(c.credentials))
		wrong, ok := errors.AsType[*client.CredentialsError](err)
		if !ok || wrong.Field != c.field || !strings.Contains(wrong.Err.Error(), c.says) {
			t.Errorf("%s with %+v: %v, want %s and %q", c.target, c.credentials, err, c.field, c.says)
		}
	}
	for _, target := range []string{
		socket, "tcp://127.0.0.1:7600", "tcp://[::1]:7600", "tcp://localhost:7600", "localhost:7600", "dns:///127.0.0.1:7600", "tcp://:7600", "tcp://0.0.0.0:7600", "tcp://[::]:7600",
	} {
		dial(t, target, client.Secured(client.Credentials{TokenFile: token}))
	}
	dial(t, far, client.Secured(client.Credentials{TokenFile: token, TLS: true}))
	dial(t, far, client.Secured(client.Credentials{TokenFile: token, DangerouslySendTokenInClear: true}))
}

func TestAListenersAddressIsATarget(t *testing.T) {
	h := onTCP(t, func(c *warmpoolv1.Config) {
		c.Listen, c.DangerouslyUnprotected = []string{"tcp://0.0.0.0:0"}, "serve-anybody"
	})
	conn, err := client.Connect(h.socket, client.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "liveness"})
	if err != nil {
		t.Errorf("%s: %v", h.socket, err)
	}
}
