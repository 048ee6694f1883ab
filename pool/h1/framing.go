package h1

// framing is what a head says about where its body ends (RFC 9112, 6).
type framing struct {
	noBody    bool // the empty line ends the response, whatever the fields say
	hasLength bool
	length    int64
	hasCoding bool // Transfer-Encoding was there
	chunked   bool
}

// beginHead is called when the status line is known, before the fields.
func (p *Parser) beginHead() *ParseError {
	status := p.head.Status
	if status == 101 && !p.to.Upgrade {
		return malformed(9, "101 (Switching Protocols) although no upgrade was offered")
	}
	p.framing = framing{noBody: status < 200 || status == 204 || status == 304 || p.to.Method == "HEAD" || p.connected()}
	p.head.repeatsLength, p.head.hidesLength = false, false
	return nil
}

// connected reports whether the response opens a tunnel (RFC 9110, 9.3.6).
func (p *Parser) connected() bool {
	return p.to.Method == "CONNECT" && p.head.Status/100 == 2
}

// parseHead reads an interim or the final head.
func (p *Parser) parseHead(in []byte) (int, Event, *ParseError) {
	if p.section.seen == 0 {
		p.section.reset(headSection)
		p.control.resetFor(&p.head)
	}
	done, failure := p.scan(in, p.to.Limits.HeadBytes-p.interimBytes)
	if failure != nil || !done {
		return 0, More, failure
	}
	n := p.section.line
	p.head.Fields = p.section.bind(p.head.Fields[:0], in)
	p.head.Reason = in[p.section.reason.start:p.section.reason.end:p.section.reason.end]
	p.section.line, p.section.seen = 0, 0

	status := p.head.Status
	switch {
	case status == 101:
		if !p.control.upgrade {
			return 0, More, malformed(9, "101 (Switching Protocols) without an Upgrade field that names the protocol")
		}
		p.control.tunnel = true
		p.state = stateEnd
	case status < 200:
		p.interimBytes += n
		return n, Interim, nil
	case p.connected():
		p.control.tunnel = true
		p.state = stateEnd
	case p.framing.noBody:
		p.state = stateEnd
	case p.framing.chunked:
		p.state = stateChunk
	case p.framing.hasLength:
		p.remaining = p.framing.length
		p.state = stateLength
	default:
		p.control.closeDelimited = true
		p.state = stateClose
	}
	return n, HeadDone, nil
}

// noteField takes in a field of the head that the wire has an opinion on. at is
// where its value starts.
func (p *Parser) noteField(id fieldID, value []byte, at int) *ParseError {
	var failure *ParseError
	switch id {
	case fieldContentLength:
		failure = p.noteLength(value, at)
	case fieldTransferEncoding:
		failure = p.noteCoding(value, at)
	default:
		return p.noteControl(id, value, at)
	}
	if failure != nil && p.framing.noBody {
		// The end is not in doubt, but what else the sender gets wrong is. On interim
		// heads the fields mean nothing: the next head starts with a new control.
		p.control.ambiguous = true
		p.head.hidesLength = true
		return nil
	}
	return failure
}

// noteLength reads a Content-Length (RFC 9110, 8.6): every value of every line must
// be the same number.
func (p *Parser) noteLength(value []byte, at int) *ParseError {
	f := &p.framing
	if f.hasCoding {
		return malformed(at, "Content-Length %s beside Transfer-Encoding; only one may be there", quote(value))
	}
	for member, rest := cutMember(value); ; member, rest = cutMember(rest) {
		n, ok := parseDecimal(member)
		switch {
		case !ok:
			return malformed(at, "Content-Length %s; decimal digits up to 2^63-1 are needed", quote(value))
		case !f.hasLength:
			f.hasLength, f.length = true, n
		case n != f.length:
			return malformed(at, "Content-Length %s differs from the earlier %d", quote(value), f.length)
		default:
			p.head.repeatsLength = true
		}
		if len(rest) == 0 {
			break
		}
	}
	if value[len(value)-1] == ',' {
		return malformed(at, "Content-Length %s ends in an empty member", quote(value))
	}
	return nil
}

// noteCoding reads a Transfer-Encoding (RFC 9112, 6.1): chunked, once, is all that
// may be there, for no other coding was asked for.
func (p *Parser) noteCoding(value []byte, at int) *ParseError {
	f := &p.framing
	f.hasCoding = true
	if p.head.Minor == 0 {
		return malformed(at, "Transfer-Encoding %s in an HTTP/1.0 response", quote(value))
	}
	if f.hasLength {
		return malformed(at, "Transfer-Encoding %s beside Content-Length; only one may be there", quote(value))
	}
	for member, rest := cutMember(value); ; member, rest = cutMember(rest) {
		switch {
		case len(member) == 0:
		case f.chunked:
			return malformed(at, "Transfer-Encoding %s after chunked; chunked must be the last coding, once", quote(member))
		case equalFold(member, "chunked"):
			f.chunked = true
		default:
			return malformed(at, "Transfer-Encoding %s; only chunked is understood, for no other coding was asked for", quote(member))
		}
		if len(rest) == 0 {
			break
		}
	}
	if !f.chunked {
		return malformed(at, "Transfer-Encoding without a coding; only chunked is understood")
	}
	return nil
}
