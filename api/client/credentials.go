package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/local"
	"google.golang.org/grpc/mem"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/nonblock"
)

// Credentials are what a client shows to a sidecar, and how it knows the sidecar on
// a TCP listener with TLS. The zero value: no TLS, and nothing shown.
//
// Files are read for each connection, and the token's once a second at most, so
// that what is replaced in them counts without a restart.
type Credentials struct {
	// TLS asks for TLS, which any of the next four does as well. Unix sockets have
	// none.
	TLS bool
	// CAFile is a PEM file with the authorities that may have signed the sidecar's
	// certificate. Empty: the system's.
	CAFile string
	// CertFile and KeyFile are PEM files with the certificate to show, its chain, and
	// its key: what a sidecar with tls.client_ca_file asks for. Both or neither.
	CertFile, KeyFile string
	// ServerName is the name that the sidecar's certificate must have. Empty: the
	// target's host.
	ServerName string
	// TokenFile is a file with a token, which goes with every call as metadata
	// "authorization: Bearer TOKEN". Blanks and line ends around it do not count.
	TokenFile string
	// DangerouslySendTokenInClear lets the token go to other machines without TLS,
	// where everybody on the way can read it. Without it only TLS, loopback and Unix
	// sockets carry a token.
	DangerouslySendTokenInClear bool
}

// Secured gives a Client its Credentials.
func Secured(c Credentials) Option { return func(o *options) { o.credentials = c } }

// CredentialsError says what is wrong with a field of Credentials.
type CredentialsError struct {
	Field string // such as "CAFile"
	Value string // of the field
	Err   error
}

func (e *CredentialsError) Error() string {
	return fmt.Sprintf("client: %s is %q: %v", e.Field, e.Value, e.Err)
}

// Unwrap is what is wrong.
func (e *CredentialsError) Unwrap() error { return e.Err }

// dialOptions are the options of a connection to target with these credentials,
// which are checked, files included.
func (c *Credentials) dialOptions(target site) ([]grpc.DialOption, error) {
	if err := c.check(target); err != nil {
		return nil, err
	}
	var over credentials.TransportCredentials
	switch {
	case c.tls():
		if _, err := c.config(); err != nil {
			return nil, err
		}
		over = &overTLS{*c}
	case c.TokenFile != "" && !c.DangerouslySendTokenInClear:
		// They refuse to connect to what is not this machine: the target's text alone does not tell.
		over = local.NewCredentials()
	default:
		over = insecure.NewCredentials()
	}
	dial := []grpc.DialOption{grpc.WithTransportCredentials(unwatched{over})}
	if c.TokenFile != "" {
		t := &token{file: c.TokenFile}
		if _, err := t.now(); err != nil {
			return nil, err
		}
		dial = append(dial, grpc.WithPerRPCCredentials(t))
	}
	return dial, nil
}

// check finds fields that go neither with each other nor with the target.
func (c *Credentials) check(target site) error {
	wrong := func(field, value, format string, args ...any) error {
		return &CredentialsError{field, value, fmt.Errorf(format, args...)}
	}
	if target.unix {
		for _, f := range []struct{ field, value string }{
			{"CAFile", c.CAFile}, {"CertFile", c.CertFile}, {"KeyFile", c.KeyFile}, {"ServerName", c.ServerName},
		} {
			if f.value != "" {
				return wrong(f.field, f.value, "%s is a Unix socket, which has no TLS: leave it out", target.text)
			}
		}
		if c.TLS {
			return wrong("TLS", "true", "%s is a Unix socket, which has no TLS: leave it out", target.text)
		}
	}
	switch {
	case c.CertFile != "" && c.KeyFile == "":
		return wrong("CertFile", c.CertFile, "a certificate is shown with its key: KeyFile is missing")
	case c.CertFile == "" && c.KeyFile != "":
		return wrong("KeyFile", c.KeyFile, "a key is of use with its certificate only: CertFile is missing")
	case c.TokenFile != "" && !c.tls() && !target.here() && !c.DangerouslySendTokenInClear:
		return wrong("TokenFile", c.TokenFile, "the token would be sent in the clear to %s, which is not this machine: use TLS, such as with CAFile", target.text)
	}
	return nil
}

func (c *Credentials) tls() bool {
	return c.TLS || c.CAFile != "" || c.CertFile != "" || c.KeyFile != "" || c.ServerName != ""
}

// config reads the files that TLS needs.
func (c *Credentials) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if c.CAFile != "" {
		bundle, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, &CredentialsError{"CAFile", c.CAFile, unread(err)}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, &CredentialsError{"CAFile", c.CAFile, errors.New("it holds no certificate in PEM")}
		}
	}
	if c.CertFile == "" {
		return config, nil
	}
	chain, err := os.ReadFile(c.CertFile)
	if err != nil {
		return nil, &CredentialsError{"CertFile", c.CertFile, unread(err)}
	}
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return nil, &CredentialsError{"KeyFile", c.KeyFile, unread(err)}
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, &CredentialsError{"CertFile", c.CertFile, fmt.Errorf("it is no certificate of the key in %s: %s", c.KeyFile, strings.TrimPrefix(err.Error(), "tls: "))}
	}
	// Whatever authorities the other end lists: what it says of this certificate tells more than that none is shown.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return config, nil
}

// unwatched keeps Go's scheduler from looking on at each system call of a connection
// (package nonblock). In a program of one processor that looking on is a tenth of a
// client's CPU time when many calls are in flight, and up to half of it with one.
type unwatched struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (u unwatched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return u.TransportCredentials.ClientHandshake(ctx, authority, nonblock.Conn[mem.BufferPool](raw))
}

// Clone implements credentials.TransportCredentials.
func (u unwatched) Clone() credentials.TransportCredentials {
	return unwatched{u.TransportCredentials.Clone()}
}

// unread is the error of reading a file, without its name.
func unread(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("there is no such file")
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("it may not be read by this user (uid %d)", os.Getuid())
	}
	if path, ok := errors.AsType[*os.PathError](err); ok {
		err = path.Err
	}
	return fmt.Errorf("it cannot be read: %w", err)
}

// overTLS speaks TLS as the files say at the time of each handshake. It is gRPC's
// transport credentials.
type overTLS struct{ Credentials }

// ClientHandshake implements credentials.TransportCredentials.
func (c *overTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.config()
	if err != nil {
		return nil, nil, err
	}
	// gRPC's verify the authority, whatever the configuration says.
	conn, info, err := credentials.NewTLS(config).ClientHandshake(ctx, cmp.Or(c.ServerName, authority), raw)
	if err != nil {
		return nil, nil, fmt.Errorf("TLS with %s: %w", raw.RemoteAddr(), err)
	}
	return &outspoken{Conn: conn}, info, nil
}

// outspoken is a connection that says what the other end said when it cannot be
// written to. In TLS 1.3 a client writes before it knows whether its certificate is
// taken: where it is not, the alert waits behind a connection that is closed already.
type outspoken struct{ net.Conn }

// alertPatience is how long an alert is waited for. It arrived before the end of
// the connection, if there is one.
const alertPatience = 100 * time.Millisecond

// Write implements net.Conn.
func (c *outspoken) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || c.SetReadDeadline(time.Now().Add(alertPatience)) != nil {
		return n, err
	}
	_, said := c.Read(make([]byte, 1))
	if alert, ok := errors.AsType[*net.OpError](said); ok && alert.Op == "remote error" {
		return n, alert
	}
	return n, err
}

// ServerHandshake implements credentials.TransportCredentials. A client takes no
// connections.
func (*overTLS) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a client's credentials")
}

// Info implements credentials.TransportCredentials.
func (*overTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (c *overTLS) Clone() credentials.TransportCredentials { return &overTLS{c.Credentials} }

// OverrideServerName implements credentials.TransportCredentials.
func (c *overTLS) OverrideServerName(name string) error {
	c.ServerName = name
	return nil
}

// token goes with every call. It is gRPC's per-RPC credentials.
type token struct {
	file string

	mu struct {
		sync.Mutex
		bearer string // "Bearer " and the token
		readAt time.Time
	}
}

// tokenAge is how old a token may be before its file is read again.
const tokenAge = time.Second

// now is the token as the file has it, or had it when it could be read.
func (t *token) now() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mu.readAt.IsZero() && time.Since(t.mu.readAt) < tokenAge {
		return t.mu.bearer, nil
	}
	content, err := os.ReadFile(t.file)
	if err != nil {
		err = unread(err)
	}
	content = bytes.TrimSpace(content)
	switch {
	case err != nil:
	case len(content) == 0:
		err = errors.New("it holds no token")
	case bytes.ContainsFunc(content, func(r rune) bool { return r <= ' ' || r > '~' }):
		err = errors.New("it holds more than one token in visible ASCII")
	default:
		t.mu.bearer = "Bearer " + string(content)
	}
	if t.mu.bearer == "" {
		return "", &CredentialsError{"TokenFile", t.file, err}
	}
	t.mu.readAt = time.Now()
	return t.mu.bearer, nil
}

// outdated reports that a failure may be due to the token with which a session
// began: its file may hold another by now. That costs one session more a second for
// who asks again and again for what it may not have.
func (o *options) outdated(f *Failure, begun time.Time) bool {
	return f != nil && f.Reason == warmpoolv1.Reason_REASON_NOT_ALLOWED && o.credentials.TokenFile != "" && time.Since(begun) >= tokenAge
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (t *token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	bearer, err := t.now()
	return map[string]string{"authorization": bearer}, err
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. What may carry
// a token is decided when the client is made, gRPC knowing nothing of loopback.
func (*token) RequireTransportSecurity() bool { return false }

// site is a target.
type site struct {
	text string // as it was given
	name string // as gRPC takes it
	unix bool   // it is a Unix socket
	host string // of TCP, as far as the text tells
}

// siteOf reads a target. A listener's address without a host, or with one that
// stands for all, is reached on this machine.
func siteOf(target string) site {
	p := site{text: target, name: target}
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		p.unix = true
		return p
	}
	hostport := target
	if i := strings.LastIndexByte(target, '/'); i >= 0 { // tcp://, or a scheme of gRPC's
		hostport = target[i+1:]
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = strings.Trim(hostport, "[]"), ""
	}
	p.host = host
	if address, isTCP := strings.CutPrefix(target, "tcp://"); isTCP {
		p.name = address
		if ip, err := netip.ParseAddr(host); port != "" && (host == "" || err == nil && ip.IsUnspecified()) {
			p.host, p.name = "localhost", net.JoinHostPort("localhost", port)
		}
	}
	return p
}

// here reports that the target lies on this machine, as far as its text tells.
func (p site) here() bool {
	ip, err := netip.ParseAddr(p.host)
	return p.unix || p.host == "localhost" || err == nil && ip.IsLoopback()
}
