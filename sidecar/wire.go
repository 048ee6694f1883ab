package sidecar

import (
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// The numbers of the fields that are read and written here, as in http.proto.
const (
	sendRequestRequest   protowire.Number = 1
	sendResponseResponse protowire.Number = 1

	sessionRequestCalls     protowire.Number = 1
	sessionCallID           protowire.Number = 1
	sessionCallRequest      protowire.Number = 2
	sessionCallCancel       protowire.Number = 3
	sessionResponseReplies  protowire.Number = 1
	sessionResponseDraining protowire.Number = 2
	sessionReplyID          protowire.Number = 1
	sessionReplyResponse    protowire.Number = 2

	streamRequestHead     protowire.Number = 1
	streamRequestData     protowire.Number = 2
	streamRequestTrailers protowire.Number = 3
	streamRequestEnd      protowire.Number = 4
	streamResponseData    protowire.Number = 3

	requestUpstream protowire.Number = 1
	requestMethod   protowire.Number = 2
	requestPath     protowire.Number = 3
	requestHeaders  protowire.Number = 4
	requestBody     protowire.Number = 5
	requestTimeout  protowire.Number = 6
	requestOptions  protowire.Number = 7

	optionIdempotent protowire.Number = 1
	optionReceipt    protowire.Number = 2

	responseStatus   protowire.Number = 1
	responseHeaders  protowire.Number = 2
	responseBody     protowire.Number = 3
	responseTrailers protowire.Number = 4
	responseReceipt  protowire.Number = 5

	fieldName     protowire.Number = 1
	fieldValue    protowire.Number = 2
	fieldRawValue protowire.Number = 3
)

// field is one field of a message: number, and bytes or a varint by its type.
type field struct {
	number protowire.Number
	bytes  []byte
	varint uint64
	typ    protowire.Type
}

// nextField takes the first field off a message. It reports false at bytes that
// are no message.
func nextField(p []byte) (f field, rest []byte, ok bool) {
	number, typ, n := protowire.ConsumeTag(p)
	if n < 0 {
		return f, nil, false
	}
	f.number, f.typ = number, typ
	p = p[n:]
	switch typ {
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(p)
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(p)
	default:
		n = protowire.ConsumeFieldValue(number, typ, p)
	}
	if n < 0 {
		return f, nil, false
	}
	return f, p[n:], true
}

func (f *field) is(number protowire.Number, typ protowire.Type) bool {
	return f.number == number && f.typ == typ
}

// merged is a message that came in two parts, or in one. It is not nil.
func merged(first, second []byte) []byte {
	if first == nil {
		return slices.Clip(second)
	}
	return append(slices.Clip(first), second...)
}

// shared is bytes as a string that shares their memory: it lives as long as they do.
func shared(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // nobody writes to a message, and none outlives its exchange
}

// wireRequest is an HttpRequest as read here. Its strings, and the request's, lie
// in the message.
type wireRequest struct {
	upstream string
	request  pool.Request
	fields   []h1.Field // request.Fields' memory, used again
}

// read reads an HttpRequest. It reports false for anything out of the ordinary,
// wrong or just rare: what that is, and whether it is wrong, the generated code
// and readRequest then find out.
func (r *wireRequest) read(p []byte) bool {
	r.upstream = ""
	r.request = pool.Request{}
	r.fields = r.fields[:0]
	for len(p) > 0 {
		f, rest, ok := nextField(p)
		if !ok {
			return false
		}
		p = rest
		if f.typ != protowire.BytesType {
			return false
		}
		switch f.number {
		case requestUpstream:
			r.upstream = shared(f.bytes)
		case requestMethod:
			r.request.Method = shared(f.bytes)
		case requestPath:
			r.request.Path = shared(f.bytes)
		case requestHeaders:
			if !r.readHeader(f.bytes) {
				return false
			}
		case requestBody:
			r.request.Body = f.bytes
		case requestTimeout:
			if r.request.Timeout != 0 || !r.readTimeout(f.bytes) {
				return false
			}
		case requestOptions:
			if !r.readOptions(f.bytes) {
				return false
			}
		default:
			return false
		}
	}
	r.request.Fields = r.fields
	return r.upstream != "" && utf8.ValidString(r.upstream) && utf8.ValidString(r.request.Method) && utf8.ValidString(r.request.Path)
}

func (r *wireRequest) readHeader(p []byte) bool {
	var name, value, raw []byte
	for len(p) > 0 {
		f, rest, ok := nextField(p)
		if !ok || f.typ != protowire.BytesType {
			return false
		}
		p = rest
		switch f.number {
		case fieldName:
			name = f.bytes
		case fieldValue:
			value = f.bytes
		case fieldRawValue:
			raw = f.bytes
		default:
			return false
		}
	}
	switch {
	case !utf8.Valid(name) || !utf8.Valid(value) || len(value) > 0 && len(raw) > 0:
		return false
	case len(raw) > 0:
		value = raw
	}
	r.fields = append(r.fields, h1.Field{Name: shared(name), Value: shared(value)})
	return true
}

// maxSeconds bounds a timeout that is read here; longer ones are rare.
const maxSeconds = 1 << 30

func (r *wireRequest) readTimeout(p []byte) bool {
	var seconds, nanos uint64
	for len(p) > 0 {
		f, rest, ok := nextField(p)
		if !ok || f.typ != protowire.VarintType {
			return false
		}
		p = rest
		switch f.number {
		case 1:
			seconds = f.varint
		case 2:
			nanos = f.varint
		default:
			return false
		}
	}
	if seconds > maxSeconds || nanos >= uint64(time.Second) || seconds+nanos == 0 {
		return false
	}
	r.request.Timeout = time.Duration(seconds)*time.Second + time.Duration(nanos)
	return true
}

func (r *wireRequest) readOptions(p []byte) bool {
	for len(p) > 0 {
		f, rest, ok := nextField(p)
		if !ok || f.typ != protowire.VarintType {
			return false
		}
		p = rest
		switch f.number {
		case optionIdempotent:
			r.request.Idempotent = f.varint != 0
		case optionReceipt:
			r.request.Receipt = f.varint != 0
		default:
			return false
		}
	}
	return true
}

// appendHeader writes a header field as field number of a message.
func appendHeader[T string | []byte](dst []byte, number protowire.Number, name, value T) []byte {
	valueNumber := fieldValue
	if !validUTF8(value) {
		valueNumber = fieldRawValue
	}
	size := protowire.SizeTag(fieldName) + protowire.SizeBytes(len(name))
	if len(value) > 0 {
		size += protowire.SizeTag(valueNumber) + protowire.SizeBytes(len(value))
	}
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, fieldName, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(name)))
	dst = append(dst, name...)
	if len(value) > 0 {
		dst = protowire.AppendTag(dst, valueNumber, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(len(value)))
		dst = append(dst, value...)
	}
	return dst
}

func validUTF8[T string | []byte](v T) bool {
	for i := range len(v) {
		if v[i] >= utf8.RuneSelf {
			return utf8.ValidString(string(v))
		}
	}
	return true
}

// openLength is room for a length that is written when it is known: a varint of
// fixed size, which says in each byte but the last that more follows.
const openLength = 5

func putOpenLength(at []byte, n int) {
	for i := range openLength {
		at[i] = byte(n>>(7*i)) | 0x80
	}
	at[openLength-1] &= 0x7f
}
