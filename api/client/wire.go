package client

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// The messages that every call passes are written and read here, straight from and
// into what net/http works with; the generated code does the rest. A fuzz test
// holds the two to each other.

// The numbers of the fields, as in http.proto.
const (
	sessionRequestCalls     protowire.Number = 1
	sessionCallID           protowire.Number = 1
	sessionCallRequest      protowire.Number = 2
	sessionCallCancel       protowire.Number = 3
	sessionResponseReplies  protowire.Number = 1
	sessionResponseDraining protowire.Number = 2
	sessionReplyID          protowire.Number = 1
	sessionReplyResponse    protowire.Number = 2
	sessionReplyFailure     protowire.Number = 3

	streamRequestHead     protowire.Number = 1
	streamRequestData     protowire.Number = 2
	streamRequestTrailers protowire.Number = 3
	streamRequestEnd      protowire.Number = 4
	streamResponseInterim protowire.Number = 1
	streamResponseHead    protowire.Number = 2
	streamResponseData    protowire.Number = 3
	streamResponseEnd     protowire.Number = 4
	trailersTrailers      protowire.Number = 1

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

	headerName     protowire.Number = 1
	headerValue    protowire.Number = 2
	headerRawValue protowire.Number = 3
)

var errNoMessage = errors.New("the sidecar's bytes are no message")

// part is one field of a message.
type part struct {
	number protowire.Number
	typ    protowire.Type
	varint uint64
	bytes  []byte
	at     int // where bytes begin in the message
}

func (p *part) is(number protowire.Number, typ protowire.Type) bool {
	return p.number == number && p.typ == typ
}

// nextPart reads the field that begins at position at, and says where the next one
// does.
func nextPart(message []byte, at int) (p part, next int, err error) {
	number, typ, n := protowire.ConsumeTag(message[at:])
	if n < 0 {
		return p, 0, errNoMessage
	}
	at += n
	p.number, p.typ = number, typ
	switch typ {
	case protowire.BytesType:
		p.bytes, n = protowire.ConsumeBytes(message[at:])
		p.at = at + n - len(p.bytes)
	case protowire.VarintType:
		p.varint, n = protowire.ConsumeVarint(message[at:])
	default:
		n = protowire.ConsumeFieldValue(number, typ, message[at:])
	}
	if n < 0 {
		return p, 0, errNoMessage
	}
	return p, at + n, nil
}

// appendText writes a string field, unless it is empty.
func appendText(dst []byte, number protowire.Number, text string) []byte {
	if text == "" {
		return dst
	}
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return protowire.AppendString(dst, text)
}

// appendHeader writes one field line as field number of a message.
func appendHeader(dst []byte, number protowire.Number, name, value string) []byte {
	valueNumber := headerValue
	if !utf8.ValidString(value) {
		valueNumber = headerRawValue
	}
	size := protowire.SizeTag(headerName) + protowire.SizeBytes(len(name))
	if value != "" {
		size += protowire.SizeTag(valueNumber) + protowire.SizeBytes(len(value))
	}
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendText(dst, headerName, name)
	return appendText(dst, valueNumber, value)
}

// appendHeaders writes fields in the order of their names, as http.Transport does.
func appendHeaders(dst []byte, number protowire.Number, fields http.Header) []byte {
	var few [24]string
	names := few[:0]
	for name := range fields {
		if !ownField(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range fields[name] {
			dst = appendHeader(dst, number, name, value)
		}
	}
	return dst
}

// appendRequest writes an HttpRequest without its body, which is to follow as the
// last field.
func appendRequest(dst []byte, p *plan) []byte {
	req := p.req
	dst = appendText(dst, requestUpstream, p.upstream)
	dst = appendText(dst, requestMethod, req.Method)
	dst = appendText(dst, requestPath, p.target)
	if p.host != "" {
		dst = appendHeader(dst, requestHeaders, "Host", p.host)
	}
	agent := defaultUserAgent
	if given, ok := req.Header["User-Agent"]; ok { // present and empty: none is sent
		agent = ""
		if len(given) > 0 {
			agent = given[0]
		}
	}
	if agent != "" {
		dst = appendHeader(dst, requestHeaders, "User-Agent", agent)
	}
	if p.length > 0 {
		dst = appendHeader(dst, requestHeaders, "Content-Length", strconv.FormatInt(p.length, 10))
	}
	if len(req.Trailer) > 0 && p.length < 0 {
		names := slices.Sorted(maps.Keys(req.Trailer))
		dst = appendHeader(dst, requestHeaders, "Trailer", strings.Join(names, ","))
	}
	dst = appendHeaders(dst, requestHeaders, req.Header)
	if p.gzip {
		dst = appendHeader(dst, requestHeaders, "Accept-Encoding", "gzip")
	}
	if p.lastOfMany {
		dst = appendHeader(dst, requestHeaders, "Connection", "close")
	}
	if d := p.timeAllowed(); d > 0 {
		dst = appendDuration(dst, requestTimeout, d)
	}
	if p.promised || p.wish.receipt != nil {
		dst = protowire.AppendTag(dst, requestOptions, protowire.BytesType)
		at := len(dst)
		dst = append(dst, 0)
		if p.promised {
			dst = appendTrue(dst, optionIdempotent)
		}
		if p.wish.receipt != nil {
			dst = appendTrue(dst, optionReceipt)
		}
		dst[at] = byte(len(dst) - at - 1)
	}
	return dst
}

// ownField reports the fields that do not come from Request.Header, as with
// http.Transport.
func ownField(name string) bool {
	switch name {
	case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}

// appendDuration writes a google.protobuf.Duration, which is not negative.
func appendDuration(dst []byte, number protowire.Number, d time.Duration) []byte {
	seconds, nanos := uint64(d/time.Second), uint64(d%time.Second)
	size := 0
	if seconds > 0 {
		size += protowire.SizeTag(1) + protowire.SizeVarint(seconds)
	}
	if nanos > 0 {
		size += protowire.SizeTag(2) + protowire.SizeVarint(nanos)
	}
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	if seconds > 0 {
		dst = protowire.AppendTag(dst, 1, protowire.VarintType)
		dst = protowire.AppendVarint(dst, seconds)
	}
	if nanos > 0 {
		dst = protowire.AppendTag(dst, 2, protowire.VarintType)
		dst = protowire.AppendVarint(dst, nanos)
	}
	return dst
}

func appendTrue(dst []byte, number protowire.Number) []byte {
	dst = protowire.AppendTag(dst, number, protowire.VarintType)
	return append(dst, 1)
}

// maxCallFrame is how many bytes appendSessionCall writes at most beside the
// request, and maxCancel how many appendSessionCancel does.
const (
	maxCallFrame = 32
	maxCancel    = 16
)

// appendSessionCall writes a call, of the request with that encoding, as one of a
// SessionRequest's.
func appendSessionCall(dst []byte, id uint64, request []byte) []byte {
	size := protowire.SizeTag(sessionCallID) + protowire.SizeVarint(id) +
		protowire.SizeTag(sessionCallRequest) + protowire.SizeBytes(len(request))
	dst = protowire.AppendTag(dst, sessionRequestCalls, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, sessionCallID, protowire.VarintType)
	dst = protowire.AppendVarint(dst, id)
	dst = protowire.AppendTag(dst, sessionCallRequest, protowire.BytesType)
	return protowire.AppendBytes(dst, request)
}

// appendSessionCancel writes a call that cancels one of a SessionRequest's.
func appendSessionCancel(dst []byte, id uint64) []byte {
	size := protowire.SizeTag(sessionCallID) + protowire.SizeVarint(id) + protowire.SizeTag(sessionCallCancel) + protowire.SizeBytes(0)
	dst = protowire.AppendTag(dst, sessionRequestCalls, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, sessionCallID, protowire.VarintType)
	dst = protowire.AppendVarint(dst, id)
	dst = protowire.AppendTag(dst, sessionCallCancel, protowire.BytesType)
	return protowire.AppendVarint(dst, 0)
}

// encoded is a message that was written here.
type encoded struct{ message *[]byte } // from messages, which it goes back to

// give implements outbound.
func (e encoded) give() mem.BufferSlice {
	return mem.BufferSlice{mem.NewBuffer(e.message, &messages)}
}

// messages is where the memory of messages comes from and, once gRPC has sent
// them, goes to.
var messages messagePool

const (
	messageSize  = 4 << 10   // to begin with
	messageLimit = 128 << 10 // of what is kept for the next one
)

// messagePool is a mem.BufferPool that hands memory out as it is; gRPC's own clears
// it first.
type messagePool struct{ sync.Pool }

var _ mem.BufferPool = (*messagePool)(nil)

// Get implements mem.BufferPool.
func (p *messagePool) Get(length int) *[]byte {
	b, ok := p.Pool.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, 0, max(messageSize, length))
		b = &fresh
	}
	*b = slices.Grow((*b)[:0], length)[:length]
	return b
}

// Put implements mem.BufferPool.
func (p *messagePool) Put(b *[]byte) {
	if cap(*b) <= messageLimit {
		p.Pool.Put(b)
	}
}

// empty is memory for a message of at most size bytes; its length is 0.
func (p *messagePool) empty(size int) *[]byte {
	b := p.Get(size)
	*b = (*b)[:0]
	return b
}

// outcome is the reply to one call of a session.
type outcome struct {
	id       uint64
	response []byte   // an HttpResponse, owned by whoever has the outcome
	failure  *Failure // or why there is none
}

// replies is a SessionResponse. It is used again for the next one.
type replies struct {
	list     []outcome
	draining bool
}

// take implements inbound.
func (r *replies) take(data mem.BufferSlice) error {
	clear(r.list)
	r.list, r.draining = r.list[:0], false
	var message []byte
	// One piece of memory is gRPC's and must be copied from; several are put
	// together in one of ours.
	owned := len(data) != 1
	if owned {
		message = data.Materialize()
	} else {
		message = data[0].ReadOnlyData()
	}
	for at := 0; at < len(message); {
		p, next, err := nextPart(message, at)
		if err != nil {
			return err
		}
		at = next
		switch {
		case p.is(sessionResponseReplies, protowire.BytesType):
			o, err := readReply(p.bytes)
			if err != nil {
				return err
			}
			if owned {
				o.response = slices.Clip(o.response)
			} else {
				o.response = slices.Clone(o.response)
			}
			r.list = append(r.list, o)
		case p.is(sessionResponseDraining, protowire.VarintType):
			r.draining = p.varint != 0
		}
	}
	return nil
}

// readReply reads a SessionReply. Its response lies in the message.
func readReply(message []byte) (o outcome, err error) {
	for at := 0; at < len(message); {
		p, next, err := nextPart(message, at)
		if err != nil {
			return o, err
		}
		at = next
		switch {
		case p.is(sessionReplyID, protowire.VarintType):
			o.id = p.varint
		case p.is(sessionReplyResponse, protowire.BytesType):
			o.response, o.failure = p.bytes, nil
		case p.is(sessionReplyFailure, protowire.BytesType):
			var m warmpoolv1.Failure
			if err := proto.Unmarshal(p.bytes, &m); err != nil {
				return o, err
			}
			o.response, o.failure = nil, told(&m)
		}
	}
	return o, nil
}
