package h1

import "math"

// chunkLine reads chunk-size lines byte by byte (RFC 9112, 7.1).
type chunkLine struct {
	step    chunkStep
	length  int   // bytes of the line so far
	size    int64 // digits so far
	quoted  bool  // inside a quoted string of an extension
	escaped bool  // behind a backslash in it
	// excess counts bytes that are not body, less what a sensible sender needs, over
	// all chunks so far.
	excess int64
}

type chunkStep uint8

const (
	chunkFirst  chunkStep = iota // the first digit must follow
	chunkDigits                  // further digits
	chunkPad                     // whitespace behind the digits
	chunkExt                     // extensions
	chunkLF                      // the CR was there
)

// maxChunkExcess bounds the excess of chunkLine: a response of many tiny chunks with
// long extensions costs far more than it brings.
const maxChunkExcess = 16 << 10

// parseChunked reads a chunked body up to the next piece of data or its end.
func (p *Parser) parseChunked(in []byte) (int, Event, *ParseError) {
	n := 0
	for {
		switch p.state {
		case stateChunk:
			used, done, failure := p.chunks.read(in[n:], p.to.Limits.ChunkLineBytes)
			if failure != nil {
				failure.Offset += int64(n)
				return 0, More, failure
			}
			n += used
			if !done {
				return n, More, nil
			}
			if p.remaining = p.chunks.size; p.remaining > 0 {
				p.state = stateData
			} else {
				p.state = stateTrailer
				p.section.reset(trailerSection)
			}
			p.chunks.begin()
		case stateData:
			if n == len(in) {
				return n, More, nil
			}
			size := int(min(p.remaining, int64(len(in)-n)))
			p.chunk = in[n : n+size]
			if p.remaining -= int64(size); p.remaining == 0 {
				p.state = stateDataCR
			}
			return n + size, Body, nil
		case stateDataCR, stateDataLF:
			if n == len(in) {
				return n, More, nil
			}
			want, next := byte('\r'), stateDataLF
			if p.state == stateDataLF {
				want, next = '\n', stateChunk
			}
			if in[n] != want {
				return 0, More, malformed(n, "%s behind the data of a chunk; CR LF is needed", quote(in[n:n+1]))
			}
			p.state = next
			n++
		default:
			done, failure := p.scan(in[n:], p.to.Limits.TrailerBytes)
			if failure != nil {
				failure.Offset += int64(n)
				return 0, More, failure
			}
			if !done {
				return n, More, nil
			}
			p.trailers = p.section.bind(p.trailers[:0], in[n:])
			n += p.section.line
			p.section.seen = 0
			p.state = stateEnd
			return n, End, nil
		}
	}
}

// begin makes ready for the next line.
func (c *chunkLine) begin() { *c = chunkLine{excess: c.excess} }

// read takes in bytes of a line of at most limit bytes, line end included.
func (c *chunkLine) read(in []byte, limit int) (n int, done bool, failure *ParseError) {
	for i, b := range in {
		if c.length++; c.length > limit {
			return 0, false, tooLarge(i, "chunk-size line of more than %d bytes", limit)
		}
		switch c.step {
		case chunkFirst, chunkDigits:
			if digit := hexValue[b]; digit <= 0xf {
				if c.size > math.MaxInt64>>4 {
					return 0, false, malformed(i, "chunk size above 2^63-1")
				}
				c.size = c.size<<4 | int64(digit)
				c.step = chunkDigits
				continue
			}
			if c.step == chunkFirst {
				return 0, false, malformed(i, "chunk size starts with %s; hexadecimal digits are needed", quote(in[i:i+1]))
			}
			fallthrough
		case chunkPad:
			switch {
			case b == '\r':
				c.step = chunkLF
			case b == ';':
				c.step = chunkExt
			case isBlank(b):
				c.step = chunkPad
			default:
				return 0, false, malformed(i, "%s behind a chunk size; CR LF or an extension is needed", quote(in[i:i+1]))
			}
		case chunkExt:
			switch {
			case b == '\r' && !c.quoted:
				c.step = chunkLF
			case isControl(b):
				return 0, false, malformed(i, "%s in a chunk extension; no control character but HTAB is allowed, nor a line end inside quotes", quote(in[i:i+1]))
			case c.escaped:
				c.escaped = false
			case b == '\\':
				c.escaped = c.quoted
			case b == '"':
				c.quoted = !c.quoted
			}
		case chunkLF:
			if b != '\n' {
				return 0, false, malformed(i, "%s behind the CR of a chunk-size line; LF is needed", quote(in[i:i+1]))
			}
			// The allowance is that of net/http: 16 bytes a chunk, and twice its data.
			c.excess += int64(c.length) + 2 - 16
			c.excess = max(c.excess-2*min(c.size, math.MaxInt32), 0)
			if c.excess > maxChunkExcess {
				return 0, false, tooLarge(i, "chunk-size lines of far more bytes than they carry")
			}
			return i + 1, true, nil
		}
	}
	return len(in), false, nil
}
