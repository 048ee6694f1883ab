package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// Transport is a Client as an http.RoundTripper. Many goroutines may use one.
type Transport struct{ client *Client }

// Transport is what an http.Client needs to send its requests through the sidecar.
func (c *Client) Transport() *Transport { return &Transport{c} }

// RoundTrip implements http.RoundTripper: one request, one response, no redirects,
// no cookies. The package's documentation says what differs from http.Transport.
// The error is a *Failure.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.client.Do(req.Context(), req)
}

// Do sends a request as RoundTrip does, with ctx instead of the request's context.
// ctx must not end before the response's body was read. The request's body is
// closed in any case, possibly after Do has returned. The error is a *Failure.
func (c *Client) Do(ctx context.Context, req *http.Request) (*http.Response, error) {
	p, failure := c.newPlan(ctx, req)
	if failure == nil && ctx.Err() != nil {
		failure = ended(ctx, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	}
	if failure != nil {
		closeBody(req)
		return nil, p.failed(failure)
	}
	var response *http.Response
	if c.streams(&p) {
		response, failure = c.stream(&p)
	} else {
		response, failure = c.call(&p)
	}
	if failure != nil {
		return nil, p.failed(failure)
	}
	return response, nil
}

// maxCall bounds the encoding of a request that rides a session. Together with its
// frame a call fits into the smallest message that a sidecar can be told to take.
const maxCall = 64<<10 - 64

// call sends a request over a session, unless its head is too large for one.
func (c *Client) call(p *plan) (*http.Response, *Failure) {
	message := messages.empty(int(p.length) + 512)
	defer func() { messages.Put(message) }()
	*message = appendRequest(*message, p)
	if int64(len(*message))+p.length > maxCall {
		return c.stream(p)
	}
	failure := appendBody(message, p)
	closeBody(p.req)
	if failure != nil {
		return nil, failure
	}
	reply, failure := c.calls.roundTrip(p, *message)
	if failure == nil {
		return c.held(p, reply)
	}
	if failure.Reason != warmpoolv1.Reason_REASON_BODY_TOO_LARGE {
		return nil, failure
	}
	c.large.add(p.place())
	if !p.idempotent {
		failure.Message += "; it was too large for a session: use client.WithStream where responses are"
		return nil, failure
	}
	return c.streamHeld(p, slices.Clone((*message)[len(*message)-int(p.length):]))
}

// held makes a response of a reply.
func (c *Client) held(p *plan, message []byte) (*http.Response, *Failure) {
	p.gotFirstByte()
	a, err := readAnswer(message)
	if err != nil {
		return nil, garbled(err)
	}
	p.receipt(a.receipt)
	if len(a.body) > largeBody {
		c.large.add(p.place())
	}
	r := newResponse(p, &a)
	switch {
	case bodiless(p, a.status), len(a.body) == 0 && len(a.trailer) == 0:
		r.Body = http.NoBody
	default:
		setBody(p, r, &heldBody{ctx: p.ctx, response: r, trailer: a.trailer, rest: a.body})
	}
	return r, nil
}

// garbled is the failure of a reply that makes no sense.
func garbled(err error) *Failure {
	return &Failure{
		Reason: warmpoolv1.Reason_REASON_INTERNAL, Delivery: warmpoolv1.Delivery_DELIVERY_RESPONDED,
		Message: "the sidecar's reply cannot be read: " + err.Error(), causes: []error{err},
	}
}

// appendBody reads the body of a request, which is in memory and of known length,
// behind its message.
func appendBody(message *[]byte, p *plan) *Failure {
	if p.length == 0 {
		return nil
	}
	m := protowire.AppendTag(*message, requestBody, protowire.BytesType)
	m = protowire.AppendVarint(m, uint64(p.length))
	begin := len(m)
	m = append(m, make([]byte, p.length)...)
	*message = m
	n, err := io.ReadFull(p.req.Body, m[begin:])
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return wrongLength(p.length, int64(n))
	case err != nil:
		return unreadable(err, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	}
	var more [1]byte
	switch n, err := p.req.Body.Read(more[:]); {
	case n > 0:
		return wrongLength(p.length, p.length+1)
	case err != nil && !errors.Is(err, io.EOF):
		return unreadable(err, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	}
	return nil
}

// wrongLength is the failure of a request whose body is not as long as it says;
// got is its length, or just more than that.
func wrongLength(said, got int64) *Failure {
	how := fmt.Sprintf("has only %d", got)
	if got > said {
		how = "has more"
	}
	return invalid(fmt.Sprintf("Request.ContentLength is %d, but the body %s", said, how))
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
