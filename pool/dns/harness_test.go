package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warmpool-dev/warmpool/pool/dns/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a resolver whose files are a test's own.
type machine struct {
	*Resolver
	t     *testing.T
	dir   string
	other *other
}

// other is the system's resolver, which knows everything.
type other struct{ asked []string }

func (o *other) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	o.asked = append(o.asked, network+" "+host)
	if host == "missing.local" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
}

func (o *other) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	o.asked = append(o.asked, "SRV "+service+proto+name)
	return name, []*net.SRV{{Target: "a.local.", Port: 81, Priority: 1, Weight: 2}}, nil
}

// newMachine has a resolv.conf with the servers, which must share a port, and
// the further lines.
func newMachine(t *testing.T, servers []*dnstest.Server, lines ...string) *machine {
	m := &machine{t: t, dir: t.TempDir(), other: &other{}}
	m.Resolver = newResolver(paths{
		hosts: filepath.Join(m.dir, "hosts"), resolv: filepath.Join(m.dir, "resolv.conf"), nsswitch: filepath.Join(m.dir, "nsswitch.conf"),
	}, m.other)
	for _, s := range servers {
		m.port = s.Addr().Port()
		lines = append(lines, "nameserver "+s.Addr().Addr().String())
	}
	m.write("resolv.conf", append(lines, "search .")...) // without a domain of this machine's
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "search ") }); i >= 0 {
		m.write("resolv.conf", lines...)
	}
	return m
}

func (m *machine) write(file string, lines ...string) {
	m.t.Helper()
	path := filepath.Join(m.dir, file)
	if err := os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		m.t.Fatal(err)
	}
}

// lookup finds what must be there, in the form of told.
func (m *machine) lookup(q Query) string {
	m.t.Helper()
	a, err := m.Lookup(m.t.Context(), q)
	if err != nil {
		m.t.Fatalf("%+v: %v", q, err)
	}
	return told(a)
}

// told is an answer in short: addresses, with ports, priorities and weights of a
// service, then the TTL and whether it is partial.
func told(a Answer) string {
	var words []string
	for _, e := range a.Endpoints {
		if e.Port == 0 {
			words = append(words, e.Addr.String())
		} else {
			words = append(words, fmt.Sprintf("%s/%d/%d", netip.AddrPortFrom(e.Addr, e.Port), e.Priority, e.Weight))
		}
	}
	if a.TTL == Unknown {
		words = append(words, "unknown")
	} else {
		words = append(words, a.TTL.String())
	}
	if a.Partial {
		words = append(words, "partial")
	}
	return strings.Join(words, " ")
}

// fails expects a lookup to fail, and returns how.
func (m *machine) fails(q Query, kind Kind) *Error {
	m.t.Helper()
	a, err := m.Lookup(m.t.Context(), q)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		m.t.Fatalf("%+v: %s, error %v; want an *Error", q, told(a), err)
	}
	if e.Kind != kind {
		m.t.Errorf("%+v failed for %v, want %v: %v", q, e.Kind, kind, e)
	}
	return e
}

func (m *machine) want(got, want string) {
	m.t.Helper()
	if got != want {
		m.t.Errorf("got  %s\nwant %s", got, want)
	}
}

// asked expects that the server was asked these questions, in any order, since
// it was asked for them last.
func (m *machine) asked(s *dnstest.Server, want ...string) {
	m.t.Helper()
	got := s.Asked()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		m.t.Errorf("asked: %q\nwant:  %q", got, want)
	}
}

// both are the questions for both kinds of address of each name.
func both(names ...string) []string {
	var list []string
	for _, n := range names {
		list = append(list, "A "+n, "AAAA "+n)
	}
	return list
}

func alone(t *testing.T, lines ...string) (*machine, *dnstest.Server) {
	s := dnstest.Start(t)
	return newMachine(t, []*dnstest.Server{s}, lines...), s
}

func host(name string) Query    { return Query{Name: name} }
func service(name string) Query { return Query{Name: name, Service: true} }

const soon = 5 * time.Second // for what takes milliseconds
