package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// Origins is a list of origins that callers may name: dynamic_origins.allow, or
// those that a rule of allow names. The zero value is an empty list.
type Origins struct {
	exact map[string]struct{}
	wild  map[beneath]struct{}
}

// beneath is an origin without its first label, such as "https" and
// ".example.com:8443".
type beneath struct{ scheme, rest string }

// anyLabel stands, in the place of the first label, for any one label.
const anyLabel = "*"

// NewOrigins makes a list of its elements, which must be valid.
func NewOrigins(patterns []string) Origins {
	o := Origins{exact: make(map[string]struct{}), wild: make(map[beneath]struct{})}
	for _, pattern := range patterns {
		if label, where, ok := cutLabel(pattern); ok && label == anyLabel {
			o.wild[where] = struct{}{}
		} else {
			o.exact[pattern] = struct{}{}
		}
	}
	return o
}

// Empty reports that the list allows nothing.
func (o *Origins) Empty() bool { return len(o.exact)+len(o.wild) == 0 }

// Allow reports whether the list has an origin. One that is not in its canonical
// form it never has.
func (o *Origins) Allow(origin string) bool {
	if _, ok := o.exact[origin]; ok {
		return true
	}
	if len(o.wild) == 0 {
		return false
	}
	label, where, ok := cutLabel(origin)
	if _, known := o.wild[where]; !ok || !known {
		return false
	}
	return isLabel(label) && checkDNSLength(label+where.rest) == nil
}

// cutLabel takes the first label off an origin's host.
func cutLabel(origin string) (label string, where beneath, ok bool) {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok {
		return "", beneath{}, false
	}
	dot := strings.IndexByte(rest, '.')
	if dot < 0 {
		return "", beneath{}, false
	}
	return rest[:dot], beneath{scheme, rest[dot:]}, true
}

// isLabel reports whether a text is a label of a DNS name in its canonical form.
func isLabel(text string) bool {
	if text == "" || len(text) > 63 || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// IsOrigin reports that a caller's text is meant for an origin: no upstream of the
// file or of the API has such a name.
func IsOrigin(name string) bool { return strings.Contains(name, "://") }

// CheckOrigin reports what keeps a text from being an origin in its canonical form,
// the only one in which callers may name one. So each has one name, and what reads
// a URL in another way than this has nothing to read another way.
func CheckOrigin(text string) error {
	_, err := readOrigin(text)
	return err
}

// maxOrigin bounds an origin behind its scheme: a DNS name, a colon and a port.
const maxOrigin = 253 + len(":65535")

// readOrigin checks that a text is an origin in its canonical form. ip says that its
// host is an address.
func readOrigin(text string) (ip bool, err error) {
	const form = `must be an origin in its canonical form, such as "https://api.example.com:8443"`
	fail := func(format string, args ...any) (bool, error) {
		return false, fmt.Errorf("%s: %s", form, fmt.Sprintf(format, args...))
	}
	scheme, rest, ok := strings.Cut(text, "://")
	standard := map[string]string{"http": "80", "https": "443"}[scheme]
	switch {
	case !ok || standard == "":
		return fail(`it must begin with "http://" or "https://"`)
	case strings.Contains(rest, "@"):
		return fail("without user information; credentials belong into each request's headers")
	case strings.ContainsAny(rest, `/?#\`):
		return fail("without path, query and fragment, and without a slash at its end")
	case rest == "" || rest[0] == ':':
		return fail("the host is missing")
	case len(rest) > maxOrigin:
		return fail("a host has at most 253 characters")
	}
	host, port, hasPort := strings.Cut(rest, ":")
	if rest[0] == '[' {
		ip = true
		var after string
		if host, after, ok = strings.Cut(rest[1:], "]"); !ok {
			return fail("a bracket is not closed")
		}
		if port, hasPort = strings.CutPrefix(after, ":"); !hasPort && after != "" {
			return fail("behind an address in brackets there is a port, or nothing")
		}
		if problem := checkSix(host); problem != "" {
			return fail("%s", problem)
		}
	} else {
		_, err := netip.ParseAddr(host)
		if ip = err == nil; !ip {
			if err := checkCanonicalName(host); err != nil {
				return fail("%s", err)
			}
		}
	}
	switch {
	case !hasPort:
	case !isPort(port, 1):
		return fail("port %q is not 1 to 65535 in decimal digits", shortened(port))
	case port == standard:
		return fail("without :%s, which is the scheme's own", port)
	}
	return ip, nil
}

// checkSix says what keeps a text in brackets from being an IPv6 address in its
// canonical form (RFC 5952).
func checkSix(host string) string {
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil || !ip.Is6():
		return "between the brackets there is no IPv6 address"
	case ip.Zone() != "":
		return "a host with a zone cannot be sent in Host"
	case ip.Is4In6():
		return "the address is written " + ip.Unmap().String() + ", without brackets"
	case ip.String() != host:
		return "the address is written [" + ip.String() + "]"
	}
	return ""
}

// checkCanonicalName checks a host that is no address.
func checkCanonicalName(host string) error {
	switch {
	case strings.ToLower(host) != host:
		return errors.New("in lower case")
	case strings.HasSuffix(host, "."):
		return errors.New("without a final dot")
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return errors.New(`the host must be a DNS name, labels of letters, digits, "-" and "_" between dots (other scripts in their xn-- form), or an IP address (IPv6 in brackets)`)
		}
	}
	// To some a host that ends in a number is an IPv4 address, written in parts of any
	// size, in octal or hexadecimal (WHATWG URL, 3.5). No domain ends in one.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return errors.New("a host that ends in a number is no name, and not how an IPv4 address is written (10.0.0.7)")
	}
	return checkDNSLength(host)
}

func checkDNSLength(host string) error {
	name, _, _ := strings.Cut(host, ":")
	if len(name) > 253 {
		return errors.New("a host has at most 253 characters")
	}
	return nil
}

func shortened(text string) string {
	const most = 20
	if len(text) > most {
		return text[:most]
	}
	return text
}

// checkOriginPattern checks an element of a list of origins.
func checkOriginPattern(text string) error {
	label, where, ok := cutLabel(text)
	if !ok || label != anyLabel {
		err := CheckOrigin(text)
		if err != nil && strings.Contains(text, anyLabel) {
			return errors.New(`must have "*" in the place of the first label alone, with a domain behind it: "https://*.example.com"`)
		}
		return err
	}
	rest := where.scheme + "://" + where.rest[1:]
	ip, err := readOrigin(rest)
	if err == nil && ip {
		err = errors.New(`must not have "*" in an IP address; such an origin is allowed by itself alone`)
	}
	return err
}

// OriginUpstream is the upstream that an origin becomes which callers may name, with
// its defaults: c is the whole configuration, valid.
func OriginUpstream(c *warmpoolv1.Config, origin string) *warmpoolv1.Upstream {
	u := &warmpoolv1.Upstream{}
	for _, one := range c.GetUpstreams() {
		if like := c.GetDynamicOrigins().GetLike(); like != "" && one.GetName() == like {
			u = proto.CloneOf(one)
		}
	}
	u.Name, u.Url = origin, origin
	u.Endpoints, u.Upkeep = nil, nil
	if u.GetConnections() != nil {
		u.Connections.Warm = nil
	}
	if u.GetDns() != nil {
		u.Dns.Srv = ""
	}
	switch t := u.GetTls(); {
	case strings.HasPrefix(origin, "http://"):
		u.Tls = nil
	case t != nil:
		t.CertFile, t.KeyFile, t.ServerName, t.DangerouslySkipVerification = "", "", "", ""
	}
	return WithDefaults(u)
}

// OriginPolicy is Policy for an upstream that OriginUpstream made. Its policy guards
// addresses, unless its host is one: then the operator has allowed that very one.
func OriginPolicy(u *warmpoolv1.Upstream, dir string) (pool.Policy, []File, error) {
	p := newProblems()
	ip, err := readOrigin(u.GetUrl())
	if err != nil || u.GetName() != u.GetUrl() {
		p.addf("url", quoted(u.GetUrl()), "must be an origin in its canonical form, and the name as well")
	}
	p.upstreamRules(u, "")
	var files []File
	c := p.credentials(upstreamFiles(u.GetTls()), dir, "tls", &files)
	if err := p.err(""); err != nil {
		return pool.Policy{}, nil, err
	}
	policy := translate(WithDefaults(u), c)
	policy.GuardAddresses, policy.Unlisted = !ip, true
	return policy, files, nil
}
