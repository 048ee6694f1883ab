package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// exchange is one Stream. The goroutine that asked for it receives, and so does
// later whoever reads the response's body; the request's body has a goroutine of
// its own (upload.go).
type exchange struct {
	client *Client
	plan   *plan
	stream grpc.ClientStream
	ctx    context.Context // the stream's life
	cancel context.CancelFunc
	stop   func() bool // ends the watch over the call's context
	upload *upload     // nil: the request has no body, or it left with the head

	delivery warmpoolv1.Delivery // what is known when the stream breaks off
}

// stream sends a request as a Stream.
func (c *Client) stream(p *plan) (*http.Response, *Failure) {
	if p.length == 0 {
		closeBody(p.req)
		return c.streamHeld(p, nil)
	}
	if p.fits() {
		// In one message with the head it can be sent again, by the sidecar as well.
		var held []byte
		failure := appendBody(&held, p)
		closeBody(p.req)
		if failure != nil {
			return nil, failure
		}
		return c.streamHeld(p, held[len(held)-int(p.length):])
	}
	return c.streamUntilOver(p, p.req.Body, nil)
}

// fits reports whether the request's body is in memory, and small.
func (p *plan) fits() bool {
	return p.length >= 0 && p.length <= maxCall && p.req.GetBody != nil
}

// streamHeld sends a request as a Stream whose body was read before.
func (c *Client) streamHeld(p *plan, body []byte) (*http.Response, *Failure) {
	return c.streamUntilOver(p, nil, body)
}

// fate is what became of a request that failed.
type fate uint8

const (
	fateOver        fate = iota
	fateUnused           // no sidecar took it: it went, or was about to
	fateInterrupted      // the sidecar ended with it, and nothing of a response was seen
)

// streamUntilOver sends a request as a Stream, with a body that is read, or with one
// that is there. A sidecar that went has a successor, which gets what this one did
// not take, and what may be carried out twice.
func (c *Client) streamUntilOver(p *plan, body io.ReadCloser, held []byte) (*http.Response, *Failure) {
	var lost *Failure // how the last sidecar was that was lost with it
	for n := 1; ; n++ {
		response, failure, fate := c.streamOnce(p, body, held)
		if failure == nil {
			return response, nil
		}
		failure = failure.after(lost)
		switch {
		case n > mostLosses, fate == fateOver, fate == fateInterrupted && !p.idempotent:
			return nil, failure
		case fate == fateInterrupted:
			lost = failure
		}
		if body == nil {
			continue
		}
		if p.req.GetBody == nil {
			return nil, failure
		}
		var err error
		if body, err = p.req.GetBody(); err != nil {
			return nil, failure
		}
	}
}

// streamOnce sends a request as a Stream, with a body that is read, or with one that
// is there. A failure comes with what it means for the request.
func (c *Client) streamOnce(p *plan, body io.ReadCloser, held []byte) (*http.Response, *Failure, fate) {
	x := &exchange{client: c, plan: p, delivery: warmpoolv1.Delivery_DELIVERY_NOT_SENT}
	if failure := x.open(); failure != nil {
		if body != nil {
			_ = body.Close()
		}
		return nil, failure, fateOver // it has been waited for already
	}
	if body != nil {
		x.upload = newUpload(x, body)
		if x.upload.isEmpty() {
			x.upload.close()
			x.upload, p.length = nil, 0
		}
	}
	if err := x.sendHead(held, x.upload == nil); err == nil {
		x.delivery = warmpoolv1.Delivery_DELIVERY_UNKNOWN
		p.wroteHeaders()
		if x.upload != nil {
			go x.upload.run()
		} else {
			p.wroteRequest(nil)
		}
	} // the reason is what is received
	response, failure := x.response()
	if failure == nil {
		return response, nil, fateOver
	}
	x.end()
	switch {
	case failure.drained(), x.delivery == warmpoolv1.Delivery_DELIVERY_NOT_SENT && errors.Is(failure, ErrSidecarLost):
		return nil, failure, fateUnused
	case failure.interrupted():
		return nil, failure, fateInterrupted
	}
	return nil, failure, fateOver
}

// open opens the stream, and waits for a sidecar as long as the client's patience
// lasts.
func (x *exchange) open() *Failure {
	c, p := x.client, x.plan
	ctx, cancel := context.WithCancel(c.ctx)
	x.ctx, x.cancel, x.stop = ctx, cancel, context.AfterFunc(p.ctx, cancel)
	var late atomic.Bool
	if c.options.patience > 0 {
		timer := time.AfterFunc(c.options.patience, func() {
			late.Store(true)
			cancel()
		})
		defer timer.Stop()
	}
	var why error
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		stream, err := c.bulk.NewStream(ctx, &bidirectional, streamMethod, ownCodec)
		if err == nil && !late.Load() {
			x.stream = stream
			return nil
		}
		if ctx.Err() == nil {
			why = err
			if c.options.patience > 0 && sleep(ctx, pause) {
				continue
			}
		}
		x.stop()
		cancel()
		switch {
		case p.ctx.Err() != nil:
			return ended(p.ctx, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
		case c.ctx.Err() != nil:
			return closed(warmpoolv1.Delivery_DELIVERY_NOT_SENT)
		}
		return absent(c.options.target, c.options.patience, why)
	}
}

// sendHead sends the first message.
func (x *exchange) sendHead(body []byte, end bool) error {
	head := messages.empty(512 + len(body))
	defer func() { messages.Put(head) }()
	*head = appendRequest(*head, x.plan)
	if len(body) > 0 {
		*head = protowire.AppendTag(*head, requestBody, protowire.BytesType)
		*head = protowire.AppendBytes(*head, body)
	}
	message := messages.empty(len(*head) + 16)
	m := protowire.AppendTag(*message, streamRequestHead, protowire.BytesType)
	m = protowire.AppendBytes(m, *head)
	if end {
		m = appendTrue(m, streamRequestEnd)
	}
	*message = m
	return x.stream.SendMsg(encoded{message})
}

// response receives until the response's head is there.
func (x *exchange) response() (*http.Response, *Failure) {
	p := x.plan
	for {
		var in streamMessage
		if err := x.stream.RecvMsg(&in); err != nil {
			return nil, x.broken(err)
		}
		if x.delivery != warmpoolv1.Delivery_DELIVERY_RESPONDED {
			x.delivery = warmpoolv1.Delivery_DELIVERY_RESPONDED
			p.gotFirstByte()
		}
		switch {
		case in.interim != nil:
			err := p.interim(in.interim)
			in.free()
			if err != nil {
				return nil, refusedInterim(err)
			}
		case in.head != nil:
			a, err := readAnswer(in.head)
			in.free()
			if err != nil {
				return nil, garbled(err)
			}
			return x.answered(&a)
		default:
			in.free()
			return nil, garbled(errNoMessage)
		}
	}
}

// answered makes the response of a head.
func (x *exchange) answered(a *answer) (*http.Response, *Failure) {
	p := x.plan
	r := newResponse(p, a)
	body := &streamBody{exchange: x, response: r}
	if bodiless(p, a.status) || r.ContentLength == 0 {
		if _, err := body.next(); !errors.Is(err, io.EOF) {
			body.fail()
			if failure, ok := errors.AsType[*Failure](err); ok {
				return nil, failure
			}
			return nil, garbled(errNoMessage)
		}
		r.Body = http.NoBody
		return r, nil
	}
	setBody(p, r, body)
	return r, nil
}

// broken is the failure of an exchange whose stream has ended.
func (x *exchange) broken(err error) *Failure {
	if x.upload != nil {
		if failure := x.upload.failure.Load(); failure != nil {
			f := failure.clone()
			f.Delivery = x.delivery
			return f
		}
	}
	if f := toldBy(err); f != nil {
		return f
	}
	switch {
	case x.plan.ctx.Err() != nil:
		return ended(x.plan.ctx, x.delivery)
	case x.client.ctx.Err() != nil:
		return closed(x.delivery)
	}
	f := lost(err, x.delivery)
	if errors.Is(err, io.EOF) {
		f.Message = "the sidecar ended the stream before the response was complete"
	}
	if x.delivery == warmpoolv1.Delivery_DELIVERY_RESPONDED {
		f.causes = append(f.causes, io.ErrUnexpectedEOF)
	}
	return f
}

// end gives back what the exchange holds. The stream breaks off if it is not over,
// and so does the request's body.
func (x *exchange) end() {
	x.stop()
	x.cancel()
}

// streamBody is the body of a response that is received as it is read.
type streamBody struct {
	exchange *exchange
	response *http.Response
	closed   atomic.Bool

	// reading is held while Read runs. Close waits for it, after it has ended the
	// stream under it.
	reading struct {
		sync.Mutex
		in   streamMessage // its data is not read to the end
		rest []byte        // ... of which this is left
		err  error         // what every further Read returns
	}
}

// Read implements io.Reader.
func (b *streamBody) Read(into []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.closed.Load() {
		return 0, errBodyClosed
	}
	if len(into) == 0 {
		return 0, nil
	}
	for len(b.reading.rest) == 0 && b.reading.err == nil {
		b.reading.rest, b.reading.err = b.next()
		if b.reading.err != nil {
			b.exchange.end()
			if b.closed.Load() {
				b.reading.err = errBodyClosed
			}
		}
	}
	if b.reading.err != nil {
		return 0, b.reading.err
	}
	n := copy(into, b.reading.rest)
	if b.reading.rest = b.reading.rest[n:]; len(b.reading.rest) == 0 {
		b.reading.in.free()
	}
	return n, nil
}

// next receives the next piece of the body. The error is a *Failure or io.EOF.
func (b *streamBody) next() ([]byte, error) {
	x := b.exchange
	in := &b.reading.in
	in.free()
	if err := x.stream.RecvMsg(in); err != nil {
		return nil, x.plan.failed(x.broken(err))
	}
	switch {
	case in.data != nil:
		return in.data, nil
	case in.end != nil:
		trailer, receipt, err := readEnd(in.end)
		in.free()
		if err != nil {
			return nil, x.plan.failed(garbled(err))
		}
		var none streamMessage
		_ = x.stream.RecvMsg(&none) // the status, after which nothing is left of the stream
		none.free()
		x.end()
		addTrailers(b.response, trailer)
		x.plan.receipt(receipt)
		return nil, io.EOF
	}
	in.free()
	return nil, x.plan.failed(garbled(errNoMessage))
}

// fail ends a body that nobody was given.
func (b *streamBody) fail() { b.reading.in.free() }

// Close implements io.Closer. It may be called while Read runs.
func (b *streamBody) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	b.exchange.end()
	b.reading.Lock()
	defer b.reading.Unlock()
	b.reading.in.free()
	b.reading.rest = nil
	return nil
}

// readEnd reads a StreamEnd.
func readEnd(message []byte) (http.Header, *warmpoolv1.Receipt, error) {
	var end warmpoolv1.StreamEnd
	if err := proto.Unmarshal(message, &end); err != nil {
		return nil, nil, err
	}
	return fieldsOf(end.GetTrailers()), end.GetReceipt(), nil
}

// fieldsOf is a list of fields as net/http has them; nil for none.
func fieldsOf(list []*warmpoolv1.Header) http.Header {
	if len(list) == 0 {
		return nil
	}
	fields := make(http.Header, len(list))
	for _, f := range list {
		value := f.GetValue()
		if raw := f.GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		fields.Add(f.GetName(), value)
	}
	return fields
}

// interim tells the trace of an interim response.
func (p *plan) interim(message []byte) error {
	if p.trace == nil {
		return nil
	}
	var in warmpoolv1.InterimResponse
	if err := proto.Unmarshal(message, &in); err != nil {
		return err
	}
	if in.GetStatus() == http.StatusContinue && p.trace.Got100Continue != nil {
		p.trace.Got100Continue()
	}
	if p.trace.Got1xxResponse == nil {
		return nil
	}
	return p.trace.Got1xxResponse(int(in.GetStatus()), textproto.MIMEHeader(fieldsOf(in.GetHeaders())))
}

// refusedInterim is the failure of a request whose trace ended it.
func refusedInterim(err error) *Failure {
	return &Failure{
		Reason: warmpoolv1.Reason_REASON_CANCELLED, Delivery: warmpoolv1.Delivery_DELIVERY_RESPONDED,
		Message: "the caller's trace refused an interim response: " + err.Error(), causes: []error{err},
	}
}

// streamMessage is a StreamResponse as it is received. Its parts lie in buffer.
type streamMessage struct {
	buffer                   mem.Buffer
	interim, head, data, end []byte // one is not nil
}

// take implements inbound.
func (m *streamMessage) take(data mem.BufferSlice) error {
	*m = streamMessage{buffer: data.MaterializeToBuffer(&messages)}
	message := m.buffer.ReadOnlyData()
	for at := 0; at < len(message); {
		p, next, err := nextPart(message, at)
		if err != nil {
			m.free()
			return err
		}
		at = next
		if p.typ != protowire.BytesType {
			continue
		}
		part := slices.Clip(p.bytes)
		switch p.number { // of a oneof the last one counts
		case streamResponseInterim:
			m.interim, m.head, m.data, m.end = part, nil, nil, nil
		case streamResponseHead:
			m.interim, m.head, m.data, m.end = nil, part, nil, nil
		case streamResponseData:
			m.interim, m.head, m.data, m.end = nil, nil, part, nil
		case streamResponseEnd:
			m.interim, m.head, m.data, m.end = nil, nil, nil, part
		}
	}
	return nil
}

// free gives the message's memory back.
func (m *streamMessage) free() {
	if m.buffer != nil {
		m.buffer.Free()
	}
	*m = streamMessage{}
}
