package h1

import (
	"fmt"
)

// Parser reads the response to one request. It is a plain value, reusable by
// Start, and allocates nothing once it has seen a response of the same size.
// The zero value needs a Start.
//
//	head --1xx--> head --final--> length | close | chunk line --> end
//	                                                ^   |  \
//	                                                |   v   v
//	                                        data end <- data  trailer --> end
type Parser struct {
	to     ResponseTo // Limits resolved
	state  state
	err    *ParseError // final, in stateFailed
	offset int64       // bytes consumed since Start

	started bool // a byte of the response was seen
	ended   bool // the connection ended

	head     Head
	trailers []RawField
	section  section // the head or trailer section that is being read
	framing  framing // what the fields of the current head say about length
	control  control // what they say about the connection

	interimBytes int
	remaining    int64 // of a Content-Length body, or of the current chunk
	chunk        []byte
	chunks       chunkLine
}

type state uint8

const (
	stateNone    state = iota // before Start
	stateHead                 // status line and fields, interim ones included
	stateLength               // body of remaining bytes
	stateClose                // body up to the end of the connection
	stateChunk                // chunk-size line
	stateData                 // chunk data, remaining bytes of it
	stateDataCR               // the CR after chunk data
	stateDataLF               // and its LF
	stateTrailer              // trailer section
	stateEnd                  // complete
	stateFailed
)

// Start makes the parser ready for the response to a request. It keeps the memory
// of earlier responses and nothing else of them.
func (p *Parser) Start(to ResponseTo) {
	to.Limits = to.Limits.orDefault()
	*p = Parser{
		to:       to,
		state:    stateHead,
		head:     Head{Fields: p.head.Fields[:0], options: p.head.options[:0]},
		trailers: p.trailers[:0],
		section:  section{fields: p.section.fields[:0], unfolded: p.section.unfolded[:0]},
	}
}

// Parse reads on. in starts at the first byte that was not consumed yet; n bytes of
// it are consumed now, and the caller presents the rest again with more behind it.
// Parse does not write to in. A head and a trailer section are consumed as a whole,
// but each byte of them is looked at once, however they arrive.
//
// Events come one at a time: the caller calls again until More or End. Body has a
// piece in Chunk, never an empty one. No input is needed for an End that the bytes
// before it have decided. After End, Parse consumes nothing: bytes left over belong
// to the new protocol after a 101, and otherwise spoil the connection.
//
// The error is a *ParseError, comes with the first byte that is wrong beyond doubt,
// and is returned again by every later call.
func (p *Parser) Parse(in []byte) (n int, ev Event, err error) {
	if len(in) > 0 && p.state != stateEnd {
		p.started = true
	}
	var failure *ParseError
	switch p.state {
	case stateHead:
		n, ev, failure = p.parseHead(in)
	case stateLength:
		n, ev = p.parseLength(in)
	case stateClose:
		if len(in) > 0 {
			p.chunk = in
			n, ev = len(in), Body
		}
	case stateChunk, stateData, stateDataCR, stateDataLF, stateTrailer:
		n, ev, failure = p.parseChunked(in)
	case stateEnd:
		return 0, End, nil
	case stateFailed:
		return 0, More, p.err
	default:
		panic("h1: Parse before Start")
	}
	if failure != nil {
		failure.Offset += p.offset
		p.state, p.err = stateFailed, failure
		return 0, More, failure
	}
	p.offset += int64(n)
	return n, ev, nil
}

// Head returns the head after Interim and HeadDone, until the next Parse or Start.
func (p *Parser) Head() *Head { return &p.head }

// Chunk returns the piece of body after Body: a part of the input of that Parse.
func (p *Parser) Chunk() []byte { return p.chunk }

// AppendTrailers appends the trailer fields after the End of a chunked body,
// copied into one string, before the next Parse or Start. They are never merged
// into the head (RFC 9112, 7.1.2). Hop-by-hop fields, those that the head's
// Connection nominates, Content-Length and Host are left out.
func (p *Parser) AppendTrailers(dst []Field) []Field {
	if p.state != stateEnd || p.section.kind != trailerSection {
		return dst
	}
	return appendEndToEnd(dst, p.trailers, p.head.options, 1<<fieldContentLength|1<<fieldHost)
}

// Consumed returns how many bytes of the exchange's responses, interim ones
// included, were parsed since Start.
func (p *Parser) Consumed() int64 { return p.offset }

// Started reports whether any byte of the response was seen; interim ones count.
func (p *Parser) Started() bool { return p.started }

// Remaining returns how many body bytes come next on the wire with nothing between
// them, as far as is known: after the head of a Content-Length response the rest of
// the body, inside a chunk the rest of that chunk, else 0. exact says that the body
// ends with them.
func (p *Parser) Remaining() (n int64, exact bool) {
	switch p.state {
	case stateLength:
		return p.remaining, true
	case stateData:
		return p.remaining, false
	case stateEnd:
		return 0, true
	}
	return 0, false
}

// Skip tells that the caller read the next n body bytes straight into memory of its
// own, all input before them being consumed. It panics when n is negative or more
// than Remaining.
func (p *Parser) Skip(n int64) {
	if left, _ := p.Remaining(); n < 0 || n > left {
		panic(fmt.Sprintf("h1: Skip(%d) with %d body bytes remaining", n, left))
	}
	if n == 0 {
		return
	}
	p.offset += n
	p.remaining -= n
	if p.state == stateData && p.remaining == 0 {
		p.state = stateDataCR
	}
}

// EOF tells that the connection ended after all input that Parse was given. clean
// means an end that cannot be a cut: a FIN, and under TLS a close_notify. The event
// is End when the response is complete with it; else the error is a *ParseError,
// Closed when no byte of a response came and Truncated otherwise.
func (p *Parser) EOF(clean bool) (Event, error) {
	p.ended = true
	what := "the connection ended "
	switch p.state {
	case stateNone:
		panic("h1: EOF before Start")
	case stateFailed:
		return More, p.err
	case stateEnd:
		return End, nil
	case stateClose:
		if clean {
			p.state = stateEnd
			return End, nil
		}
		what += "abnormally in a body that lasts until its close; it may be cut short"
	case stateLength:
		if p.remaining == 0 {
			p.state = stateEnd
			return End, nil
		}
		what += fmt.Sprintf("with %d of %d body bytes missing", p.remaining, p.framing.length)
	case stateHead:
		switch {
		case !p.started:
			what += "before any byte of the response"
		case p.interimBytes > 0 && p.section.seen == 0:
			what += "after an interim response, before the final one"
		default:
			what += "inside the head"
		}
	case stateChunk:
		what += "before the last chunk"
	case stateData:
		what += fmt.Sprintf("with %d bytes of a chunk missing", p.remaining)
	case stateDataCR, stateDataLF:
		what += "after the data of a chunk"
	case stateTrailer:
		what += "inside the trailer section"
	}
	kind := Truncated
	if !p.started {
		kind = Closed
	}
	p.state = stateFailed
	p.err = &ParseError{Kind: kind, Offset: p.offset + int64(p.section.seen), What: what}
	return More, p.err
}

func (p *Parser) parseLength(in []byte) (int, Event) {
	if p.remaining == 0 {
		p.state = stateEnd
		return 0, End
	}
	if len(in) == 0 {
		return 0, More
	}
	n := int(min(p.remaining, int64(len(in))))
	p.remaining -= int64(n)
	p.chunk = in[:n]
	return n, Body
}
