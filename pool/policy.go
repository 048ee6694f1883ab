package pool

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// Policy is everything the pool is told about one upstream. Start from
// DefaultPolicy and set what differs: a zero field is taken at its word.
type Policy struct {
	Name      string           // what callers ask for; not empty
	URL       string           // origin: scheme http or https, host, optional port; nothing else
	Endpoints []netip.AddrPort // fixed addresses; empty: the URL's host is resolved by DNS

	// GuardAddresses is for a URL that somebody else has chosen: no connection is made
	// to an address that is loopback, link-local, multicast, broadcast, unspecified or
	// known for cloud metadata, whatever name led to it.
	GuardAddresses bool
	Unlisted       bool // left out where who asks for an upstream that there is not is told of those that there are

	Warm        int           // the warm floor: connections kept established with no traffic
	Max         int           // connections at most, dialing ones included
	MaxDialing  int           // handshakes in flight at most
	PeakMemory  time.Duration // as many connections as were needed at once within it are replaced before they end; 0: the floor's alone
	Preconnect  float64       // connections dialed ahead of demand, up to this ratio of the active ones; 1: none
	MaxIdleTime time.Duration // an idle connection is used no longer than this, less 0 to 10 %, and replaced before if it is to be kept; 0: no limit
	MaxLifetime time.Duration // a connection older than this is retired after its exchange, 0 to 10 % sooner by chance; 0: no limit
	MaxRequests int           // exchanges a connection may carry, from ten on 0 to 10 % fewer, each another number; 0: no limit

	Selection Selection // which idle connection of an endpoint is taken

	PipelineDepth int     // requests outstanding on one connection; 1: no pipelining
	MaxAttempts   int     // connections one exchange may be written to
	RetryBudget   float64 // retries under way at once, as a share of the active connections …
	MinRetries    int     // … and how many are allowed in any case

	MaxWaiting int           // requests that may wait beyond those a connection is being dialed for
	MaxWait    time.Duration // longest wait for a connection; 0: only the caller's own deadline

	ConnectTimeout      time.Duration // TCP connect
	TLSHandshakeTimeout time.Duration // TLS handshake, after TCP connect
	ResponseHeadTimeout time.Duration // request written to final response head complete; 0: no limit
	ExpectContinue      time.Duration // longest wait for 100 (Continue) before a withheld body is sent (RFC 9110, 10.1.1)
	BodyIdleTimeout     time.Duration // longest pause inside a request's or response's body; 0: no limit

	Limits          h1.Limits // what a response's head and framing may take
	MaxBufferedBody int64     // bytes of a body held in memory, request and response each

	TLS TLSPolicy // for https
	TCP TCPPolicy
	DNS DNSPolicy // without Endpoints

	Upkeep UpkeepPolicy
}

// Selection is which of an endpoint's idle connections is taken.
type Selection uint8

// The selections.
const (
	SelectRecent     Selection = iota // the one used last, so that surplus ones go cold and retire
	SelectRoundRobin                  // the one unused longest
	SelectWarmest                     // the one whose congestion windows, both sides', are largest
)

// TLSPolicy is how the pool speaks TLS to an upstream of scheme https.
type TLSPolicy struct {
	RootCAs            *x509.CertPool    // nil: the system's roots
	Certificates       []tls.Certificate // shown to a server that asks for a client certificate
	ServerName         string            // SNI and the name that is verified; empty: the URL's host
	MinVersion         uint16            // tls.VersionTLS12 or tls.VersionTLS13
	InsecureSkipVerify bool              // accept any certificate: for tests of an operator's own, never otherwise
	SessionCache       int               // TLS sessions kept for resumption
}

// TCPPolicy is what is set on each connection's socket.
type TCPPolicy struct {
	KeepAliveIdle     time.Duration // silence before the first probe; negative: no probes
	KeepAliveInterval time.Duration // between two probes
	KeepAliveCount    int           // unanswered probes that end the connection
	SourceAddresses   []netip.Addr  // local addresses to dial from, in turn; each has a range of local ports of its own. Empty: the system's choice
	Congestion        string        // congestion control by the kernel's name (TCP_CONGESTION, Linux); empty, or not allowed by the system: its own
	UserTimeout       time.Duration // unacknowledged data older than this ends the connection (TCP_USER_TIMEOUT, Linux); 0: the system's default
}

// DNSPolicy is how the addresses of an upstream are found and kept up to date.
type DNSPolicy struct {
	Refresh time.Duration    // from one lookup to the next where the answer does not say for how long it holds
	MinTTL  time.Duration    // an answer that holds for less counts as holding for this
	MaxTTL  time.Duration    // one that holds for more counts as holding for this
	Servers []netip.AddrPort // asked instead of the system's; empty: those
	SRV     string           // name of an SRV record with the hosts and ports to dial; empty: those of the URL
}

// DefaultPolicy is the policy of an upstream that only has a name and a URL.
func DefaultPolicy(name, rawURL string) Policy {
	return Policy{
		Name:                name,
		URL:                 rawURL,
		Max:                 64,
		MaxDialing:          8,
		PeakMemory:          30 * time.Second,
		Preconnect:          1.1,
		MaxIdleTime:         55 * time.Second,
		MaxLifetime:         15 * time.Minute,
		PipelineDepth:       1,
		MaxAttempts:         2,
		RetryBudget:         0.2,
		MinRetries:          3,
		MaxWaiting:          1024,
		MaxWait:             time.Second,
		ConnectTimeout:      2 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second,
		ResponseHeadTimeout: time.Minute,
		ExpectContinue:      time.Second,
		BodyIdleTimeout:     time.Minute,
		Limits:              h1.DefaultLimits,
		MaxBufferedBody:     4 << 20,
		TLS:                 TLSPolicy{MinVersion: tls.VersionTLS12, SessionCache: 64},
		TCP: TCPPolicy{
			KeepAliveIdle: 15 * time.Second, KeepAliveInterval: 5 * time.Second, KeepAliveCount: 3,
			UserTimeout: 20 * time.Second,
		},
		DNS:    DNSPolicy{Refresh: 30 * time.Second, MinTTL: 5 * time.Second, MaxTTL: 60 * time.Second},
		Upkeep: UpkeepPolicy{Method: "GET", Path: "/", Interval: 150 * time.Millisecond, AfterUse: 10 * time.Second},
	}
}

// origin is a policy's URL, taken apart.
type origin struct {
	tls      bool
	host     string // as resolved: no port, no brackets
	port     string
	hostport string // value of the Host field: without the scheme's default port (RFC 9112, 3.2)
}

func parseOrigin(raw string) (origin, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return origin{}, fmt.Errorf("url %q: %w", raw, err)
	}
	o := origin{host: u.Hostname(), port: u.Port()}
	standard := "80"
	switch u.Scheme {
	case "http":
	case "https":
		o.tls, standard = true, "443"
	default:
		return origin{}, fmt.Errorf("url %q: scheme is %q, must be http or https", raw, u.Scheme)
	}
	switch {
	case o.host == "":
		return origin{}, fmt.Errorf("url %q: has no host", raw)
	case u.User != nil:
		return origin{}, fmt.Errorf("url %q: must not carry user information", u.Redacted())
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "", u.ForceQuery:
		return origin{}, fmt.Errorf("url %q: must be scheme, host and port only; a request brings its own path", raw)
	}
	if o.port == "" {
		o.port = standard
	}
	n, err := strconv.ParseUint(o.port, 10, 16)
	if err != nil || n == 0 {
		return origin{}, fmt.Errorf("url %q: port %q must be 1 to 65535", raw, o.port)
	}
	o.port = strconv.FormatUint(n, 10) // 080 is 80
	o.hostport = o.name()
	if strings.Contains(o.host, ":") {
		o.hostport = "[" + o.hostport + "]"
	}
	if o.port != standard {
		o.hostport += ":" + o.port
	}
	// What no request could be sent with is refused here, by the same rules.
	if err := (&h1.Request{Method: "GET", Target: "/", Host: o.hostport}).Prepare(); err != nil {
		return origin{}, fmt.Errorf("url %q: %w", raw, err)
	}
	return o, nil
}

// name is the host as others know it: the zone of an IPv6 address means something on
// this machine alone (RFC 6874, 4).
func (o *origin) name() string {
	name, _, _ := strings.Cut(o.host, "%")
	return name
}

const maxPreconnect = 3

// Validate reports everything that is wrong with the policy, joined.
func (p *Policy) Validate() error {
	var errs []error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	must(p.Name != "", "name is empty")
	if _, err := parseOrigin(p.URL); err != nil {
		errs = append(errs, err)
	}
	for _, e := range p.Endpoints {
		must(e.IsValid() && e.Port() != 0, "endpoint %q must be an IP address and a port", e)
	}
	must(p.Max >= 1, "max is %d, must be at least 1", p.Max)
	must(p.Warm >= 0 && p.Warm <= p.Max, "warm is %d, must be 0 to max (%d)", p.Warm, p.Max)
	must(p.MaxDialing >= 1, "max_dialing is %d, must be at least 1", p.MaxDialing)
	must(p.Preconnect >= 1 && p.Preconnect <= maxPreconnect, "preconnect is %g, must be 1 to %d", p.Preconnect, maxPreconnect)
	must(p.MaxRequests >= 0, "max_requests is %d, must not be negative", p.MaxRequests)
	must(p.PipelineDepth >= 1, "pipelining depth is %d, must be at least 1", p.PipelineDepth)
	must(p.MaxAttempts >= 1, "max_attempts is %d, must be at least 1", p.MaxAttempts)
	must(p.RetryBudget >= 0 && p.RetryBudget <= 1, "retry budget is %g, must be 0 to 1", p.RetryBudget)
	must(p.MinRetries >= 0, "min_budget is %d, must not be negative", p.MinRetries)
	must(p.MaxWaiting >= 0, "max_waiting is %d, must not be negative", p.MaxWaiting)
	must(p.MaxBufferedBody >= 0, "buffered_body_bytes is %d, must not be negative", p.MaxBufferedBody)
	for name, d := range map[string]time.Duration{
		"peak_memory": p.PeakMemory, "max_idle_time": p.MaxIdleTime, "max_lifetime": p.MaxLifetime, "max_wait": p.MaxWait,
		"response_head": p.ResponseHeadTimeout, "body_idle": p.BodyIdleTimeout, "expect_continue": p.ExpectContinue,
	} {
		must(d >= 0, "%s is %s, must not be negative", name, d)
	}
	must(p.ConnectTimeout > 0, "connect is %s, must be above 0", p.ConnectTimeout)
	must(p.TLSHandshakeTimeout > 0, "tls_handshake is %s, must be above 0", p.TLSHandshakeTimeout)
	must(p.DNS.Refresh > 0, "dns.refresh is %s, must be above 0", p.DNS.Refresh)
	must(p.DNS.MinTTL > 0 && p.DNS.MinTTL <= p.DNS.MaxTTL, "dns.min_ttl is %s, must be above 0 and at most dns.max_ttl (%s)", p.DNS.MinTTL, p.DNS.MaxTTL)
	for _, s := range p.DNS.Servers {
		must(s.IsValid() && s.Port() != 0, "dns server %q must be an IP address and a port", s)
	}
	p.validateUpkeep(must)
	must(p.TLS.MinVersion == tls.VersionTLS12 || p.TLS.MinVersion == tls.VersionTLS13,
		"tls min_version is %#x, must be TLS 1.2 or 1.3", p.TLS.MinVersion)
	return errors.Join(errs...)
}
