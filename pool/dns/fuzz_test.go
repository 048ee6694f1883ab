package dns

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Whatever comes from the network is either passed over, or a failure, or an
// answer to the question within bounds.
func FuzzReply(f *testing.F) {
	for _, t := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV} {
		q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.test."), Type: t, Class: dnsmessage.ClassINET}
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}
		m := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: 7, Response: true},
			Questions: []dnsmessage.Question{q},
			Answers: []dnsmessage.Resource{
				{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.test.")}},
				{Header: h, Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}}},
				{Header: h, Body: &dnsmessage.AAAAResource{AAAA: [16]byte{15: 1}}},
				{Header: h, Body: &dnsmessage.SRVResource{Port: 80, Target: q.Name}},
			},
			Authorities: []dnsmessage.Resource{{Header: h, Body: &dnsmessage.SOAResource{NS: q.Name, MBox: q.Name, MinTTL: 9}}},
			Additionals: []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, 2}}}},
		}
		message, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message, uint16(t))
		f.Add(message[:len(message)-3], uint16(t))
	}
	f.Fuzz(func(t *testing.T, message []byte, kind uint16) {
		q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.test."), Type: dnsmessage.Type(kind), Class: dnsmessage.ClassINET}
		r, err := readReply(message, 7, q)
		if err != nil {
			if r != nil {
				t.Error("there is a reply beside an error")
			}
			return
		}
		var p dnsmessage.Parser
		if h, err := p.Start(message); err != nil || h.ID != 7 || !h.Response {
			t.Errorf("taken for a reply: %+v, %v", h, err)
		}
		if asked, err := p.Question(); err == nil && !strings.EqualFold(asked.Name.String(), "a.test.") {
			t.Errorf("taken for the reply to another question: %v", asked.Name)
		} else if err != nil && !errors.Is(err, dnsmessage.ErrSectionDone) {
			t.Errorf("taken for a reply though its question is broken: %v", err)
		}
		if n := len(r.addresses) + len(r.services) + len(r.aliases); n > 2*maxRecords {
			t.Errorf("%d records", n)
		}
		if r.negative != Unknown && (r.negative < 0 || r.negative > longest) {
			t.Errorf("nothing for %v", r.negative)
		}
		end, ttl, err := r.follow("a.test.")
		if err == nil && (ttl < 0 || ttl > longest || end == "") {
			t.Errorf("follows to %q for %v", end, ttl)
		}
	})
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte("search a b\nnameserver 1.1.1.1\noptions ndots:5"), "a.b")
	f.Add([]byte("127.0.0.1 localhost\nhosts: files [x=y] mdns"), "x.local.")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		c := parseResolv(text, 53)
		if len(c.servers) == 0 || len(c.servers) > maxServers || len(c.search) > maxSearch || c.attempts < 1 || c.timeout <= 0 {
			t.Errorf("out of bounds: %+v", c)
		}
		all := files{hosts: parseHosts(text), config: c, sources: parseSources(text)}
		name = strings.ToLower(name)
		if _, err := fullName(name); err != nil {
			return
		}
		all.sources.others(name)
		for _, addr := range all.lookupStatic(name) {
			if !addr.IsValid() {
				t.Errorf("%q has an address that is none", name)
			}
		}
		l := lookup{name: name, config: c}
		for _, full := range l.candidates() {
			if _, err := fullName(full); err != nil || !strings.HasSuffix(full, ".") {
				t.Errorf("%q is asked for: %v", full, err)
			}
		}
	})
}
