package h1

import (
	"math"
	"time"
)

// Persistence says whether an exchange leaves the connection fit for another one,
// and if not, why (RFC 9112, 9.3).
type Persistence uint8

const (
	// Unfinished: the response is not complete.
	Unfinished Persistence = iota
	// Keep: the connection may be used again, provided that the request was written
	// in full, nothing was received behind the response, and the connection is open.
	Keep
	// CloseRequested: the request said "close".
	CloseRequested
	// CloseByPeer: the response, interim ones included, said "close", or the
	// connection has ended.
	CloseByPeer
	// OldVersion: an HTTP/1.0 response without "keep-alive".
	OldVersion
	// CloseDelimited: the body ended with the connection.
	CloseDelimited
	// Ambiguous: the response had no body by rule, but framing fields that are
	// invalid or contradict each other.
	Ambiguous
	// Tunnel: the connection now speaks another protocol.
	Tunnel
)

var persistenceNames = [...]string{
	Unfinished: "unfinished", Keep: "keep", CloseRequested: "close_requested", CloseByPeer: "close_by_peer",
	OldVersion: "old_version", CloseDelimited: "close_delimited", Ambiguous: "ambiguous", Tunnel: "tunnel",
}

// String returns the verdict in lower case, as "close_by_peer".
func (v Persistence) String() string { return enumName(persistenceNames[:], v, "Persistence") }

// KeepAlive is what a Keep-Alive field hints at (RFC 2068, 19.7.1): for how long the
// server keeps an idle connection, and how many more requests it takes on it. A hint
// of 0 means that the connection is best not used again.
type KeepAlive struct {
	Timeout            time.Duration
	Max                int
	HasTimeout, HasMax bool
}

// control is what the heads of one exchange say about the connection.
type control struct {
	close          bool // in any head, interim ones included
	keepAlive      bool
	upgrade        bool // an Upgrade field with a value is there
	viaOld         bool
	ambiguous      bool
	closeDelimited bool
	tunnel         bool
	options        int // counted in head.options
	hint           KeepAlive
}

// resetFor forgets what belongs to one head only.
func (c *control) resetFor(h *Head) {
	*c = control{close: c.close}
	h.options = h.options[:0]
}

// Persist returns the verdict on the connection once the response has ended.
func (p *Parser) Persist() Persistence {
	c := &p.control
	switch {
	case p.state != stateEnd:
		return Unfinished
	case c.tunnel:
		return Tunnel
	case p.to.Close:
		return CloseRequested
	case c.close:
		return CloseByPeer
	case p.head.Minor == 0 && !c.keepAlive:
		return OldVersion
	case c.closeDelimited:
		return CloseDelimited
	case c.ambiguous:
		return Ambiguous
	case p.ended:
		return CloseByPeer
	}
	return Keep
}

// KeepAlive returns the hint of the final head's Keep-Alive field. Without the
// "keep-alive" connection option the field does not count (RFC 9110, 7.6.1), and
// what cannot be read is as if it were not there. Of repeated hints the smallest
// counts.
func (p *Parser) KeepAlive() KeepAlive {
	if !p.control.keepAlive {
		return KeepAlive{}
	}
	return p.control.hint
}

// UntilClose reports, from HeadDone on, whether the body ends with the connection.
func (p *Parser) UntilClose() bool { return p.control.closeDelimited }

// ViaOld reports whether Via of the final head names a recipient that spoke
// HTTP/1.0 or older on the way (RFC 9110, 7.6.3).
func (p *Parser) ViaOld() bool { return p.control.viaOld }

// noteControl takes in a field about the connection.
func (p *Parser) noteControl(id fieldID, value []byte, at int) *ParseError {
	c := &p.control
	switch id {
	case fieldConnection:
		return p.noteConnection(value, at)
	case fieldKeepAlive:
		c.hint.read(value)
	case fieldUpgrade:
		c.upgrade = c.upgrade || len(value) > 0
	case fieldVia:
		c.viaOld = c.viaOld || viaOld(value)
	}
	return nil
}

func (p *Parser) noteConnection(value []byte, at int) *ParseError {
	c, h := &p.control, &p.head
	for member, rest := cutMember(value); ; member, rest = cutMember(rest) {
		switch optionOf(member) {
		case optionClose:
			c.close = true
		case optionKeepAlive:
			c.keepAlive = true
		case optionOther:
			if c.options++; c.options > maxOptions {
				return tooLarge(at, "more than %d connection options", maxOptions)
			}
			h.options = append(append(h.options, member...), ',')
		}
		if len(rest) == 0 {
			return nil
		}
	}
}

// read takes in one Keep-Alive field: name=value pairs, separated by commas. Some
// senders write semicolons.
func (k *KeepAlive) read(value []byte) {
	for len(value) > 0 {
		end := 0
		for end < len(value) && value[end] != ',' && value[end] != ';' {
			end++
		}
		pair := trim(value[:end])
		value = value[min(end+1, len(value)):]
		if n, ok := parameter(pair, "timeout="); ok {
			timeout := time.Duration(min(n, math.MaxInt64/int64(time.Second))) * time.Second
			if !k.HasTimeout || timeout < k.Timeout {
				k.HasTimeout, k.Timeout = true, timeout
			}
		} else if n, ok := parameter(pair, "max="); ok {
			limit := int(min(n, math.MaxInt))
			if !k.HasMax || limit < k.Max {
				k.HasMax, k.Max = true, limit
			}
		}
	}
}

// parameter reads a decimal number behind prefix, which is in lower case and ends
// in "=".
func parameter(pair []byte, prefix string) (int64, bool) {
	if len(pair) < len(prefix) || !equalFold(pair[:len(prefix)], prefix) {
		return 0, false
	}
	return parseDecimal(pair[len(prefix):])
}

// viaOld reports whether a member of a Via value starts with a version before 1.1.
// Commas inside comments separate nothing.
func viaOld(value []byte) bool {
	depth, atStart := 0, true
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == ',':
			atStart = true
			continue
		case isBlank(c):
			continue
		case atStart && oldProtocol(value[i:]):
			return true
		}
		atStart = false
	}
	return false
}

// oldProtocol reports whether s starts with the received-protocol of an HTTP version
// before 1.1; the protocol's name may be missing.
func oldProtocol(s []byte) bool {
	if len(s) > len("http/") && equalFold(s[:len("http/")], "http/") {
		s = s[len("http/"):]
	}
	old := len(s) >= 3 && (string(s[:3]) == "1.0" || string(s[:3]) == "0.9")
	return old && (len(s) == 3 || isBlank(s[3]))
}
