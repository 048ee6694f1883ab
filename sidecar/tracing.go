package sidecar

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// tracing makes a span of each attempt of the exchanges that are traced, child of
// the one that the request's own traceparent names (W3C Trace Context), and sends
// the upstream that of the attempt. Trace context travels in the message, so that
// each call of a session has its own. An exchange that is not traced goes out as
// it came.
type tracing struct {
	tracer   trace.Tracer
	sampling sampling
}

// sampling is who decides what is traced. It is decided here, before anything is
// made, because a span that is not recorded costs the SDK as much as one that is.
type sampling struct {
	byParent bool    // the caller's word counts where there is one
	ratio    float64 // of what nobody has decided
}

// newSampling reads OTEL_TRACES_SAMPLER and its argument; without it the caller
// decides, and else the ratio.
func newSampling(ratio float64) (sampling, error) {
	name := os.Getenv("OTEL_TRACES_SAMPLER")
	if name == "" {
		return sampling{byParent: true, ratio: ratio}, nil
	}
	kind, byParent := strings.CutPrefix(name, "parentbased_")
	s := sampling{byParent: byParent}
	switch kind {
	case "always_on":
		s.ratio = 1
	case "always_off":
	case "traceidratio":
		s.ratio = 1
		if text := os.Getenv("OTEL_TRACES_SAMPLER_ARG"); text != "" {
			var err error
			if s.ratio, err = strconv.ParseFloat(text, 64); err != nil || !(s.ratio >= 0 && s.ratio <= 1) {
				return s, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG is %q, must be 0 to 1", text)
			}
		}
	default:
		return s, fmt.Errorf("OTEL_TRACES_SAMPLER is %q, must be always_on, always_off or traceidratio, each also with parentbased_ before it", name)
	}
	return s, nil
}

// takes decides about an exchange with this parent, which may be none.
func (s sampling) takes(parent trace.SpanContext) bool {
	switch {
	case !parent.IsValid():
		return s.ratio > 0 && rand.Float64() < s.ratio
	case s.byParent:
		return parent.IsSampled()
	}
	id := parent.TraceID()
	return float64(binary.BigEndian.Uint64(id[8:])>>1) < s.ratio*(1<<63) // as the SDK does: all see the same
}

const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
	// parentForm is the length of a traceparent of version 00.
	parentForm = 55
)

// follow makes the exchange of r traced, if it is to be.
func (t *tracing) follow(r *pool.Request) {
	at, state := -1, ""
	for i := range r.Fields {
		switch n := r.Fields[i].Name; {
		case len(n) == len(traceparent) && strings.EqualFold(n, traceparent):
			at = i
		case len(n) == len(tracestate) && strings.EqualFold(n, tracestate):
			state = r.Fields[i].Value
		}
	}
	var parent trace.SpanContext
	if at >= 0 {
		parent = readParent(r.Fields[at].Value, state)
	}
	if !t.sampling.takes(parent) {
		return
	}
	x := &tracedExchange{tracing: t, parent: parent, field: at}
	if !parent.IsValid() { // none, or one that says nothing: the attempt's stands in its place
		x.fields(r)
	}
	r.Tracer = x
}

// readParent reads a traceparent; anything but a valid one is none.
func readParent(value, state string) trace.SpanContext {
	var none trace.SpanContext
	if len(value) < parentForm || value[2] != '-' || value[35] != '-' || value[52] != '-' ||
		value[:2] == "ff" || value[:2] == "00" && len(value) != parentForm || strings.ToLower(value) != value {
		return none
	}
	var version, flags [1]byte
	var cfg trace.SpanContextConfig
	for _, part := range []struct {
		to   []byte
		text string
	}{{version[:], value[:2]}, {cfg.TraceID[:], value[3:35]}, {cfg.SpanID[:], value[36:52]}, {flags[:], value[53:55]}} {
		if _, err := hex.Decode(part.to, []byte(part.text)); err != nil {
			return none
		}
	}
	cfg.TraceFlags, cfg.Remote = trace.TraceFlags(flags[0])&trace.FlagsSampled, true
	cfg.TraceState, _ = trace.ParseTraceState(state) // one that is broken is none (W3C Trace Context, 3.3.1)
	return trace.NewSpanContext(cfg)
}

// tracedExchange is one exchange that is traced. It implements pool.Tracer.
type tracedExchange struct {
	*tracing
	parent trace.SpanContext
	field  int // index of traceparent among the request's fields
	span   trace.Span
	number int // of the attempt that span is of
}

// fields gives r a traceparent to be filled in by each attempt.
func (x *tracedExchange) fields(r *pool.Request) {
	placeholder := h1.Field{Name: traceparent, Value: strings.Repeat("0", parentForm)}
	if x.field >= 0 && len(r.Fields[x.field].Value) == parentForm {
		r.Fields[x.field] = placeholder
		return
	}
	fields := make([]h1.Field, 0, len(r.Fields)+1)
	for i, f := range r.Fields {
		if i != x.field {
			fields = append(fields, f)
		}
	}
	x.field = len(fields)
	fields = append(fields, placeholder)
	r.Fields = fields
}

// AttemptBegins implements pool.Tracer.
func (x *tracedExchange) AttemptBegins(number int, fields []h1.Field) {
	if x.number != number {
		x.number = number
		ctx := trace.ContextWithSpanContext(context.Background(), x.parent)
		_, x.span = x.tracer.Start(ctx, "HTTP", trace.WithSpanKind(trace.SpanKindClient)) //nolint:spancheck // AttemptEnded ends it
	}
	c := x.span.SpanContext()
	id, span := c.TraceID(), c.SpanID()
	var value [parentForm]byte
	copy(value[:], "00-")
	hex.Encode(value[3:35], id[:])
	value[35] = '-'
	hex.Encode(value[36:52], span[:])
	copy(value[52:], "-01")
	fields[x.field].Value = string(value[:])
}

// AttemptEnded implements pool.Tracer.
func (x *tracedExchange) AttemptEnded(a pool.AttemptEnd) {
	span := x.span
	method := methods[methodOf(a.Method)]
	name := method
	if name == methods[0] {
		name = "HTTP"
	}
	span.SetName(name)
	span.SetAttributes(
		attrUpstream.String(label(a.Upstream)),
		attribute.String("http.request.method", method),
		attribute.String("server.address", a.Host),
	)
	if port, err := strconv.Atoi(a.Port); err == nil {
		span.SetAttributes(attribute.Int("server.port", port))
	}
	span.SetAttributes(serverOf(a.Endpoint)...)
	if a.Number > 1 {
		span.SetAttributes(attribute.Int("http.request.resend_count", a.Number-1))
	}
	if a.Status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", a.Status))
	}
	switch {
	case a.Failure == nil && a.Status < 400:
	case a.Failure == nil:
		span.SetAttributes(attribute.String("error.type", strconv.Itoa(a.Status)))
		span.SetStatus(codes.Error, "")
	case a.Failure.Reason == pool.ReasonCancelled: // the caller's wish, not an error
		span.SetAttributes(attribute.String("error.type", a.Failure.Reason.String()))
	default:
		span.SetAttributes(
			attribute.String("error.type", a.Failure.Reason.String()),
			attribute.String("warmpool.delivery", a.Failure.Delivery.String()),
		)
		span.SetStatus(codes.Error, clip(a.Failure.Error(), maxMessage))
	}
	span.End()
	x.span = nil
}
