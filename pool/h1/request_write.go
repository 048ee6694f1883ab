package h1

import (
	"slices"
	"strconv"

	"golang.org/x/net/http/httpguts"
)

// fixedHeadBytes is more than all that AppendHead writes beside the caller's own
// bytes: version, Host, framing, TE and Connection.
const fixedHeadBytes = 192

// HeadOptions says what one attempt changes about the head.
type HeadOptions struct {
	// Close adds "Connection: close": the connection ends with this exchange.
	Close bool
	// OmitExpect leaves Expect out, as for the repetition after a 417 (RFC 9110, 10.1.1).
	OmitExpect bool
	// Upgrade sends the caller's offer to switch protocols (Request.Upgrade). Without
	// it the offer is dropped, as any other hop-by-hop field is.
	Upgrade bool
}

// AppendHead appends the complete head, the empty line included. It panics unless
// Prepare returned nil before.
func (r *Request) AppendHead(dst []byte, opt HeadOptions) []byte {
	p := &r.plan
	if !p.prepared {
		panic("h1: AppendHead of a request that Prepare has not accepted")
	}
	dst = slices.Grow(dst, p.size)
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = append(dst, r.Target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, p.host...)
	dst = append(dst, "\r\n"...)
	for _, f := range r.Fields {
		switch id := fieldOf(f.Name); {
		case id == fieldHost, id == fieldContentLength, hopByHop.has(id):
			continue
		case id == fieldExpect && (opt.OmitExpect || !p.keepExpect):
			continue
		case len(p.options) > 0 && r.nominated(f.Name):
			continue
		}
		dst = appendField(dst, f)
	}
	switch {
	case p.body < 0:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case p.stateLength:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, p.body, 10)
		dst = append(dst, "\r\n"...)
	}
	dst = r.appendConnection(dst, opt)
	return append(dst, "\r\n"...)
}

// appendConnection writes the fields that are about this connection, and the
// Connection field that nominates them (RFC 9110, 7.6.1).
func (r *Request) appendConnection(dst []byte, opt HeadOptions) []byte {
	p := &r.plan
	upgrade := opt.Upgrade && p.upgrade != ""
	if upgrade {
		dst = append(dst, "Upgrade: "...)
		dst = append(dst, p.upgrade...)
		dst = append(dst, "\r\n"...)
	}
	if p.trailers {
		dst = append(dst, "TE: trailers\r\n"...)
	}
	separator := "Connection: "
	for _, option := range [...]struct {
		set  bool
		name string
	}{{opt.Close || p.close, "close"}, {p.trailers, "TE"}, {upgrade, "Upgrade"}} {
		if option.set {
			dst = append(dst, separator...)
			dst = append(dst, option.name...)
			separator = ", "
		}
	}
	if separator == ", " {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func appendField(dst []byte, f Field) []byte {
	dst = append(dst, f.Name...)
	dst = append(dst, ": "...)
	dst = append(dst, trim(f.Value)...)
	return append(dst, "\r\n"...)
}

// AppendChunk appends p as one chunk (RFC 9112, 7.1). An empty p appends nothing,
// for an empty chunk would end the body.
func AppendChunk(dst, p []byte) []byte {
	if len(p) == 0 {
		return dst
	}
	dst = strconv.AppendUint(dst, uint64(len(p)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, p...)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body: the zero chunk, the trailer
// fields, which CheckTrailers must have accepted, and the empty line.
func AppendLastChunk(dst []byte, trailers []Field) []byte {
	dst = append(dst, "0\r\n"...)
	for _, f := range trailers {
		dst = appendField(dst, f)
	}
	return append(dst, "\r\n"...)
}

// CheckTrailers checks the trailer fields of a request: names and values as for
// header fields, and no field that must be known before the body, such as those
// about framing, routing, authentication or the content's type (RFC 9110, 6.5.1).
// The error is a *RequestError.
func CheckTrailers(trailers []Field) error {
	for _, f := range trailers {
		if err := checkField("trailer", f); err != nil {
			return err
		}
		if IsHopByHop(f.Name) || fieldOf(f.Name) == fieldCookie || fieldOf(f.Name) == fieldSetCookie ||
			!httpguts.ValidTrailerHeader(f.Name) {
			return &RequestError{Part: "trailer name", Value: f.Name, Reason: "must stand in the header section, not after the body (RFC 9110, 6.5.1)"}
		}
	}
	return nil
}
