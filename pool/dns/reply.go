package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// reply is a server's answer to one question, taken apart. Of names, all are in
// lower case with a final dot.
type reply struct {
	code      dnsmessage.RCode
	truncated bool
	lame      bool // the server neither knows nor asks others
	aliases   map[string]alias
	addresses []address // of every name, those in the additional section included
	services  []target
	negative  time.Duration // for how long nothing holds, by the zone's SOA (RFC 2308); Unknown: it is not there
}

type alias struct {
	to  string
	ttl time.Duration
}

type address struct {
	name string
	addr netip.Addr
	ttl  time.Duration
}

type target struct {
	name, host             string
	port, priority, weight uint16
	ttl                    time.Duration
}

// Bounds of a reply. It has 65,535 bytes at most.
const (
	maxRecords = 4096 // read; those behind are passed over
	maxAliases = 16   // followed from one name to the next
)

// errNotOurs says that bytes are no reply to the question: they are passed over,
// and the reply may still come.
var errNotOurs = errors.New("not a reply to the question")

// readReply takes apart what came for the question that was sent with the id.
// Anything but errNotOurs says that the server's reply makes no sense.
func readReply(message []byte, id uint16, q dnsmessage.Question) (*reply, error) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil || !h.Response || h.ID != id || h.OpCode != 0 {
		return nil, errNotOurs
	}
	asked, err := p.Question()
	if err != nil || asked.Type != q.Type || asked.Class != q.Class || lower(asked.Name) != lower(q.Name) {
		// A server that cannot read the question may leave it out.
		if err != nil && errors.Is(err, dnsmessage.ErrSectionDone) && h.RCode == dnsmessage.RCodeFormatError {
			return &reply{code: h.RCode, negative: Unknown}, nil
		}
		return nil, errNotOurs
	}
	r := &reply{code: h.RCode, truncated: h.Truncated, negative: Unknown}
	if r.truncated {
		return r, nil // whatever is in it is not all
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, fmt.Errorf("the question section: %w", err)
	}
	answers, soa := 0, false
	for {
		header, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err == nil {
			err = r.record(&p, header, p.SkipAnswer)
		}
		if err != nil {
			return nil, fmt.Errorf("the answer section: %w", err)
		}
		if answers++; answers == maxRecords {
			return r, nil
		}
	}
	for {
		header, err := p.AuthorityHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the authority section: %w", err)
		}
		if header.Type != dnsmessage.TypeSOA {
			err = p.SkipAuthority()
		} else if record, failed := p.SOAResource(); failed == nil {
			soa = true
			r.negative = seconds(min(header.TTL, record.MinTTL))
		} else {
			err = failed
		}
		if err != nil {
			return nil, fmt.Errorf("the authority section: %w", err)
		}
	}
	r.lame = r.code == dnsmessage.RCodeSuccess && answers == 0 && !soa && !h.Authoritative && !h.RecursionAvailable
	for range maxRecords {
		header, err := p.AdditionalHeader()
		if err == nil && (header.Type == dnsmessage.TypeA || header.Type == dnsmessage.TypeAAAA) {
			err = r.record(&p, header, p.SkipAdditional)
		} else if err == nil {
			err = p.SkipAdditional()
		}
		if err != nil {
			break // the end; or it is broken, and only saves questions
		}
	}
	return r, nil //nolint:nilerr // see there
}

// record takes one record, or skips one of no use.
func (r *reply) record(p *dnsmessage.Parser, h dnsmessage.ResourceHeader, skip func() error) error {
	name, ttl := lower(h.Name), seconds(h.TTL)
	if h.Class != dnsmessage.ClassINET {
		return skip()
	}
	switch h.Type {
	case dnsmessage.TypeA:
		a, err := p.AResource()
		if err != nil {
			return err
		}
		r.addresses = append(r.addresses, address{name, netip.AddrFrom4(a.A), ttl})
	case dnsmessage.TypeAAAA:
		a, err := p.AAAAResource()
		if err != nil {
			return err
		}
		r.addresses = append(r.addresses, address{name, netip.AddrFrom16(a.AAAA).Unmap(), ttl})
	case dnsmessage.TypeCNAME:
		c, err := p.CNAMEResource()
		if err != nil {
			return err
		}
		if r.aliases == nil {
			r.aliases = make(map[string]alias)
		}
		r.aliases[name] = alias{lower(c.CNAME), ttl}
	case dnsmessage.TypeSRV:
		s, err := p.SRVResource()
		if err != nil {
			return err
		}
		r.services = append(r.services, target{name, lower(s.Target), s.Port, s.Priority, s.Weight, ttl})
	default:
		return skip()
	}
	return nil
}

// follow goes from a name along the aliases to the one that has records, and
// returns the least time to live on the way.
func (r *reply) follow(name string) (string, time.Duration, error) {
	ttl := longest
	for range maxAliases {
		next, ok := r.aliases[name]
		if !ok {
			return name, ttl, nil
		}
		name, ttl = next.to, min(ttl, next.ttl)
	}
	return "", 0, fmt.Errorf("more than %d CNAMEs follow each other", maxAliases)
}

// addressesOf are the addresses that a name has itself, and their least time to live.
func (r *reply) addressesOf(name string) ([]netip.Addr, time.Duration) {
	var list []netip.Addr
	ttl := longest
	for _, a := range r.addresses {
		if a.name == name {
			list, ttl = append(list, a.addr), min(ttl, a.ttl)
		}
	}
	return list, ttl
}

// longest is the largest TTL (RFC 2181, 8).
const longest = (1<<31 - 1) * time.Second

// seconds is a TTL field: one with the top bit set counts as zero (RFC 2181, 8).
func seconds(field uint32) time.Duration {
	if field > 1<<31-1 {
		return 0
	}
	return time.Duration(field) * time.Second
}

func lower(n dnsmessage.Name) string { return strings.ToLower(n.String()) }

// fullName is a name as it stands in a message.
func fullName(name string) (dnsmessage.Name, error) {
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	const most = 254 // with the final dot (RFC 1035, 3.1)
	if name == "." || len(name) > most {
		return dnsmessage.Name{}, fmt.Errorf("must have 1 to %d bytes", most-1)
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return dnsmessage.Name{}, errors.New("each label between dots must have 1 to 63 bytes")
		}
	}
	return dnsmessage.NewName(name)
}
