package dns

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// paths are the files of the system's resolver.
type paths struct{ hosts, resolv, nsswitch string }

// files is what stands in them.
type files struct {
	stamps  [3]stamp // of hosts, resolv and nsswitch, when they were read
	read    bool
	hosts   map[string][]netip.Addr
	config  config
	sources sources
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
	file     os.FileInfo // the same file, or another that was put into its place
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{modified: info.ModTime(), size: info.Size(), file: info}
}

func (s stamp) same(o stamp) bool {
	if s.file == nil || o.file == nil {
		return s.file == nil && o.file == nil
	}
	return s.size == o.size && s.modified.Equal(o.modified) && os.SameFile(s.file, o.file)
}

// files reads what has changed since it was read last. A file that is not there
// counts as empty.
func (r *Resolver) files() files {
	r.mu.Lock()
	f := r.mu.files
	r.mu.Unlock()
	changed := !f.read
	for i, path := range []string{r.paths.hosts, r.paths.resolv, r.paths.nsswitch} {
		now := stampOf(path) // before reading, so that a later change is seen next time
		if f.read && now.same(f.stamps[i]) {
			continue
		}
		f.stamps[i], changed = now, true
		text := readFile(path)
		switch i {
		case 0:
			f.hosts = parseHosts(text)
		case 1:
			f.config = parseResolv(text, r.port)
		case 2:
			f.sources = parseSources(text)
		}
	}
	if changed {
		f.read = true
		r.mu.Lock()
		r.mu.files = f
		clear(r.mu.full) // what was found out under other rules
		r.mu.Unlock()
	}
	return f
}

// maxFile bounds a file that is read. A hosts file of an ad blocker has a few MiB.
const maxFile = 16 << 20

func readFile(path string) []byte {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return text
}

// lookupStatic finds a name in the hosts file, or localhost (RFC 6761, 6.3),
// which no server is asked for.
func (f *files) lookupStatic(name string) []netip.Addr {
	name = strings.TrimSuffix(name, ".")
	if addrs := f.hosts[name]; addrs != nil {
		return addrs
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

func parseHosts(text []byte) map[string][]netip.Addr {
	hosts := make(map[string][]netip.Addr)
	for words := range settings(text) {
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		for _, name := range words[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			if list := hosts[name]; len(list) < maxAddresses && !slices.Contains(list, addr.Unmap()) {
				hosts[name] = append(list, addr.Unmap())
			}
		}
	}
	return hosts
}

// settings yields the words of each line that has at least one, without remarks.
func settings(text []byte) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range bytes.Lines(text) {
			if i := bytes.IndexAny(line, "#;"); i >= 0 {
				line = line[:i]
			}
			if words := strings.Fields(string(line)); len(words) > 0 && !yield(words) {
				return
			}
		}
	}
}

// config is what /etc/resolv.conf says, resolv.conf(5).
type config struct {
	servers  []netip.AddrPort
	search   []string // domains in lower case, without final dot
	ndots    int      // a name with fewer dots is asked for in the search list first
	timeout  time.Duration
	attempts int  // rounds through the servers
	rotate   bool // begin with another server each time
	inTurn   bool // A and then AAAA (single-request), for servers that drop one of two
	tcp      bool // no UDP (use-vc)
}

// Bounds and defaults of resolv.conf. Two are ours: the system waits 5 s for a
// server by default, in which a caller has given up; and more than six domains
// are of use to nobody who pays for each lookup.
const (
	maxServers     = 3
	maxSearch      = 32
	maxNdots       = 15
	maxAttempts    = 5
	maxTimeout     = 30 // seconds
	defaultTimeout = 2 * time.Second
)

func parseResolv(text []byte, port uint16) config {
	c := config{ndots: 1, timeout: defaultTimeout, attempts: 2}
	domain := hostDomain
	for words := range settings(text) {
		rest := words[1:]
		switch words[0] {
		case "nameserver":
			if len(rest) == 0 || len(c.servers) == maxServers {
				continue
			}
			if addr, err := netip.ParseAddr(rest[0]); err == nil {
				c.servers = append(c.servers, netip.AddrPortFrom(addr.Unmap(), port))
			}
		case "domain", "search":
			c.search, domain = nil, func() string { return "" }
			for _, d := range rest[:min(len(rest), maxSearch)] {
				d = strings.ToLower(strings.TrimSuffix(d, "."))
				if _, err := fullName(d + "."); err == nil && d != "" {
					c.search = append(c.search, d)
				}
			}
		case "options":
			for _, option := range rest {
				c.option(option)
			}
		}
	}
	if d := domain(); d != "" {
		c.search = []string{d}
	}
	if len(c.servers) == 0 {
		c.servers = []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port),
			netip.AddrPortFrom(netip.IPv6Loopback(), port),
		}
	}
	return c
}

// hostDomain is the domain of this machine's name, the search list of a
// resolv.conf without one.
func hostDomain() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	_, domain, _ := strings.Cut(name, ".")
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}

func (c *config) option(option string) {
	name, value, _ := strings.Cut(option, ":")
	number, err := strconv.Atoi(value)
	if err != nil {
		number = -1
	}
	switch name {
	case "ndots":
		if number >= 0 {
			c.ndots = min(number, maxNdots)
		}
	case "timeout":
		if number >= 0 {
			c.timeout = time.Duration(min(max(1, number), maxTimeout)) * time.Second
		}
	case "attempts":
		if number >= 0 {
			c.attempts = min(max(1, number), maxAttempts)
		}
	case "rotate":
		c.rotate = true
	case "single-request", "single-request-reopen":
		c.inTurn = true
	case "use-vc", "usevc", "tcp":
		c.tcp = true
	}
}

// sources is what the hosts line of /etc/nsswitch.conf names beside files and dns.
type sources struct {
	mdns     bool // two labels ending in .local
	mdnsAll  bool // every name ending in .local
	hostname bool // this machine's own name
	unknown  bool // anything else: any name
}

func parseSources(text []byte) sources {
	var s sources
	for words := range settings(text) {
		if words[0] != "hosts:" {
			continue
		}
		action := false // inside [NOTFOUND=return] and the like
		for _, word := range words[1:] {
			if strings.HasPrefix(word, "[") {
				action = true
			}
			if action {
				action = !strings.HasSuffix(word, "]")
				continue
			}
			switch {
			case word == "files", word == "dns":
			case strings.HasPrefix(word, "mdns") && strings.HasSuffix(word, "_minimal"):
				s.mdns = true
			case strings.HasPrefix(word, "mdns"):
				s.mdnsAll = true
			case word == "myhostname":
				s.hostname = true
			default:
				s.unknown = true
			}
		}
	}
	return s
}

// others reports that the system would find name by other means than the hosts
// file and DNS.
func (s sources) others(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if s.unknown {
		return true
	}
	if host, ok := strings.CutSuffix(name, ".local"); ok && (s.mdnsAll || s.mdns && !strings.Contains(host, ".")) {
		return true
	}
	if !s.hostname {
		return false
	}
	own, err := os.Hostname()
	return name == "_gateway" || name == "_outbound" || err == nil && strings.EqualFold(name, own)
}
