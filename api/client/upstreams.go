package client

import (
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// routes is which upstream a URL means.
type routes struct {
	names   map[string]string // by hosts and origins, in lower case
	origins bool              // a URL that is not mapped means the upstream of its origin
}

// newRoutes reads what Upstreams was given.
func newRoutes(given map[string]string, origins bool) (routes, error) {
	r := routes{make(map[string]string, len(given)), origins}
	for key, name := range given {
		k := strings.ToLower(strings.TrimSuffix(key, "/"))
		scheme, host, isOrigin := strings.Cut(k, "://")
		if !isOrigin {
			host = k
		}
		switch {
		case name == "":
			return r, fmt.Errorf("client: upstreams[%q] is empty, must be an upstream's name", key)
		case host == "" || strings.ContainsAny(host, "/?#@ "), isOrigin && scheme != "http" && scheme != "https":
			return r, fmt.Errorf("client: upstreams[%q]: the key must be a host, host:port, or an origin such as https://host:port", key)
		}
		r.names[k] = name
	}
	return r, nil
}

// upstream is the upstream that a URL means, and whether that was mapped. A host
// that is not mapped is itself the upstream's name, or its origin is.
func (r *routes) upstream(u *url.URL) (name string, mapped bool) {
	host := lower(u.Host)
	if len(r.names) == 0 && !r.origins {
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
		if name, ok := r.names[key]; ok {
			return name, true
		}
	}
	if r.origins {
		return scheme + "://" + canonical(host, standard), false
	}
	return host, false
}

// canonical is a host as an origin has it: without its scheme's port, and in ASCII.
// One that cannot be is left for the sidecar to refuse.
func canonical(host, standard string) string {
	host = strings.TrimSuffix(strings.TrimSuffix(host, standard), ":")
	if ascii, err := httpguts.PunycodeHostPort(host); err == nil {
		return ascii
	}
	return host
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
