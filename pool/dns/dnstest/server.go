// Package dnstest is a DNS server for tests: real UDP and TCP on loopback,
// which answers from a zone that the test changes as it goes, or as a script of
// the test's own says, including everything that a server should not do.
package dnstest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Question is what the server was asked.
type Question struct {
	Name string // as it came, with the final dot
	Type string // A, AAAA, SRV, …
	TCP  bool   // else UDP
	EDNS bool   // a payload size was announced
}

// Reply is what the server does about a question.
type Reply struct {
	Code      string        // NXDOMAIN, SERVFAIL, …; empty: NOERROR
	Records   []string      // answer section, "name. TYPE ttl data"; an empty name is the question's
	Extra     []string      // additional section
	Negative  time.Duration // the TTL of nothing: an SOA record in the authority section; 0: no such record
	Delay     time.Duration // before the reply
	Silent    bool          // no reply at all
	Truncated bool          // over UDP: nothing but the sign to ask over TCP
	Lame      bool          // neither authoritative nor recursive
	Forged    []string      // sent before it over UDP, wrong in one thing each: id, question, source, garbage, query
	Raw       []byte        // the reply's bytes behind the id, whatever they mean
}

// Server is a DNS server.
type Server struct {
	tb  testing.TB
	udp *net.UDPConn
	tcp net.Listener

	running sync.WaitGroup
	closed  chan struct{}

	mu     sync.Mutex
	zone   map[string][]string // records by lower-case name
	script func(Question) (Reply, bool)
	asked  []Question
	conns  map[net.Conn]struct{}
}

// Start runs a server on a port of 127.0.0.1 until the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return StartAt(tb, netip.MustParseAddrPort("127.0.0.1:0"))
}

// StartAt runs a server at an address, on a free port when that is 0.
func StartAt(tb testing.TB, at netip.AddrPort) *Server {
	tb.Helper()
	s := &Server{tb: tb, closed: make(chan struct{}), zone: make(map[string][]string), conns: make(map[net.Conn]struct{})}
	var err error
	for range 20 { // a port that is free for TCP may be taken for UDP
		if s.tcp, err = net.Listen("tcp", at.String()); err != nil { //nolint:noctx // a listener of a test
			continue
		}
		where := s.Addr()
		if s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(where)); err == nil {
			break
		}
		_ = s.tcp.Close()
	}
	if err != nil {
		tb.Fatalf("a DNS server at %s: %v", at, err)
	}
	s.running.Go(s.serveUDP)
	s.running.Go(s.serveTCP)
	tb.Cleanup(s.stop)
	return s
}

func (s *Server) stop() {
	close(s.closed)
	_ = s.udp.Close()
	_ = s.tcp.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort {
	a := s.tcp.Addr().(*net.TCPAddr).AddrPort() //nolint:forcetypeassert // of a TCP listener
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Set makes a name have these records and no others, written "TYPE ttl data":
// "A 5 127.0.0.1", "CNAME 60 other.test", "SRV 5 0 10 8080 host.test". With none
// it exists and has nothing.
func (s *Server) Set(name string, records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[dotted(name)] = records
}

// Unset makes a name not exist.
func (s *Server) Unset(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.zone, dotted(name))
}

// Script decides about questions before the zone does, which has those for which
// it returns false. nil ends it.
func (s *Server) Script(script func(Question) (Reply, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Asked lists the questions so far as "A name", in lower case without the final
// dot, and forgets them.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]string, len(s.asked))
	for i, q := range s.asked {
		list[i] = q.Type + " " + strings.TrimSuffix(strings.ToLower(q.Name), ".")
	}
	s.asked = nil
	return list
}

// Questions lists the questions so far.
func (s *Server) Questions() []Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Negative is the TTL that the zone gives to what it does not have.
const Negative = 7 * time.Second

func (s *Server) reply(q Question) Reply {
	s.mu.Lock()
	s.asked = append(s.asked, q)
	script := s.script
	s.mu.Unlock()
	if script != nil {
		if r, mine := script(q); mine {
			return r
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var r Reply
	name := dotted(q.Name)
	for range 20 {
		records, exists := s.zone[name]
		if !exists {
			if len(r.Records) == 0 {
				r.Code = "NXDOMAIN"
			}
			break
		}
		next := ""
		for _, record := range records {
			words := strings.Fields(record)
			switch words[0] {
			case "CNAME":
				next = dotted(words[2])
			case q.Type:
			default:
				continue
			}
			r.Records = append(r.Records, name+" "+record)
		}
		if next == "" {
			break
		}
		name = next
	}
	if !slices.ContainsFunc(r.Records, func(record string) bool { return strings.Fields(record)[1] == q.Type }) {
		r.Negative = Negative
	}
	return r
}

func (s *Server) serveUDP() {
	buf := make([]byte, 65535)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		message := slices.Clone(buf[:n])
		s.running.Go(func() {
			s.answer(message, false, func(reply []byte, stray bool) {
				if !stray {
					_, _ = s.udp.WriteToUDPAddrPort(reply, from)
					return
				}
				other, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(from)) // from another port
				if err == nil {
					_, _ = other.Write(reply)
					_ = other.Close()
				}
			})
		})
	}
}

func (s *Server) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.running.Go(func() {
			defer func() {
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				_ = c.Close()
			}()
			var length [2]byte
			if _, err := io.ReadFull(c, length[:]); err != nil {
				return
			}
			message := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(c, message); err != nil {
				return
			}
			s.answer(message, true, func(reply []byte, _ bool) {
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			})
		})
	}
}

// answer reads a question and carries out the reply to it.
func (s *Server) answer(message []byte, tcp bool, send func(reply []byte, stray bool)) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil {
		s.tb.Errorf("the DNS server was sent what is no message: %v", err)
		return
	}
	question, err := p.Question()
	if err != nil {
		s.tb.Errorf("the DNS server was sent no question: %v", err)
		return
	}
	_ = p.SkipAllQuestions()
	_ = p.SkipAllAnswers()
	_ = p.SkipAllAuthorities()
	q := Question{Name: question.Name.String(), Type: strings.TrimPrefix(question.Type.String(), "Type"), TCP: tcp}
	if h, err := p.AdditionalHeader(); err == nil {
		q.EDNS = h.Type == dnsmessage.TypeOPT
	}
	r := s.reply(q)
	if r.Delay > 0 {
		select {
		case <-time.After(r.Delay):
		case <-s.closed:
			return
		}
	}
	if r.Silent {
		return
	}
	if !tcp {
		for _, wrong := range r.Forged {
			send(forge(header, question, wrong), wrong == "source")
		}
	}
	if r.Raw != nil {
		send(append(slices.Clone(message[:2]), r.Raw...), false)
		return
	}
	reply, err := pack(header.ID, question, r, tcp)
	if err != nil {
		s.tb.Errorf("the DNS server cannot say %+v: %v", r, err)
		return
	}
	send(reply, false)
}

// forge is a reply with a false address and one thing wrong.
func forge(h dnsmessage.Header, q dnsmessage.Question, wrong string) []byte {
	id := h.ID
	switch wrong {
	case "garbage":
		return []byte{byte(id >> 8), byte(id), 0xff}
	case "id":
		id++
	case "question":
		q.Name = dnsmessage.MustNewName("other.test.")
	}
	reply, err := pack(id, q, Reply{Records: []string{"A 60 192.0.2.66", "AAAA 60 2001:db8::66"}}, false)
	if err != nil {
		panic(err)
	}
	if wrong == "query" {
		reply[2] &^= 0x80
	}
	return reply
}

var codes = map[string]dnsmessage.RCode{
	"": dnsmessage.RCodeSuccess, "NXDOMAIN": dnsmessage.RCodeNameError, "SERVFAIL": dnsmessage.RCodeServerFailure,
	"REFUSED": dnsmessage.RCodeRefused, "FORMERR": dnsmessage.RCodeFormatError, "NOTIMP": dnsmessage.RCodeNotImplemented,
}

func pack(id uint16, q dnsmessage.Question, r Reply, tcp bool) ([]byte, error) {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: id, Response: true, RecursionDesired: true, RecursionAvailable: !r.Lame, RCode: codes[r.Code],
			Truncated: r.Truncated && !tcp,
		},
		Questions: []dnsmessage.Question{q},
	}
	if !m.Truncated {
		for _, list := range []struct {
			texts []string
			to    *[]dnsmessage.Resource
		}{{r.Records, &m.Answers}, {r.Extra, &m.Additionals}} {
			for _, text := range list.texts {
				record, err := parse(text, q.Name)
				if err != nil {
					return nil, err
				}
				*list.to = append(*list.to, record)
			}
		}
	}
	if r.Negative > 0 {
		ttl := uint32(r.Negative / time.Second)
		m.Authorities = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("test."), Class: dnsmessage.ClassINET, TTL: 3600},
			Body:   &dnsmessage.SOAResource{NS: q.Name, MBox: q.Name, MinTTL: ttl},
		}}
	}
	reply, err := m.Pack()
	if err == nil && !tcp && len(reply) > 1232 {
		m.Truncated, m.Answers, m.Additionals = true, nil, nil
		return m.Pack()
	}
	return reply, err
}

// parse reads "name. TYPE ttl data", where the name may be absent.
func parse(text string, name dnsmessage.Name) (dnsmessage.Resource, error) {
	words := strings.Fields(text)
	if strings.HasSuffix(words[0], ".") {
		name, words = dnsmessage.MustNewName(words[0]), words[1:]
	}
	if len(words) < 3 {
		return dnsmessage.Resource{}, fmt.Errorf("the record %q has no data", text)
	}
	ttl, err := strconv.ParseUint(words[1], 10, 32)
	if err != nil {
		return dnsmessage.Resource{}, fmt.Errorf("the record %q: %w", text, err)
	}
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: uint32(ttl)}}
	switch words[0] {
	case "A":
		r.Body = &dnsmessage.AResource{A: netip.MustParseAddr(words[2]).As4()}
	case "AAAA":
		r.Body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(words[2]).As16()}
	case "CNAME":
		r.Body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(dotted(words[2]))}
	case "SRV":
		var n [3]uint64
		for i := range n {
			if n[i], err = strconv.ParseUint(words[2+i], 10, 16); err != nil {
				return dnsmessage.Resource{}, fmt.Errorf("the record %q: %w", text, err)
			}
		}
		r.Body = &dnsmessage.SRVResource{
			Priority: uint16(n[0]), Weight: uint16(n[1]), Port: uint16(n[2]), Target: dnsmessage.MustNewName(dotted(words[5])),
		}
	default:
		return dnsmessage.Resource{}, fmt.Errorf("the record %q is of a type that this server does not know", text)
	}
	return r, nil
}

func dotted(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }
