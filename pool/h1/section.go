package h1

import (
	"bytes"
	"fmt"
)

// section reads the lines of a head or of a trailer section. The section stays in
// the caller's input until it is complete, and the input may lie elsewhere in
// memory at each call: all positions are relative to the section's first byte.
type section struct {
	kind sectionKind
	// line is where the first line starts that was not read yet, seen how far its
	// end was searched for.
	line, seen int
	reason     span // of the status line
	fields     []fieldSpan
	last       fieldID // of the last field
	folded     bool    // some value has an obs-fold
	unfolded   []byte  // values with their obs-folds replaced
}

type sectionKind uint8

const (
	headSection sectionKind = iota
	trailerSection
)

type span struct{ start, end int }

type fieldSpan struct {
	name, value span
	folded      bool
}

func (s *section) reset(kind sectionKind) {
	*s = section{kind: kind, fields: s.fields[:0], unfolded: s.unfolded[:0]}
}

// scan reads lines until the empty one. Where it stops is the same for every split:
// it looks at whole lines only, and never beyond limit bytes.
func (p *Parser) scan(in []byte, limit int) (done bool, failure *ParseError) {
	s := &p.section
	if len(in) > limit {
		in = in[:limit]
	}
	if s.line == 0 && s.kind == headSection {
		if failure := checkStatusPrefix(in); failure != nil {
			return false, failure
		}
	}
	for {
		// Only the empty line starts with a CR. Behind any other the sender may wait
		// for its answer, and no LF ever come.
		if len(in) > s.line+1 && in[s.line] == '\r' && in[s.line+1] != '\n' {
			return false, malformed(s.line+1, "%s behind the CR of what would be the empty line; LF is needed", quote(in[s.line+1:s.line+2]))
		}
		i := bytes.IndexByte(in[s.seen:], '\n')
		if i < 0 {
			s.seen = len(in)
			if len(in) == limit {
				return false, p.sectionTooLarge(limit)
			}
			return false, nil
		}
		start, end := s.line, s.seen+i
		if end == start || in[end-1] != '\r' {
			return false, malformed(end, "line ends in LF alone: %s; CR LF is needed", quote(in[start:end+1]))
		}
		s.line, s.seen = end+1, end+1
		switch {
		case start == 0 && s.kind == headSection:
			failure = p.statusLine(in[:end-1])
		case end-1 == start:
			return true, nil
		default:
			failure = p.fieldLine(in, start, end-1)
		}
		if failure != nil {
			return false, failure
		}
	}
}

func (p *Parser) sectionTooLarge(limit int) *ParseError {
	if p.section.kind == trailerSection {
		return tooLarge(limit, "trailer section of more than %d bytes", limit)
	}
	if p.interimBytes > 0 {
		return tooLarge(limit, "heads of more than %d bytes, %d of them interim responses", p.to.Limits.HeadBytes, p.interimBytes)
	}
	return tooLarge(limit, "head of more than %d bytes", limit)
}

// statusPrefix is what every status line starts with, up to the minor version.
const statusPrefix = "HTTP/1."

// checkStatusPrefix checks the fixed part of a status line, "HTTP/1.x nnn", as far
// as it is there (RFC 9112, 4), so that garbage is known as such at its first byte.
func checkStatusPrefix(in []byte) *ParseError {
	for i := range min(len(in), len(statusPrefix)+len("1 200 ")) {
		c := in[i]
		var ok bool
		switch i {
		default:
			ok = c == statusPrefix[i]
		case 7, 10, 11:
			ok = c-'0' <= 9
		case 8:
			ok = c == ' '
		case 9:
			ok = c-'1' <= 8
		case 12:
			ok = c == ' ' || c == '\r'
		}
		if !ok {
			return malformed(i, "status line starts with %s; HTTP/1.x and a code of three digits from 100 are needed", quote(in[:i+1]))
		}
	}
	return nil
}

// statusLine reads a complete status line whose prefix was checked. The reason
// phrase and the space before it may be missing.
func (p *Parser) statusLine(line []byte) *ParseError {
	h := &p.head
	h.Minor = int(line[7] - '0')
	h.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	p.section.reason = span{len(line), len(line)}
	if len(line) > 12 {
		if line[12] != ' ' {
			return malformed(12, "CR behind the status code is not followed by LF: %s", quote(line))
		}
		if i := badValue(line[13:]); i >= 0 {
			return malformed(13+i, "control character in reason phrase %s", quote(line[13:]))
		}
		p.section.reason.start = 13
	}
	return p.beginHead()
}

// fieldLine reads the field line in[start:end]; a CR stands at in[end].
func (p *Parser) fieldLine(in []byte, start, end int) *ParseError {
	s := &p.section
	if isBlank(in[start]) {
		return p.foldLine(in, start, end)
	}
	// The CR is no token byte and ends the loop.
	i := start
	for isTokenByte[in[i]] {
		i++
	}
	if in[i] != ':' || i == start {
		return badName(in, start, i, end)
	}
	if len(s.fields) >= p.to.Limits.Fields {
		return tooLarge(start, "more than %d fields", p.to.Limits.Fields)
	}
	name := span{start, i}
	i++
	for isBlank(in[i]) {
		i++
	}
	last := end
	for last > i && isBlank(in[last-1]) {
		last--
	}
	if bad := badValue(in[i:last]); bad >= 0 {
		return malformed(i+bad, "control character in the value of field %s: %s", quote(in[start:name.end]), quote(in[i:last]))
	}
	s.fields = append(s.fields, fieldSpan{name: name, value: span{i, last}})
	s.last = fieldOf(in[start:name.end])
	if s.last == fieldOther || s.kind == trailerSection {
		return nil
	}
	return p.noteField(s.last, in[i:last], i)
}

func badName(in []byte, start, bad, end int) *ParseError {
	line := quote(in[start:end])
	switch {
	case in[bad] == ':':
		return malformed(bad, "field line without a name: %s", line)
	case bad == end:
		return malformed(bad, "field line without a colon: %s", line)
	case isBlank(in[bad]):
		return malformed(bad, "whitespace in or after a field name: %s; the colon must follow the name", line)
	}
	return malformed(bad, "byte %#02x in a field name: %s", in[bad], line)
}

// foldLine reads a line that continues the value before it (obs-fold, RFC 9112, 5.2).
func (p *Parser) foldLine(in []byte, start, end int) *ParseError {
	s := &p.section
	if len(s.fields) == 0 {
		return malformed(start, "whitespace before the first field: %s", quote(in[start:end]))
	}
	switch s.last {
	case fieldConnection, fieldContentLength, fieldTransferEncoding:
		return malformed(start, "line folding in a field that decides about framing or the connection: %s", quote(in[start:end]))
	case fieldKeepAlive:
		// The hint was read from half a value.
		p.control.hint = KeepAlive{}
	}
	if bad := badValue(in[start:end]); bad >= 0 {
		return malformed(start+bad, "control character in a folded value: %s", quote(in[start:end]))
	}
	for end > start && isBlank(in[end-1]) {
		end--
	}
	if end > start {
		f := &s.fields[len(s.fields)-1]
		f.value.end, f.folded = end, true
		s.folded = true
	}
	return nil
}

// bind appends the fields of a complete section, which starts at in[0].
func (s *section) bind(fields []RawField, in []byte) []RawField {
	for i := range s.fields {
		f := &s.fields[i]
		fields = append(fields, RawField{
			Name:  in[f.name.start:f.name.end:f.name.end],
			Value: in[f.value.start:f.value.end:f.value.end],
		})
	}
	if s.folded {
		s.unfold(fields)
	}
	return fields
}

// unfold replaces each obs-fold and the whitespace around it by one SP. The values
// move into memory of the section: the input is not written to.
func (s *section) unfold(fields []RawField) {
	size := 0
	for i := range s.fields {
		if s.fields[i].folded {
			size += len(fields[i].Value)
		}
	}
	if cap(s.unfolded) < size {
		s.unfolded = make([]byte, 0, size)
	}
	out := s.unfolded[:0]
	for i := range s.fields {
		if !s.fields[i].folded {
			continue
		}
		start := len(out)
		for line := range bytes.SplitSeq(fields[i].Value, []byte("\r\n")) {
			if line = trim(line); len(line) == 0 {
				continue
			}
			if len(out) > start {
				out = append(out, ' ')
			}
			out = append(out, line...)
		}
		fields[i].Value = out[start:len(out):len(out)]
	}
	s.unfolded = out
}

func malformed(at int, format string, args ...any) *ParseError {
	return &ParseError{Kind: Malformed, Offset: int64(at), What: fmt.Sprintf(format, args...)}
}

func tooLarge(at int, format string, args ...any) *ParseError {
	return &ParseError{Kind: TooLarge, Offset: int64(at), What: fmt.Sprintf(format, args...)}
}
