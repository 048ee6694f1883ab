package config

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// Access is who may do what: the settings `tls` and `allow`, their files read.
type Access struct {
	// TLS is what TCP listeners speak. Nil: no TLS.
	TLS *tls.Config
	// Rules are those of `allow`. Empty: whoever can connect may send to every
	// upstream.
	Rules []Rule
}

// Rule is one element of `allow`: whoever meets all its conditions may do what it
// says.
type Rule struct {
	UID, GID    *uint32            // nil: no condition
	Certificate string             // empty: no condition
	Token       *[sha256.Size]byte // hash of the token; nil: no condition
	Upstreams   []string           // names, or origins as dynamic_origins.allow has them; "*" is all
	Control     string             // "read", "all", or empty: nothing
}

// EveryUpstream stands for all upstreams in a rule.
const EveryUpstream = "*"

// NewAccess reads the files that a valid configuration names for its listeners,
// relative ones in dir, and reports everything that is wrong with them as an
// *Error.
func NewAccess(c *warmpoolv1.Config, dir string) (Access, error) {
	p := newProblems()
	a := p.access(c, dir, new([]File))
	return a, p.err("")
}

func (p *problems) access(c *warmpoolv1.Config, dir string, files *[]File) Access {
	var a Access
	credentials := p.credentials(listenerFiles(c.GetTls()), dir, "tls", files)
	if len(credentials.certificates) > 0 {
		a.TLS = &tls.Config{
			Certificates: credentials.certificates,
			MinVersion:   tlsVersions[WithDefaults(c).GetTls().GetMinVersion()],
			NextProtos:   []string{"h2"},
		}
		if credentials.roots != nil {
			a.TLS.ClientCAs, a.TLS.ClientAuth = credentials.roots, tls.RequireAndVerifyClientCert
		}
	}
	for i, rule := range c.GetAllow() {
		r := Rule{UID: rule.Uid, GID: rule.Gid, Certificate: rule.GetCertificate(), Upstreams: rule.GetUpstreams(), Control: rule.GetControl()}
		if rule.GetTokenFile() != "" {
			path := join(at("allow", i), "token_file")
			token := bytes.TrimSpace(p.namedFile(rule.GetTokenFile(), dir, path, files))
			if err := checkToken(token); err != nil && !p.spoiled(path) {
				p.addf(path, quoted(rule.GetTokenFile()), "%s", err)
			}
			hash := sha256.Sum256(token)
			r.Token = &hash
		}
		a.Rules = append(a.Rules, r)
	}
	return a
}

// leastToken is how many characters a token must have, so that it is not guessed.
const leastToken = 16

func checkToken(token []byte) error {
	if len(token) < leastToken {
		return errors.New("holds a token of less than 16 characters, which can be guessed; `openssl rand -base64 32` makes one")
	}
	if bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("holds a token with characters other than visible ASCII: it could not be sent as metadata")
	}
	return nil
}

// accessRules checks what the listeners and the settings about callers ask of each
// other.
func (p *problems) accessRules(c *warmpoolv1.Config) {
	p.pairRules(listenerFiles(c.GetTls()), "")
	if t := c.GetTls(); t.GetClientCaFile() != "" && t.GetCertFile() == "" {
		p.rulef([]string{"tls.cert_file"}, "tls.client_ca_file", quoted(t.GetClientCaFile()), "needs tls.cert_file: certificates are shown in TLS only")
	}
	controlled := false
	for i, rule := range c.GetAllow() {
		path := at("allow", i)
		controlled = controlled || rule.GetControl() != ""
		if rule.GetCertificate() != "" && c.GetTls().GetClientCaFile() == "" {
			p.rulef([]string{"tls.client_ca_file"}, join(path, "certificate"), quoted(rule.GetCertificate()),
				"needs tls.client_ca_file: without it callers show no certificates")
		}
		if len(rule.GetUpstreams()) == 0 && rule.GetControl() == "" {
			p.addf(path, "", "allows nothing; name upstreams, or give control")
		}
		for j, name := range rule.GetUpstreams() {
			path := at(join(path, "upstreams"), j)
			switch {
			case IsOrigin(name):
				if err := checkOriginPattern(name); err != nil {
					p.addf(path, quoted(redactURL(name)), "%s", err)
				}
			case name != EveryUpstream && checkName(name) != nil:
				p.addf(path, quoted(name), `must be the name of an upstream, or "*" for all`)
			}
		}
		if rule.GetControl() != "" && conditions(rule) == 0 {
			p.addf(join(path, "control"), quoted(rule.GetControl()), "is not for everybody: say for whom by uid, gid, certificate or token_file")
		}
	}
	for i, address := range c.GetListen() {
		if path := at("listen", i); BeyondLoopback(address) && !protected(c) {
			p.rulef([]string{path, "tls.cert_file"}, path, quoted(address), "can be reached from other machines, and neither TLS nor a token protects it; "+
				"configure tls, or allow rules with token_file, or listen on 127.0.0.1 or a Unix socket "+
				`(dangerously_unprotected: "serve-anybody" if nobody else can reach it)`)
		}
	}
	for i, address := range c.GetControl() {
		if path := at("control", i); strings.HasPrefix(address, "tcp://") && !controlled {
			p.rulef([]string{path}, path, quoted(address), "is a TCP address, where nobody may do anything unless a rule in allow gives control; "+
				"add one, or use a Unix socket")
		}
	}
}

// conditions counts what a caller must show to meet a rule.
func conditions(rule *warmpoolv1.Allow) int {
	n := 0
	for _, asked := range []bool{rule.Uid != nil, rule.Gid != nil, rule.GetCertificate() != "", rule.GetTokenFile() != ""} {
		if asked {
			n++
		}
	}
	return n
}

// protected reports that a listener which other machines can reach serves only
// those who it should: over TLS, or with a token.
func protected(c *warmpoolv1.Config) bool {
	if c.GetTls().GetCertFile() != "" || c.GetDangerouslyUnprotected() != "" {
		return true
	}
	return len(c.GetAllow()) > 0 && !slices.ContainsFunc(c.GetAllow(), func(r *warmpoolv1.Allow) bool { return conditions(r) == 0 })
}

// BeyondLoopback reports that other machines may reach a listener's address, as
// far as the address tells.
func BeyondLoopback(address string) bool {
	hostport, ok := strings.CutPrefix(address, "tcp://")
	if !ok {
		return false
	}
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false // the address is wrong by itself
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host != "localhost"
	}
	return !ip.IsLoopback()
}
