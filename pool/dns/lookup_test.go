package dns

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool/dns/dnstest"
)

func TestBothKindsOfAddressAreFoundWithTheLeastTTL(t *testing.T) {
	m, s := alone(t)
	s.Set("a.test", "A 30 10.0.0.1", "A 20 10.0.0.2", "AAAA 25 2001:db8::1")
	m.want(m.lookup(host("A.test")), "2001:db8::1 10.0.0.1 10.0.0.2 20s")
	m.asked(s, both("a.test")...)
	for _, q := range s.Questions() {
		if !q.EDNS || q.TCP {
			t.Errorf("asked as %+v", q)
		}
	}
}

func TestAliasesAreFollowedInsideAndBeyondAReply(t *testing.T) {
	m, s := alone(t)
	s.Set("a.test", "CNAME 9 b.test")
	s.Set("b.test", "CNAME 8 c.test")
	s.Set("c.test", "A 60 10.0.0.1")
	m.want(m.lookup(host("a.test")), "10.0.0.1 8s")
	m.asked(s, both("a.test")...)

	s.Script(func(q dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{Records: []string{"CNAME 3 far.test"}}, q.Name == "a.test."
	})
	s.Set("far.test", "A 60 10.0.0.2", "AAAA 60 2001:db8::2")
	m.want(m.lookup(host("a.test")), "2001:db8::2 10.0.0.2 3s")
	m.asked(s, append(both("a.test"), both("far.test")...)...)
}

func TestAliasesThatLeadNowhereEnd(t *testing.T) {
	m, s := alone(t)
	s.Script(func(q dnstest.Question) (dnstest.Reply, bool) { // ever longer
		return dnstest.Reply{Records: []string{"CNAME 3 x" + q.Name}}, true
	})
	m.fails(host("a.test"), ServerFailed)
	s.Asked()
	s.Script(func(dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{Records: []string{"a.test. CNAME 3 b.test", "b.test. CNAME 3 a.test"}}, true
	})
	m.fails(host("a.test"), ServerFailed)
	m.asked(s, both("a.test")...)
}

func TestRecordsOfOtherNamesAreNotBelieved(t *testing.T) {
	m, s := alone(t)
	s.Script(func(q dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{
			Records: []string{"other.test. A 5 192.0.2.66", "A 5 10.0.0.1"},
			Extra:   []string{"a.test. AAAA 5 2001:db8::66"},
		}, q.Type == "A"
	})
	s.Set("a.test")
	m.want(m.lookup(host("a.test")), "10.0.0.1 5s")
}

func TestATruncatedReplyIsAskedForOverTCP(t *testing.T) {
	m, s := alone(t)
	var records []string
	for i := range 200 {
		records = append(records, fmt.Sprintf("A 60 10.1.%d.%d", i/100, i%100))
	}
	s.Set("big.test", records...)
	a, err := m.Lookup(t.Context(), host("big.test"))
	if err != nil || len(a.Endpoints) != 200 {
		t.Fatalf("%d addresses, %v", len(a.Endpoints), err)
	}
	over := 0
	for _, q := range s.Questions() {
		if q.TCP {
			over++
		}
	}
	if over != 1 {
		t.Errorf("%d questions over TCP, want 1", over)
	}
	s.Script(func(dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{Records: records, Truncated: true}, true
	})
	if a, err = m.Lookup(t.Context(), host("big.test")); err != nil || len(a.Endpoints) != 200 {
		t.Errorf("%d addresses, %v", len(a.Endpoints), err)
	}
}

func TestMoreAddressesThanAreOfUseArePassedOver(t *testing.T) {
	m, s := alone(t)
	var records []string
	for i := range 1000 {
		records = append(records, fmt.Sprintf("A 60 10.1.%d.%d", i/250, i%250))
	}
	s.Set("big.test", records...)
	if a, err := m.Lookup(t.Context(), host("big.test")); err != nil || len(a.Endpoints) != maxAddresses {
		t.Errorf("%d addresses, %v", len(a.Endpoints), err)
	}
}

func TestTCPOnlyIfResolvConfSaysSo(t *testing.T) {
	m, s := alone(t, "options use-vc")
	s.Set("a.test", "A 5 10.0.0.1")
	m.want(m.lookup(host("a.test")), "10.0.0.1 5s")
	for _, q := range s.Questions() {
		if !q.TCP {
			t.Error("a question came over UDP")
		}
	}
}

func TestAServerWithoutEDNSIsAskedWithout(t *testing.T) {
	for _, code := range []string{"FORMERR", "NOTIMP"} {
		m, s := alone(t)
		s.Set("a.test", "A 5 10.0.0.1")
		s.Script(func(q dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Code: code}, q.EDNS })
		m.want(m.lookup(host("a.test")), "10.0.0.1 5s")
	}
}

// Whoever guesses must guess the id, the port and the question; whoever sends
// anything else is passed over, and the reply still counts.
func TestForgedRepliesArePassedOver(t *testing.T) {
	m, s := alone(t)
	for _, wrong := range []string{"id", "question", "source", "garbage", "query"} {
		s.Script(func(q dnstest.Question) (dnstest.Reply, bool) {
			return dnstest.Reply{Records: []string{"A 5 10.0.0.1"}, Forged: []string{wrong, wrong}, Delay: 20 * time.Millisecond}, q.Type == "A"
		})
		s.Set("a.test")
		m.want(m.lookup(host("a.test")), "10.0.0.1 5s")
	}
}

func TestAFloodOfForgedRepliesEndsTheQuestion(t *testing.T) {
	m, s := alone(t, "options attempts:1")
	s.Script(func(dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{Forged: strings.Split(strings.Repeat("id ", maxStrays)+"id", " ")}, true
	})
	m.fails(host("a.test"), ServerFailed)
}

func TestRepliesThatMakeNoSenseAreAServersFailure(t *testing.T) {
	m, s := alone(t, "options attempts:1")
	question := []byte("\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01")
	s.Script(func(q dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{Raw: append(question, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a"...)}, q.Type == "A"
	})
	s.Set("a.test")
	e := m.fails(host("a.test"), ServerFailed)
	if !strings.Contains(e.Error(), "the answer section") || !strings.Contains(e.Error(), s.Addr().String()) {
		t.Errorf("the error is: %v", e)
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	m, s := alone(t, "options timeout:1 attempts:1")
	e := m.fails(host("missing.test"), NotFound)
	if e.TTL != dnstest.Negative || e.Error() != `the name "missing.test" does not exist` {
		t.Errorf("%v for %v", e, e.TTL)
	}
	s.Set("empty.test")
	e = m.fails(host("empty.test"), NoAddress)
	if e.TTL != dnstest.Negative || e.Error() != `the name "empty.test" has no address` {
		t.Errorf("%v for %v", e, e.TTL)
	}
	m.fails(service("empty.test"), NoAddress)
	m.fails(service("missing.test"), NotFound)
	for _, code := range []string{"SERVFAIL", "REFUSED"} {
		s.Script(func(dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Code: code}, true })
		e = m.fails(host("a.test"), ServerFailed)
		if !strings.HasSuffix(e.Error(), "a.test; "+s.Addr().String()+" answered "+code) {
			t.Errorf("the error is: %v", e)
		}
	}
	s.Script(func(dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Lame: true}, true })
	m.fails(host("a.test"), ServerFailed)
	s.Script(func(dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Silent: true}, true })
	e = m.fails(host("a.test"), Timeout)
	if !strings.HasSuffix(e.Error(), s.Addr().String()+" did not answer within 1s") {
		t.Errorf("the error is: %v", e)
	}
	for _, name := range []string{"", ".", "a..test", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "test"} {
		m.fails(host(name), Malformed)
	}
}

func TestAServerThatIsNotThereIsNotWaitedFor(t *testing.T) {
	s := dnstest.Start(t)
	s.Set("a.test", "A 5 10.0.0.1")
	m := newMachine(t, nil, "options timeout:30")
	gone := netip.MustParseAddrPort("127.0.0.1:1")
	begun := time.Now()
	m.want(m.lookup(Query{Name: "a.test", Servers: []netip.AddrPort{gone, s.Addr()}}), "10.0.0.1 5s")
	m.fails(Query{Name: "a.test", Servers: []netip.AddrPort{gone}}, Unreachable)
	if took := time.Since(begun); took > soon {
		t.Errorf("it took %v", took)
	}
}

func TestASilentServerCostsItsTimeoutOnce(t *testing.T) {
	first := dnstest.Start(t)
	second := dnstest.StartAt(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), first.Addr().Port()))
	m := newMachine(t, []*dnstest.Server{first, second}, "options timeout:1")
	first.Script(func(dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Silent: true}, true })
	second.Set("a.test", "A 5 10.0.0.1")
	for range 3 {
		m.want(m.lookup(host("a.test")), "10.0.0.1 5s")
	}
	m.asked(first, both("a.test")...)
}

func TestServersAreAskedInTurnWithRotate(t *testing.T) {
	first := dnstest.Start(t)
	second := dnstest.StartAt(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), first.Addr().Port()))
	for option, want := range map[string]int{"options rotate": 2, "options ndots:1": 4} {
		m := newMachine(t, []*dnstest.Server{first, second}, option)
		for _, s := range []*dnstest.Server{first, second} {
			s.Set("a.test", "A 5 10.0.0.1")
		}
		for range 4 {
			m.lookup(host("a.test"))
		}
		if got := len(first.Asked()) / 2; got != want {
			t.Errorf("%s: the first server is asked %d times of 4, want %d", option, got, want)
		}
	}
}

func TestAFailingServerLeadsToTheNextAndASecondRound(t *testing.T) {
	first := dnstest.Start(t)
	second := dnstest.StartAt(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), first.Addr().Port()))
	m := newMachine(t, []*dnstest.Server{first, second}, "options single-request")
	fails := func(dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Code: "SERVFAIL"}, true }
	first.Script(fails)
	second.Script(fails)
	e := m.fails(host("a.test"), ServerFailed)
	if text := e.Error(); !strings.Contains(text, first.Addr().String()+" answered SERVFAIL") || !strings.Contains(text, second.Addr().String()+" answered SERVFAIL") {
		t.Errorf("the error is: %v", e)
	}
	m.asked(first, append(both("a.test"), both("a.test")...)...)
	second.Script(nil)
	second.Set("a.test", "A 5 10.0.0.1")
	m.want(m.lookup(host("a.test")), "10.0.0.1 5s")
}

// An answer for one kind of address is worth having when the other's fails.
func TestOneKindOfAddressThatFailsLeavesTheAnswerPartial(t *testing.T) {
	m, s := alone(t)
	s.Set("a.test", "A 5 10.0.0.1")
	s.Script(func(q dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{Code: "SERVFAIL"}, q.Type == "AAAA"
	})
	m.want(m.lookup(host("a.test")), "10.0.0.1 5s partial")
	s.Unset("a.test")
	m.fails(host("a.test"), NotFound) // of either kind is of both
	s.Set("a.test")
	m.fails(host("a.test"), ServerFailed) // there may be an address
}

func TestAHurriedLookupSettlesForOneKindAndAPatientOneDoesNot(t *testing.T) {
	m, s := alone(t)
	s.Set("a.test", "A 5 10.0.0.1", "AAAA 5 2001:db8::1")
	s.Script(func(q dnstest.Question) (dnstest.Reply, bool) {
		return dnstest.Reply{Records: []string{"AAAA 5 2001:db8::1"}, Delay: 300 * time.Millisecond}, q.Type == "AAAA"
	})
	m.want(m.lookup(Query{Name: "a.test", Hurried: true}), "10.0.0.1 5s partial")
	m.want(m.lookup(host("a.test")), "2001:db8::1 10.0.0.1 5s")
	s.Script(nil)
	m.want(m.lookup(Query{Name: "a.test", Hurried: true}), "2001:db8::1 10.0.0.1 5s")
}

func TestALookupEndsWithItsContext(t *testing.T) {
	m, s := alone(t, "options timeout:30 attempts:5")
	s.Script(func(dnstest.Question) (dnstest.Reply, bool) { return dnstest.Reply{Silent: true}, true })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := m.Lookup(ctx, host("a.test"))
	if took := time.Since(begun); took > soon || err == nil {
		t.Errorf("%v after %v", err, took)
	}
}
