package client

import (
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// answer is an HttpResponse as read here.
type answer struct {
	status  int
	header  http.Header
	body    []byte      // lies in the message
	trailer http.Header // nil: none
	receipt *warmpoolv1.Receipt
}

// readAnswer reads an HttpResponse. Strings do not share the message's memory, so
// that a field that is kept does not keep a body.
func readAnswer(message []byte) (a answer, err error) {
	headers, bodyAt := 0, len(message)
	for at := 0; at < len(message); {
		p, next, err := nextPart(message, at)
		if err != nil {
			return a, err
		}
		switch {
		case p.is(responseStatus, protowire.VarintType):
			a.status = int(p.varint)
		case p.is(responseHeaders, protowire.BytesType):
			headers++
		case p.is(responseBody, protowire.BytesType):
			a.body, bodyAt = p.bytes, at
		}
		at = next
	}
	if a.status < 200 || a.status > 999 {
		return a, errNoMessage
	}
	text := string(message[:bodyAt]) // all headers in one piece of memory
	a.header = make(http.Header, headers)
	values := make([]string, 0, headers)
	for at := 0; at < len(message); {
		p, next, err := nextPart(message, at)
		if err != nil {
			return a, err
		}
		at = next
		switch {
		case p.is(responseHeaders, protowire.BytesType):
			name, value, err := readHeader(message, p, text)
			if err != nil {
				return a, err
			}
			values = addField(a.header, name, value, values)
		case p.is(responseTrailers, protowire.BytesType):
			name, value, err := readHeader(message, p, text)
			if err != nil {
				return a, err
			}
			if a.trailer == nil {
				a.trailer = make(http.Header)
			}
			a.trailer.Add(name, value)
		case p.is(responseReceipt, protowire.BytesType):
			a.receipt = new(warmpoolv1.Receipt)
			if err := proto.Unmarshal(p.bytes, a.receipt); err != nil {
				return a, err
			}
		}
	}
	return a, nil
}

// addField adds a field to header. A name's first value is taken from values,
// which has room for all, so that most fields need no memory of their own.
func addField(header http.Header, name, value string, values []string) []string {
	name = textproto.CanonicalMIMEHeaderKey(name)
	if first, ok := header[name]; ok {
		header[name] = append(first, value)
		return values
	}
	values = append(values, value)
	header[name] = values[len(values)-1 : len(values) : len(values)]
	return values
}

// readHeader reads the Header that outer holds. text is the beginning of message.
func readHeader(message []byte, outer part, text string) (name, value string, err error) {
	for at := 0; at < len(outer.bytes); {
		p, next, err := nextPart(outer.bytes, at)
		if err != nil {
			return "", "", err
		}
		at = next
		if p.typ != protowire.BytesType || len(p.bytes) == 0 {
			continue
		}
		begin := outer.at + p.at
		end := begin + len(p.bytes)
		var s string
		if end <= len(text) {
			s = text[begin:end]
		} else {
			s = string(message[begin:end])
		}
		switch p.number {
		case headerName:
			name = s
		case headerValue, headerRawValue:
			value = s
		}
	}
	return name, value, nil
}

// newResponse is the http.Response of an answer, but for its body.
func newResponse(p *plan, a *answer) *http.Response {
	r := &http.Response{
		Status: statusText(a.status), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, ContentLength: -1, Request: p.req,
	}
	if values := a.header["Content-Length"]; len(values) > 0 {
		if n, err := strconv.ParseUint(strings.TrimSpace(values[0]), 10, 63); err == nil {
			r.ContentLength = int64(n)
		}
	} else {
		r.Trailer = announced(a.header)
	}
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		r.ContentLength = 0
	}
	return r
}

// bodiless reports that a response has no body whatever its fields say (RFC 9112,
// 6.3).
func bodiless(p *plan, status int) bool {
	return p.req.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}

func statusText(status int) string {
	if status == http.StatusOK {
		return "200 OK"
	}
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// announced takes the names that the Trailer field announces out of a header; nil
// when there are none.
func announced(header http.Header) http.Header {
	lines, ok := header["Trailer"]
	if !ok {
		return nil
	}
	delete(header, "Trailer")
	names := make(http.Header)
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				names[textproto.CanonicalMIMEHeaderKey(name)] = nil
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return names
}

// addTrailers adds trailers that arrived to those that were announced.
func addTrailers(r *http.Response, trailer http.Header) {
	if len(trailer) == 0 {
		return
	}
	if r.Trailer == nil {
		r.Trailer = make(http.Header, len(trailer))
	}
	maps.Copy(r.Trailer, trailer)
}

// setBody gives a response its body, uncompressed if compression was asked for
// here.
func setBody(p *plan, r *http.Response, body io.ReadCloser) {
	r.Body = body
	if p.gzip && strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		r.Body = &unzipped{compressed: body}
		delete(r.Header, "Content-Encoding")
		delete(r.Header, "Content-Length")
		r.ContentLength = -1
		r.Uncompressed = true
	}
}
