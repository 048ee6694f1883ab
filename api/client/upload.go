package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// uploadBlock is how much of a request's body is read and sent at a time.
const uploadBlock = 64 << 10

// upload reads a request's body and sends it, in a goroutine of its own. It ends
// with the body, or with the exchange: then the body is closed under it.
type upload struct {
	exchange *exchange
	body     io.ReadCloser
	once     sync.Once
	failure  atomic.Pointer[Failure] // why the body could not be sent
	first    chan piece              // the body's beginning, read ahead; nil: it was not
}

// piece is what one Read of a body gave.
type piece struct {
	block *[]byte // from messages
	err   error
}

// firstWait is how long a body that is probably empty may take to show that it is
// not; http.Transport waits as long.
const firstWait = 200 * time.Millisecond

// isEmpty looks whether there is a body at all, where its length is unknown and the
// method rarely has one: the request then goes without one. A body that takes its
// time is one.
func (u *upload) isEmpty() bool {
	p := u.exchange.plan
	if p.length >= 0 || !rarelyBodied(p.req.Method) {
		return false
	}
	u.first = make(chan piece, 1)
	go func() { u.first <- u.read() }()
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	select {
	case first := <-u.first:
		u.first <- first // whatever else it is, upload finds out
		return len(*first.block) == 0 && errors.Is(first.err, io.EOF)
	case <-timer.C:
	case <-u.exchange.ctx.Done():
	}
	return false
}

// read reads the next piece of the body.
func (u *upload) read() (p piece) {
	p.block = messages.Get(uploadBlock)
	n, err := u.body.Read(*p.block)
	*p.block, p.err = (*p.block)[:n], err
	return p
}

// next is the next piece of the body.
func (u *upload) next() piece {
	if u.first == nil {
		return u.read()
	}
	first := <-u.first
	u.first = nil
	return first
}

func newUpload(x *exchange, body io.ReadCloser) *upload {
	u := &upload{exchange: x, body: body}
	context.AfterFunc(x.ctx, u.close)
	return u
}

// run sends the body. Where it cannot, the exchange ends.
func (u *upload) run() {
	failure := u.send()
	u.close()
	if u.exchange.ctx.Err() != nil {
		failure = nil // that it was closed here is no failure of its own
	}
	if failure == nil {
		u.exchange.plan.wroteRequest(nil)
		return
	}
	u.failure.Store(failure)
	u.exchange.cancel()
	u.exchange.plan.wroteRequest(failure)
}

// close closes the body, once.
func (u *upload) close() { u.once.Do(func() { _ = u.body.Close() }) }

// send sends the body block by block. A stream that has ended wants no more of it,
// which is no failure of the body's: an early response does that.
func (u *upload) send() *Failure {
	x := u.exchange
	length := x.plan.length
	for sent := int64(0); ; {
		next := u.next()
		n, err := len(*next.block), next.err
		sent += int64(n)
		if n == 0 || length >= 0 && sent > length {
			messages.Put(next.block)
		} else if x.stream.SendMsg(dataMessage{next.block}) != nil {
			return nil //nolint:nilerr // what the body's Read said is of no interest any more
		}
		switch {
		case length >= 0 && sent > length, length >= 0 && sent < length && errors.Is(err, io.EOF):
			return wrongLength(length, sent)
		case errors.Is(err, io.EOF):
			_ = x.stream.SendMsg(x.plan.lastMessage())
			return nil
		case err != nil:
			return unreadable(err, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
		}
	}
}

// lastMessage ends the request's body, with the trailers that are there by now.
func (p *plan) lastMessage() *warmpoolv1.StreamRequest {
	last := &warmpoolv1.StreamRequest{End: true}
	if p.length < 0 && len(p.req.Trailer) > 0 {
		last.Part = &warmpoolv1.StreamRequest_Trailers{Trailers: &warmpoolv1.Trailers{Trailers: fieldMessages(p.req.Trailer)}}
	}
	return last
}

// fieldMessages is fieldsOf the other way round, in the order of the names.
func fieldMessages(fields http.Header) []*warmpoolv1.Header {
	var list []*warmpoolv1.Header
	for name, values := range fields {
		for _, value := range values {
			f := &warmpoolv1.Header{Name: name, Value: value}
			if !utf8.ValidString(value) {
				f.Value, f.RawValue = "", []byte(value)
			}
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(a, b *warmpoolv1.Header) int { return strings.Compare(a.GetName(), b.GetName()) })
	return list
}

// dataMessage is a StreamRequest that holds a piece of the body.
type dataMessage struct{ block *[]byte } // from messages, which it goes back to

// give implements outbound.
func (m dataMessage) give() mem.BufferSlice {
	prefix := protowire.AppendTag(make([]byte, 0, 8), streamRequestData, protowire.BytesType)
	prefix = protowire.AppendVarint(prefix, uint64(len(*m.block)))
	return mem.BufferSlice{mem.SliceBuffer(prefix), mem.NewBuffer(m.block, &messages)}
}
