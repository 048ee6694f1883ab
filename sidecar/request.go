package sidecar

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// readRequest translates a message. It refuses what only the message can get
// wrong; whether HTTP can carry the request is the pool's question. The body is
// not copied.
func readRequest(r *pool.Request, in *warmpoolv1.HttpRequest) error {
	if in == nil {
		return invalid(in, "request", "is missing")
	}
	if in.GetUpstream() == "" {
		return invalid(in, "request.upstream", "is empty: name the upstream to send to")
	}
	timeout, err := readTimeout(in.GetTimeout())
	if err != nil {
		return invalid(in, "request.timeout", err.Error())
	}
	*r = pool.Request{
		Method:     in.GetMethod(),
		Path:       in.GetPath(),
		Body:       in.GetBody(),
		Timeout:    timeout,
		Idempotent: in.GetOptions().GetIdempotent(),
		Receipt:    in.GetOptions().GetReceipt(),
	}
	headers := in.GetHeaders()
	if len(headers) == 0 {
		return nil
	}
	r.Fields = make([]h1.Field, len(headers))
	for i, h := range headers {
		f := h1.Field{Name: h.GetName(), Value: h.GetValue()}
		if raw := h.GetRawValue(); len(raw) > 0 {
			if f.Value != "" {
				return invalid(in, headerPath(i), "has both value and raw_value: set raw_value alone when the value is not UTF-8, else value alone")
			}
			f.Value = string(raw)
		}
		r.Fields[i] = f
	}
	return nil
}

// readTimeout reads a request's timeout; 0: none was given.
func readTimeout(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, fmt.Errorf("is no valid duration: %w", err)
	}
	t := d.AsDuration()
	if t <= 0 {
		return 0, fmt.Errorf("is %s, must be above 0; leave it out for no timeout of its own", t)
	}
	return t, nil
}

// fieldError says what is wrong with a field of the request message.
type fieldError struct {
	field   string // the path as in the proto, such as "request.headers[3].value"
	problem string
}

func (e *fieldError) Error() string { return e.field + ": " + e.problem }

func invalid(in *warmpoolv1.HttpRequest, field, problem string) *pool.Error {
	return &pool.Error{
		Reason: pool.ReasonInvalidRequest, Delivery: pool.DeliveryNotSent, Upstream: in.GetUpstream(),
		Detail: "the request cannot be sent", Err: &fieldError{field, problem},
	}
}

func headerPath(i int) string { return setting("request.headers", i) }

// blame finds the field of the message that a failure of the request itself is
// about, or nil.
func blame(e *pool.Error, in *warmpoolv1.HttpRequest) *fieldError {
	if at, ok := errors.AsType[*fieldError](e.Err); ok {
		return at
	}
	if re, ok := errors.AsType[*h1.RequestError](e.Err); ok {
		return &fieldError{partPath(re, in.GetHeaders()), re.Error()}
	}
	switch e.Reason {
	case pool.ReasonUnknownUpstream:
		return &fieldError{"request.upstream", e.Detail}
	case pool.ReasonRequestTooLarge:
		return &fieldError{"request.body", e.Detail}
	case pool.ReasonUnsupported:
		return &fieldError{"request.headers", e.Detail}
	}
	return nil
}

// partPath is where in the message the part of a request stands that was refused.
func partPath(re *h1.RequestError, headers []*warmpoolv1.Header) string {
	first := func(is func(*warmpoolv1.Header) bool) int { return slices.IndexFunc(headers, is) }
	switch re.Part {
	case "method":
		return "request.method"
	case "target":
		return "request.path"
	case "length":
		return "request.body"
	case "header name":
		if i := first(func(h *warmpoolv1.Header) bool { return h.GetName() == re.Value }); i >= 0 {
			return headerPath(i) + ".name"
		}
	case "host":
		last := -1
		for i, h := range headers { // of two Host fields the second is the one too many
			if strings.EqualFold(h.GetName(), "Host") {
				last = i
			}
		}
		if last >= 0 {
			return valuePath(headers, last)
		}
	case "header value":
		named := func(h *warmpoolv1.Header) bool { return h.GetName() == re.Name }
		i := first(func(h *warmpoolv1.Header) bool { return named(h) && headerValue(h) == re.Value })
		if i < 0 { // the value is redacted in the error
			i = first(func(h *warmpoolv1.Header) bool {
				return named(h) && !httpguts.ValidHeaderFieldValue(headerValue(h))
			})
		}
		if i < 0 {
			i = first(func(h *warmpoolv1.Header) bool { return strings.EqualFold(h.GetName(), re.Name) })
		}
		if i >= 0 {
			return valuePath(headers, i)
		}
	}
	return "request.headers"
}

func headerValue(h *warmpoolv1.Header) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

func valuePath(headers []*warmpoolv1.Header, i int) string {
	if len(headers[i].GetRawValue()) > 0 {
		return headerPath(i) + ".raw_value"
	}
	return headerPath(i) + ".value"
}
