package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool/tlstest"
)

// onTCP serves the upstream "origin" on TCP ports of loopback, data and control,
// with more YAML for the file's head.
func onTCP(t *testing.T, head string) (data, control string, p *process) {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(origin.Close)
	p = start(t, nil, "serve", "--log.format", "text", "-c", file(t, "warmpool.yaml",
		"listen: [\"tcp://127.0.0.1:0\"]\ncontrol: [\"tcp://127.0.0.1:0\"]\nadmin: \"off\"\n"+head+
			"\nupstreams: [{name: origin, url: \""+origin.URL+"\", connections: {max: 5}}]\n"))
	address := func(front string) string {
		_, after, _ := strings.Cut(p.await("msg=listening front="+front), "address=")
		return after
	}
	data, control = address("data"), address("control")
	p.await("msg=serving")
	return data, control, p
}

// everyCommand asks something of a running sidecar with each command that does.
// flags are added to each.
func everyCommand(t *testing.T, data, control string, env, flags []string) {
	t.Helper()
	run := func(socket string, args ...string) outcome {
		t.Helper()
		if socket != "" {
			args = append(args, "-s", socket)
		}
		return warmpoolWith(t, nil, env, append(args, flags...)...)
	}
	run(data, "wait", "--timeout", "20s").expect(t, exitOK)
	run(data, "health", "--timeout", "20s").expect(t, exitOK, "readiness SERVING")
	run(data, "send", "origin", "/", "-d", "x").expect(t, exitOK, "x")
	for _, c := range []struct {
		command string
		says    string
	}{
		{"upstreams", "origin"},
		{"upstreams show origin", "name: origin"},
		{"upstreams set origin connections.max=5", "nothing differs"},
		{"connections origin", "ENDPOINT"},
		{"stats", "RESPONSES"},
		{"warm origin 2", "2 connections ready"},
		{"pause origin --for 1m", "paused for 1m"},
		{"resume origin", "active"},
		{"reconnect origin", "replaced by 2"},
		{"drain origin", "drained"},
		{"resume origin", "active"},
		{"reload --check", "differs"},
		{"config", "name: origin"},
		{"connections --closed", "DRAIN"},
	} {
		run(control, strings.Fields(c.command)...).expect(t, exitOK, c.says)
	}
	follow := []string{"events"}
	if control != "" {
		follow = append(follow, "-s", control)
	}
	events := start(t, env, append(follow, flags...)...)
	for end := time.Now().Add(stuck); !strings.Contains(events.output(), "upstream_state_changed"); {
		run(control, "pause", "origin", "--for", "1ms").expect(t, exitOK)
		run(control, "resume", "origin").expect(t, exitOK)
		if time.Now().After(end) {
			t.Fatalf("no event is printed:\n%s", events.output())
		}
	}
	events.signal(syscall.SIGINT)
	events.wait().expect(t, exitOK)
}

func TestASidecarOnTCPIsOperatedOverTLSWithACertificate(t *testing.T) {
	a := tlstest.New(t)
	own, operator := a.Sign(t, "sidecar.internal"), a.Sign(t, "operator.internal")
	data, control, p := onTCP(t, fmt.Sprintf("tls: {cert_file: %q, key_file: %q, client_ca_file: %q}\nallow: [{certificate: operator.internal, upstreams: [\"*\"], control: all}]",
		own.CertFile, own.KeyFile, a.File))
	everyCommand(t, data, control, nil, []string{"--ca", a.File, "--cert", operator.CertFile, "--key", operator.KeyFile, "--server-name", "sidecar.internal"})

	// The environment says the same, and where the sidecar is.
	everyCommand(t, "", "", []string{
		"WARMPOOL_LISTEN=" + data, "WARMPOOL_CONTROL=" + control,
		"WARMPOOL_CLIENT_CA=" + a.File, "WARMPOOL_CLIENT_CERT=" + operator.CertFile, "WARMPOOL_CLIENT_KEY=" + operator.KeyFile,
		"WARMPOOL_CLIENT_SERVER_NAME=sidecar.internal",
	}, nil)
	p.signal(syscall.SIGTERM)
	p.wait().expect(t, exitOK, "stopped")
}

func TestASidecarOnTCPIsOperatedWithAToken(t *testing.T) {
	token := file(t, "token", "correct-horse-battery-staple\n")
	data, control, _ := onTCP(t, fmt.Sprintf("allow: [{token_file: %q, upstreams: [\"*\"], control: all}]", token))
	everyCommand(t, data, control, nil, []string{"--token-file", token})
	everyCommand(t, data, control, []string{"WARMPOOL_CLIENT_TOKEN_FILE=" + token}, nil)

	wrong := file(t, "wrong", "wrong-horse-battery-staple\n")
	warmpool(t, "send", "-s", data, "origin", "/").expect(t, exitFailed, "NOT_ALLOWED", "--token-file")
	warmpool(t, "send", "-s", data, "origin", "/", "--token-file", wrong).expect(t, exitFailed, "NOT_ALLOWED", "--token-file")
	warmpool(t, "stats", "-s", control).expect(t, exitFailed, "no rule in allow gives it control", "--token-file")
	warmpool(t, "stats", "-s", control, "--token-file", wrong).expect(t, exitFailed, "no rule in allow gives it control")
}

func TestASidecarThatIsNotReachedOverTLSSaysWhyAndWhatToDo(t *testing.T) {
	a, other := tlstest.New(t), tlstest.New(t)
	own, shop := a.Sign(t, "sidecar.internal", "127.0.0.1"), a.Sign(t, "shop.internal")
	stranger, old := other.Sign(t, "shop.internal"), a.SignUntil(t, time.Now().Add(-time.Hour), "shop.internal")
	mutual, _, _ := onTCP(t, fmt.Sprintf("tls: {cert_file: %q, key_file: %q, client_ca_file: %q}\nallow: [{certificate: shop.internal, control: all}]", own.CertFile, own.KeyFile, a.File))
	expired := a.SignUntil(t, time.Now().Add(-time.Hour), "sidecar.internal", "127.0.0.1")
	token := file(t, "token", "correct-horse-battery-staple\n")
	allow := fmt.Sprintf("\nallow: [{token_file: %q, control: all}]", token)
	late, _, _ := onTCP(t, fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", expired.CertFile, expired.KeyFile)+allow)
	plain, _, _ := onTCP(t, allow)

	show := func(i tlstest.Identity) []string { return []string{"--cert", i.CertFile, "--key", i.KeyFile} }
	for _, c := range []struct {
		name  string
		at    string
		flags []string
		says  []string
	}{
		{"another authority", mutual, append(show(shop), "--ca", other.File), []string{"signed by unknown authority", "name the authority", "--ca"}},
		{"the system's authorities", mutual, append(show(shop), "--tls"), []string{"signed by unknown authority", "--ca"}},
		{"another name", mutual, append(show(shop), "--ca", a.File, "--server-name", "warmpool.internal"), []string{"valid for sidecar.internal, not warmpool.internal", "--server-name"}},
		{"no certificate", mutual, []string{"--ca", a.File}, []string{"certificate required", "--cert", "--key"}},
		{"a certificate of another authority", mutual, append(show(stranger), "--ca", a.File), []string{"unknown certificate authority", "--cert"}},
		{"a certificate that has expired", mutual, append(show(old), "--ca", a.File), []string{"expired certificate", "--cert"}},
		{"no TLS where there is", mutual, nil, []string{"does not answer as a sidecar does", "--ca"}},
		{"a sidecar whose certificate has expired", late, []string{"--ca", a.File}, []string{"has expired", "tls.cert_file"}},
		{"TLS where there is none", plain, []string{"--ca", a.File}, []string{"does not look like a TLS handshake", "leave out --ca"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, args := range [][]string{{"health", "--timeout", "20s"}, {"send", "origin", "/"}, {"stats"}} {
				warmpool(t, append(append(args, "-s", c.at), c.flags...)...).
					expect(t, exitUnreachable, append(c.says, "no sidecar answers at "+c.at, "to do")...)
			}
		})
	}
	warmpool(t, "wait", "--timeout", "2s", "-s", mutual, "--ca", other.File).
		expect(t, exitFailed, "was not ready within 2s", "signed by unknown authority", "to do")
}

func TestWrongCredentialsOnTheCommandLineAreNamedAsTheyWereGiven(t *testing.T) {
	a := tlstest.New(t)
	one, two := a.Sign(t, "one.internal"), a.Sign(t, "two.internal")
	none, token := filepath.Join(t.TempDir(), "none"), file(t, "token", "correct-horse-battery-staple")
	const far, socket = "tcp://sidecar.internal:7600", "unix:///run/warmpool.sock"
	for _, c := range []struct {
		at    string
		flags []string
		env   string
		want  string
	}{
		{far, []string{"--ca", none}, "", fmt.Sprintf("--ca is %q: there is no such file", none)},
		{far, []string{"--ca", token}, "", "holds no certificate"},
		{far, nil, "WARMPOOL_CLIENT_CA=" + none, fmt.Sprintf("WARMPOOL_CLIENT_CA is %q: there is no such file", none)},
		{far, []string{"--cert", one.CertFile}, "", "--key is missing"},
		{far, []string{"--key", one.KeyFile}, "", "--cert is missing"},
		{far, []string{"--cert", one.CertFile, "--key", two.KeyFile}, "", "no certificate of the key in " + two.KeyFile},
		{socket, []string{"--token-file", none}, "", "there is no such file"},
		{far, []string{"--token-file", token}, "", "in the clear to " + far + ", which is not this machine: use TLS, such as with --ca"},
		{far, nil, "WARMPOOL_CLIENT_TOKEN_FILE=" + token, "WARMPOOL_CLIENT_TOKEN_FILE is"},
		{far, []string{"--token-file", token, "--dangerously-unprotected", "yes"}, "", "must be send-token-in-clear"},
		{far, nil, "WARMPOOL_CLIENT_TLS=yes", `WARMPOOL_CLIENT_TLS is "yes", must be true or false`},
		{socket, []string{"--ca", a.File}, "", "has no TLS"},
		{socket, []string{"--tls"}, "", "has no TLS"},
	} {
		for _, args := range [][]string{{"wait"}, {"health"}, {"send", "origin", "/"}, {"upstreams"}} {
			var env []string
			if c.env != "" {
				env = []string{c.env}
			}
			warmpoolWith(t, nil, env, append(append(args, "-s", c.at), c.flags...)...).expect(t, exitUsage, c.want, "--help")
		}
	}
}

func TestWhatTheEnvironmentSaysOfTLSIsNotForUnixSocketsNorForServe(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(echo))
	defer origin.Close()
	env := []string{
		"WARMPOOL_CLIENT_CA=/etc/warmpool/ca.crt", "WARMPOOL_CLIENT_CERT=/etc/warmpool/tls.crt", "WARMPOOL_CLIENT_KEY=/etc/warmpool/tls.key",
		"WARMPOOL_CLIENT_SERVER_NAME=sidecar.internal", "WARMPOOL_CLIENT_TLS=true",
	}
	target := "unix://" + socketPath(t)
	path := file(t, "warmpool.yaml", fmt.Sprintf("listen: [%q]\ncontrol: [\"off\"]\nadmin: \"off\"\nupstreams: [{name: origin, url: %q}]\n", target, origin.URL))
	warmpoolWith(t, nil, env, "check", path).expect(t, exitOK)
	start(t, env, "serve", "-c", path)
	warmpoolWith(t, nil, env, "wait", "-s", target, "--timeout", "20s").expect(t, exitOK)
	warmpoolWith(t, nil, env, "send", "-s", target, "origin", "/", "-d", "x").expect(t, exitOK, "x")
	warmpoolWith(t, nil, append(env, "WARMPOOL_CLIENT_CERTS=x"), "check", path).expect(t, exitUsage, "WARMPOOL_CLIENT_CERTS", "unknown setting")
}

// What listens at a path need not be what was meant.
func TestWhoListensAtASocketAndIsNoSidecarIsToldOf(t *testing.T) {
	o := operate(t)
	listen := func(then func(net.Conn)) string {
		path := socketPath(t)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		var taken []net.Conn
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				taken = append(taken, conn) // else the collector closes it
				then(conn)
			}
		}()
		t.Cleanup(func() {
			_ = l.Close()
			<-ended
			for _, conn := range taken {
				_ = conn.Close()
			}
		})
		return "unix://" + path
	}
	silent := listen(func(net.Conn) {})
	closes := listen(func(conn net.Conn) { _ = conn.Close() })
	folder := t.TempDir()
	for _, c := range []struct {
		name string
		args []string
		code exitCode
		says []string
	}{
		{"one that says nothing", []string{"stats", "-s", silent}, exitUnreachable, []string{"takes connections and says nothing", "to do"}},
		{"one that says nothing, to a request", []string{"send", "origin", "/", "-s", silent}, exitUnreachable, []string{"takes connections and says nothing", "to do"}},
		{"one that hangs up", []string{"stats", "-s", closes}, exitUnreachable, []string{"turned the connection away", "grpc.max_connections"}},
		{"data instead of control", []string{"stats", "-s", o.target}, exitUnreachable, []string{o.target + " is no control listener", "its setting `control`"}},
		{"control instead of data", []string{"send", "origin", "/", "-s", o.control}, exitUnreachable, []string{o.control + " is no data listener: unknown service", "its setting `listen`"}},
		{"a folder in the place of a body", []string{"send", "origin", "/", "-s", o.target, "-d", "@" + folder}, exitUsage, []string{folder + " is a directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			warmpool(t, c.args...).expect(t, c.code, c.says...)
		})
	}
}
