package sidecar

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"

	"github.com/warmpool-dev/warmpool/pool/nonblock"
)

// handshake makes a connection of an accepted one: it speaks TLS on TCP where
// that is configured, and finds out who is at the other end. It is gRPC's
// transport credentials for both servers.
type handshake struct {
	callers *callers
	log     *slog.Logger
}

// connection is what is known of the other end of a gRPC connection.
type connection struct {
	credentials.CommonAuthInfo
	asker

	overUnix bool
	tokens   struct {
		sync.Mutex
		shown map[[sha256.Size]byte]*asker
	}
}

// AuthType implements credentials.AuthInfo.
func (*connection) AuthType() string { return "warmpool" }

// ServerHandshake implements credentials.TransportCredentials.
func (h *handshake) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	a, ok := raw.(*accepted)
	if !ok {
		return nil, nil, fmt.Errorf("a %T is no connection of a listener of the sidecar's", raw)
	}
	c := &connection{}
	var name string
	conn := net.Conn(a)
	if a.front == frontData {
		conn = nonblock.Conn[mem.BufferPool](a)
	}
	switch inner := a.Conn.(type) {
	case *net.UnixConn:
		c.overUnix, c.SecurityLevel = true, credentials.PrivacyAndIntegrity
		name = c.user(inner)
	default:
		name = "address " + addressOf(a.RemoteAddr())
		c.SecurityLevel = credentials.NoSecurity
		if speaks := h.callers.access.Load().TLS; speaks != nil {
			secured, info, err := credentials.NewTLS(speaks).ServerHandshake(conn)
			if err != nil {
				h.log.Debug("TLS handshake of a caller failed", "address", a.RemoteAddr().String(), "error", err)
				return nil, nil, err
			}
			conn, c.SecurityLevel = secured, credentials.PrivacyAndIntegrity
			if shown := c.certificate(info); shown != "" {
				name = shown
			}
		}
	}
	c.caller = h.callers.connected(name)
	a.whenClosed(func() { h.callers.left(c.caller); c.forgetTokens() })
	h.log.Debug("caller connected", "caller", name, "listener", string(a.front))
	return conn, c, nil
}

// user takes the credentials of the process behind a Unix socket.
func (c *connection) user(conn *net.UnixConn) string {
	uid, gid, err := peerOf(conn)
	if err != nil {
		return "unix socket"
	}
	c.uid, c.gid = &uid, &gid
	return fmt.Sprintf("uid %d", uid)
}

// certificate takes the names in the certificate that was shown and verified.
func (c *connection) certificate(info credentials.AuthInfo) string {
	t, ok := info.(credentials.TLSInfo)
	if !ok || len(t.State.PeerCertificates) == 0 {
		return ""
	}
	c.certificates = namesIn(t.State.PeerCertificates[0])
	if len(c.certificates) == 0 {
		return ""
	}
	return "certificate " + clip(c.certificates[0], maxName)
}

// namesIn lists what a rule may call a certificate by. The common name counts
// only where nothing else names it: beside other names it is a title.
func namesIn(c *x509.Certificate) []string {
	var names []string
	for _, uri := range c.URIs {
		names = append(names, uri.String())
	}
	names = append(names, c.DNSNames...)
	if len(names) == 0 && c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	return names
}

func addressOf(a net.Addr) string {
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.String()
}

// withToken is the connection's end with a token that it has shown. One that no
// rule knows is as good as none.
func (c *connection) withToken(token [sha256.Size]byte) *asker {
	known := false
	for _, r := range c.all.access.Load().Rules {
		known = known || r.Token != nil && *r.Token == token
	}
	if !known {
		return &c.asker
	}
	c.tokens.Lock()
	defer c.tokens.Unlock()
	if a := c.tokens.shown[token]; a != nil {
		return a
	}
	caller := c.caller
	if len(c.certificates) == 0 { // a certificate says more of who it is
		caller = c.all.connected(fmt.Sprintf("token %x", token[:4]))
	}
	a := &asker{caller: caller, uid: c.uid, gid: c.gid, certificates: c.certificates, token: &token}
	if c.tokens.shown == nil {
		c.tokens.shown = make(map[[sha256.Size]byte]*asker)
	}
	c.tokens.shown[token] = a
	return a
}

func (c *connection) forgetTokens() {
	c.tokens.Lock()
	defer c.tokens.Unlock()
	for _, a := range c.tokens.shown {
		if a.caller != c.caller {
			c.all.left(a.caller)
		}
	}
	c.tokens.shown = nil
}

// ClientHandshake implements credentials.TransportCredentials. The sidecar's
// servers make no connections.
func (*handshake) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a server's credentials")
}

// Info implements credentials.TransportCredentials.
func (h *handshake) Info() credentials.ProtocolInfo {
	if h.callers.access.Load().TLS != nil {
		return credentials.ProtocolInfo{SecurityProtocol: "tls"}
	}
	return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
}

// Clone implements credentials.TransportCredentials.
func (h *handshake) Clone() credentials.TransportCredentials { return h }

// OverrideServerName implements credentials.TransportCredentials.
func (*handshake) OverrideServerName(string) error { return nil }
