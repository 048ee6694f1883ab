package client

import (
	"fmt"
	"net/url"
	"strings"
)

// routes is which upstream a URL means. Keys are hosts and origins in lower case.
type routes map[string]string

// newRoutes reads what Upstreams was given.
func newRoutes(given map[string]string) (routes, error) {
	r := make(routes, len(given))
	for key, name := range given {
		k := strings.ToLower(strings.TrimSuffix(key, "/"))
		scheme, host, isOrigin := strings.Cut(k, "://")
		if !isOrigin {
			host = k
		}
		switch {
		case name == "":
			return nil, fmt.Errorf("client: upstreams[%q] is empty, must be an upstream's name", key)
		case host == "" || strings.ContainsAny(host, "/?#@ "), isOrigin && scheme != "http" && scheme != "https":
			return nil, fmt.Errorf("client: upstreams[%q]: the key must be a host, host:port, or an origin such as https://host:port", key)
		}
		r[k] = name
	}
	return r, nil
}

// upstream is the upstream that a URL means, and whether that was mapped. A host
// that is not mapped is itself the upstream's name.
func (r routes) upstream(u *url.URL) (name string, mapped bool) {
	host := lower(u.Host)
	if len(r) == 0 {
		return host, false
	}
	scheme := lower(u.Scheme)
	standard := ":80"
	if scheme == "https" {
		standard = ":443"
	}
	other := host + standard // the same host, its port written the other way
	if without, ok := strings.CutSuffix(host, standard); ok {
		other = without
	} else if u.Port() != "" {
		other = host
	}
	for _, key := range [...]string{scheme + "://" + host, scheme + "://" + other, host, other} {
		if name, ok := r[key]; ok {
			return name, true
		}
	}
	return host, false
}

// lower is strings.ToLower, without a copy of what is lower already.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' || c >= 0x80 {
			return strings.ToLower(s)
		}
	}
	return s
}
