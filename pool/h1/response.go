package h1

import "strings"

// ResponseTo is what the reading of a response depends on in its request.
type ResponseTo struct {
	Method string
	Close  bool // the request was sent with "Connection: close"
	// Upgrade: the request was sent with an offer to switch protocols. Whether a 101
	// names one that was offered is for the caller to check (Head.Get of "Upgrade").
	Upgrade bool
	Limits  Limits
}

// Limits bounds what a response makes its reader keep. Zero or less means the
// default. Bodies are not limited here.
type Limits struct {
	// HeadBytes bounds the heads of one exchange together, interim ones included,
	// with their line ends. The caller's buffer must be able to hold as many.
	// Default 65536.
	HeadBytes int
	// Fields bounds the fields of one head, and those of the trailer section.
	// Default 200.
	Fields int
	// ChunkLineBytes bounds one chunk-size line with its extensions and line end.
	// Default 4096.
	ChunkLineBytes int
	// TrailerBytes bounds the trailer section with its line ends. The caller's buffer
	// must be able to hold as many. Default 65536.
	TrailerBytes int
}

// DefaultLimits holds what zero stands for in Limits.
var DefaultLimits = Limits{HeadBytes: 65536, Fields: 200, ChunkLineBytes: 4096, TrailerBytes: 65536}

func (l Limits) orDefault() Limits {
	if l.HeadBytes <= 0 {
		l.HeadBytes = DefaultLimits.HeadBytes
	}
	if l.Fields <= 0 {
		l.Fields = DefaultLimits.Fields
	}
	if l.ChunkLineBytes <= 0 {
		l.ChunkLineBytes = DefaultLimits.ChunkLineBytes
	}
	if l.TrailerBytes <= 0 {
		l.TrailerBytes = DefaultLimits.TrailerBytes
	}
	return l
}

// Event is what Parse found.
type Event uint8

const (
	// More: everything that could be used was; more input is needed.
	More Event = iota
	// Interim: a 1xx head is complete (Head); the final one is still to come.
	Interim
	// HeadDone: the final head is complete (Head).
	HeadDone
	// Body: a piece of the body is there (Chunk).
	Body
	// End: the response is complete. No further byte belongs to it.
	End
)

var eventNames = [...]string{More: "more", Interim: "interim", HeadDone: "head_done", Body: "body", End: "end"}

// String returns the event in lower case, as "head_done".
func (e Event) String() string { return enumName(eventNames[:], e, "Event") }

// Head is a response head. Reason and Fields alias the input, or memory of the
// Parser, until the next Parse or Start.
type Head struct {
	Minor  int // of the version: 0 for HTTP/1.0, 1 for HTTP/1.1, up to 9
	Status int // 100 to 999
	Reason []byte
	// Fields are all fields in the order received, hop-by-hop ones included.
	Fields []RawField

	options       []byte // connection options that nominate further fields, each followed by a comma
	repeatsLength bool   // Content-Length has more than one value
	hidesLength   bool   // Content-Length, if it is there, is not valid or has no meaning
}

// Get returns the value of the first field of that name, in any case.
func (h *Head) Get(name string) (value []byte, ok bool) {
	for i := range h.Fields {
		if sameName(h.Fields[i].Name, name) {
			return h.Fields[i].Value, true
		}
	}
	return nil, false
}

// AppendFields appends the end-to-end fields, copied: without the hop-by-hop ones
// (IsHopByHop) and those that Connection nominates. Names and values are as
// received, except that a Content-Length stated several times becomes one, and that
// one which is not valid, or stands beside Transfer-Encoding, as only a response
// without a body may have it here, is left out (RFC 9110, 8.6; RFC 9112, 6.3, rule 3).
// The copies share one string.
func (h *Head) AppendFields(dst []Field) []Field {
	switch {
	case h.hidesLength:
		return appendEndToEnd(dst, h.Fields, h.options, 1<<fieldContentLength)
	case h.repeatsLength:
		return appendEndToEnd(dst, singleLength(h.Fields), h.options, 0)
	}
	return appendEndToEnd(dst, h.Fields, h.options, 0)
}

// EndToEnd yields the fields that AppendFields copies, without a copy: they are
// valid until the next Parse.
func (h *Head) EndToEnd(yield func(name, value []byte) bool) {
	fields, without := h.Fields, hopByHop
	switch {
	case h.hidesLength:
		without |= 1 << fieldContentLength
	case h.repeatsLength:
		fields = singleLength(fields)
	}
	for i := range fields {
		f := &fields[i]
		if without.has(fieldOf(f.Name)) || nominates(h.options, f.Name) {
			continue
		}
		if !yield(f.Name, f.Value) {
			return
		}
	}
}

// singleLength returns the fields with the first Content-Length cut to its first
// member and the others left out.
func singleLength(fields []RawField) []RawField {
	out := make([]RawField, 0, len(fields))
	seen := false
	for _, f := range fields {
		if fieldOf(f.Name) == fieldContentLength {
			if seen {
				continue
			}
			seen = true
			f.Value, _ = cutMember(f.Value)
		}
		out = append(out, f)
	}
	return out
}

// appendEndToEnd copies the fields that cross the connection into one string. Those
// whose id is in the set without do not, either.
func appendEndToEnd(dst []Field, fields []RawField, options []byte, without fieldSet) []Field {
	without |= hopByHop
	size, kept := 0, 0
	for i := range fields {
		if name := fields[i].Name; !without.has(fieldOf(name)) && !nominates(options, name) {
			size += len(name) + len(fields[i].Value)
			kept++
		}
	}
	if size == 0 {
		return dst
	}
	if cap(dst)-len(dst) < kept {
		dst = append(make([]Field, 0, len(dst)+kept), dst...)
	}
	var b strings.Builder
	b.Grow(size)
	for i := range fields {
		name, value := fields[i].Name, fields[i].Value
		if without.has(fieldOf(name)) || nominates(options, name) {
			continue
		}
		// The builder never grows again, so that its string only gets longer in place.
		b.Write(name)
		b.Write(value)
		s := b.String()
		s = s[len(s)-len(name)-len(value):]
		dst = append(dst, Field{Name: s[:len(name)], Value: s[len(name):]})
	}
	return dst
}

// nominates reports whether connection options, each followed by a comma, name the
// field.
func nominates(options, name []byte) bool {
	for len(options) > 0 {
		var option []byte
		option, options = cutMember(options)
		if sameName(option, name) {
			return true
		}
	}
	return false
}
