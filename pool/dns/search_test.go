package dns

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool/dns/dnstest"
)

const cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local"

// What a pod has: a name outside the cluster costs eight questions once, and two
// from then on.
func TestANameOutsideTheClusterCostsTwoQuestionsOnceItIsKnown(t *testing.T) {
	m, s := alone(t, cluster, "options ndots:5")
	s.Set("payments.example", "A 5 10.0.0.1")
	m.want(m.lookup(host("payments.example")), "10.0.0.1 5s")
	asked := s.Asked() // less what was not sent any more when the other kind's answer was there
	for _, q := range both("payments.example.shop.svc.cluster.local", "payments.example.svc.cluster.local", "payments.example.cluster.local", "payments.example") {
		asked = slices.DeleteFunc(asked, func(other string) bool { return other == q })
	}
	if len(asked) > 0 {
		t.Errorf("asked beyond what is needed: %q", asked)
	}
	for range 3 {
		m.want(m.lookup(host("payments.example")), "10.0.0.1 5s")
		m.asked(s, both("payments.example")...)
	}
	s.Unset("payments.example") // then the whole list counts again
	m.fails(host("payments.example"), NotFound)
	for _, domain := range []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"} {
		if asked := s.Questions(); !slices.ContainsFunc(asked, func(q dnstest.Question) bool { return q.Name == "payments.example."+domain+"." }) {
			t.Errorf("%s was left out: %v", domain, asked)
		}
	}
}

func TestAServiceOfTheClusterIsFoundByItsShortNames(t *testing.T) {
	m, s := alone(t, cluster, "options ndots:5")
	s.Set("payments.shop.svc.cluster.local", "A 5 10.0.0.1")
	m.want(m.lookup(host("payments")), "10.0.0.1 5s")
	m.asked(s, both("payments.shop.svc.cluster.local")...)
	m.want(m.lookup(host("payments.shop")), "10.0.0.1 5s")
	m.want(m.lookup(host("payments.shop.svc")), "10.0.0.1 5s")
	m.want(m.lookup(host("payments.shop.svc.cluster.local")), "10.0.0.1 5s")
	s.Asked()
	m.want(m.lookup(host("payments.shop.svc.cluster.local.")), "10.0.0.1 5s")
	m.asked(s, both("payments.shop.svc.cluster.local")...)
}

func TestANameWithEnoughDotsIsAskedForAsItStandsFirst(t *testing.T) {
	m, s := alone(t, "search corp.test", "options ndots:2")
	s.Set("a.b.test", "A 5 10.0.0.1")
	s.Set("a.b.corp.test", "A 5 10.0.0.2")
	m.want(m.lookup(host("a.b.test")), "10.0.0.1 5s")
	m.asked(s, both("a.b.test")...)
	m.want(m.lookup(host("a.b")), "10.0.0.2 5s")
	m.asked(s, both("a.b.corp.test")...)
}

func TestAFailureInTheSearchListIsNotTakenForAbsence(t *testing.T) {
	m, s := alone(t, "search one.test two.test", "options attempts:1 timeout:1")
	failing := func(reply dnstest.Reply) func(dnstest.Question) (dnstest.Reply, bool) {
		return func(q dnstest.Question) (dnstest.Reply, bool) { return reply, q.Name == "a.one.test." }
	}
	s.Script(failing(dnstest.Reply{Code: "SERVFAIL"}))
	m.fails(host("a"), ServerFailed)
	s.Set("a.two.test", "A 5 10.0.0.2")
	m.want(m.lookup(host("a")), "10.0.0.2 5s")
	m, s = alone(t, "search one.test two.test", "options attempts:1 timeout:1")
	s.Set("a.two.test", "A 5 10.0.0.2")
	s.Script(failing(dnstest.Reply{Silent: true}))
	m.fails(host("a"), Timeout)
	m.asked(s, both("a.one.test")...)
}

func TestAFailedSearchTellsWhatWasAskedFor(t *testing.T) {
	m, s := alone(t, "search one.test two.test")
	e := m.fails(host("a"), NotFound)
	if e.Error() != `the name "a" does not exist: asked for a.one.test, a.two.test, a` {
		t.Errorf("the error is: %v", e)
	}
	s.Set("a.two.test")
	m.fails(host("a"), NoAddress)
}

func TestTargetsOfAServiceComeWithPortsPrioritiesAndWeights(t *testing.T) {
	m, s := alone(t, cluster, "options ndots:5")
	const full = "_http._tcp.payments.shop.svc.cluster.local"
	s.Set(full, "SRV 9 20 1 82 c.test", "SRV 9 10 30 80 a.test", "SRV 8 10 70 81 b.test")
	s.Set("a.test", "A 60 10.0.0.1", "AAAA 60 2001:db8::1")
	s.Set("b.test", "CNAME 7 b2.test")
	s.Set("b2.test", "A 60 10.0.0.2")
	s.Set("c.test", "A 60 10.0.0.3")
	m.want(m.lookup(service("_http._tcp.payments")), "10.0.0.2:81/10/70 [2001:db8::1]:80/10/30 10.0.0.1:80/10/30 10.0.0.3:82/20/1 7s")
	m.asked(s, append(both("a.test", "b.test", "c.test"), "SRV "+full)...)

	s.Unset("a.test") // a target that does not exist is none
	m.want(m.lookup(service("_http._tcp.payments")), "10.0.0.2:81/10/70 10.0.0.3:82/20/1 7s")
	s.Script(func(q dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{Code: "SERVFAIL"}, q.Name == "a.test."
	})
	m.want(m.lookup(service("_http._tcp.payments")), "10.0.0.2:81/10/70 10.0.0.3:82/20/1 7s partial")
}

func TestAddressesBesideTheTargetsSaveQuestions(t *testing.T) {
	m, s := alone(t)
	s.Script(func(dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{
			Records: []string{"SRV 30 0 1 80 a.test", "SRV 30 0 1 80 a.test", "SRV 30 0 1 80 localhost"},
			Extra:   []string{"a.test. A 5 10.0.0.1", "other.test. A 5 192.0.2.66"},
		}, true
	})
	m.want(m.lookup(service("_http._tcp.test")), "10.0.0.1:80/0/1 127.0.0.1:80/0/1 [::1]:80/0/1 5s")
	m.asked(s, "SRV _http._tcp.test")
}

func TestAServiceThatIsNotOfferedIsNotFound(t *testing.T) {
	m, s := alone(t)
	s.Set("_http._tcp.test", "SRV 30 0 0 0 .")
	e := m.fails(service("_http._tcp.test"), NoAddress)
	if !strings.Contains(e.Error(), "not offered") || e.TTL != 30*time.Second {
		t.Errorf("for %v: %v", e.TTL, e)
	}
	s.Set("_http._tcp.test", "SRV 30 0 0 80 gone.test")
	e = m.fails(service("_http._tcp.test"), NotFound)
	if !strings.Contains(e.Error(), "target") {
		t.Errorf("the error is: %v", e)
	}
}

func TestNamesThatTheSystemFindsOtherwiseAreLeftToIt(t *testing.T) {
	m, s := alone(t)
	s.Set("printer.local", "A 5 10.0.0.9")
	s.Set("a.svc.cluster.local", "A 5 10.0.0.1")
	m.want(m.lookup(host("printer.local")), "10.0.0.9 5s") // nothing says that there is mDNS
	m.write("nsswitch.conf", "passwd: files", "hosts: files mdns4_minimal [NOTFOUND=return] dns # as usual")
	m.want(m.lookup(host("printer.local")), "192.0.2.1 unknown")
	m.want(m.lookup(host("a.svc.cluster.local")), "10.0.0.1 5s")
	m.fails(host("missing.local"), NotFound)
	m.write("nsswitch.conf", "hosts: files [SUCCESS=return NOTFOUND=continue] resolve [!UNAVAIL=return] dns")
	m.want(m.lookup(host("a.svc.cluster.local")), "192.0.2.1 unknown")
	m.want(m.lookup(service("_http._tcp.test")), "192.0.2.1:81/1/2 unknown")
	want := []string{"ip printer.local", "ip missing.local", "ip a.svc.cluster.local", "SRV _http._tcp.test", "ip a.local."}
	if !slices.Equal(m.other.asked, want) {
		t.Errorf("the system's resolver was asked %q, want %q", m.other.asked, want)
	}
	q := host("a.svc.cluster.local")
	q.Servers = append(q.Servers, s.Addr())
	m.want(m.lookup(q), "10.0.0.1 5s")
}

func TestTheHostsFileComesFirstAndIsReadAgain(t *testing.T) {
	m, s := alone(t)
	s.Set("a.test", "A 5 10.0.0.1")
	m.want(m.lookup(host("a.test")), "10.0.0.1 5s")
	s.Asked()
	m.write("hosts", "127.0.0.9  A.Test b.test # here", "::9 a.test", "nonsense a.test")
	m.want(m.lookup(host("a.test")), "127.0.0.9 ::9 unknown")
	m.want(m.lookup(host("b.test.")), "127.0.0.9 unknown")
	m.want(m.lookup(host("localhost")), "127.0.0.1 ::1 unknown")
	m.want(m.lookup(host("x.localhost.")), "127.0.0.1 ::1 unknown")
	m.asked(s)
	m.write("hosts")
	m.want(m.lookup(host("a.test")), "10.0.0.1 5s")
	m.write("resolv.conf", "nameserver "+s.Addr().Addr().String(), "search test")
	m.want(m.lookup(host("a")), "10.0.0.1 5s")
}
