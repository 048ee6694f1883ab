package sidecar

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// metrics are the instruments that events are recorded on. Names and attributes
// are OpenTelemetry's for HTTP clients; what HTTP has no name for follows
// db.client.connection.* as warmpool.connection.*. No attribute ever holds a
// caller's text: a method that is not a standard one is _OTHER.
type metrics struct {
	meter metric.Meter

	requestDuration    *durations
	waitTime           *durations
	connectionDuration metric.Float64Histogram
	createTime         metric.Float64Histogram
	lookupDuration     metric.Float64Histogram

	kinds    *kinds
	upstream sync.Map // name -> []metric.RecordOption

	described []described
}

// described is what the documentation says of an instrument, for the test that
// holds it to the instruments that there are.
type described struct{ kind, name, unit, by, description string }

// Names of attributes.
const (
	attrUpstream = attribute.Key("warmpool.upstream")
	attrReason   = attribute.Key("warmpool.reason")
)

// dynamicOrigin stands for every origin that callers name, of which there may be
// any number over time: in metrics they are one. No upstream has this name, as names
// begin with a letter or digit.
const dynamicOrigin = "_dynamic"

// label is an upstream as metrics tell of it.
func label(upstream string) string {
	if config.IsOrigin(upstream) {
		return dynamicOrigin
	}
	return upstream
}

// methods are those that have a name of their own in attributes, the first one
// standing for all others.
var methods = [...]string{"_OTHER", "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE"}

func methodOf(method string) uint8 {
	for i := range methods {
		if methods[i] == method {
			return uint8(i)
		}
	}
	return 0
}

// Boundaries of the histograms, in seconds those that the SDK counts. A warm
// connection on the same machine answers within a fraction of a millisecond.
var (
	shortTimes = [...]time.Duration{
		500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
		50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
		5 * time.Second, 10 * time.Second,
	}
	longTimes = []float64{0.01, 0.1, 1, 5, 10, 30, 60, 300, 600, 900, 3600}
)

// newMetrics makes the instruments. What is timed for every request is told to readers
// by tellers; without them, by the SDK like the rest.
func newMetrics(meter metric.Meter, tellers ...*teller) (*metrics, error) {
	m := &metrics{meter: meter}
	var errs []error
	histogram := func(name, by, description string, bounds []float64) metric.Float64Histogram {
		m.described = append(m.described, described{"histogram", name, "s", by, description})
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
		errs = append(errs, err)
		return h
	}
	timed := func(name, by, description string) *durations {
		if len(tellers) == 0 {
			return &durations{sdk: histogram(name, by, description, seconds(shortTimes[:]))}
		}
		m.described = append(m.described, described{"histogram", name, "s", by, description})
		return newDurations(name, description, tellers...)
	}
	m.requestDuration = timed("http.client.request.duration", "upstream, method, status, error type, server", "Duration of attempts: one HTTP request and its response on one connection.")
	m.connectionDuration = histogram("http.client.connection.duration", "upstream, close reason", "How long connections that ended had been established.", longTimes)
	m.createTime = histogram("warmpool.connection.create_time", "upstream", "Time to establish a connection, TCP and TLS.", seconds(shortTimes[:]))
	m.waitTime = timed("warmpool.connection.wait_time", "upstream", "Time that attempts waited for a connection; those that found one at once are not counted.")
	m.lookupDuration = histogram("dns.lookup.duration", "upstream, error type", "Duration of name resolutions.", seconds(shortTimes[:]))
	m.kinds = newKinds()
	return m, errors.Join(errs...)
}

// leastWait is the time from which an attempt is said to have waited for its
// connection. Taking one that is idle takes less.
const leastWait = 100 * time.Microsecond

func (m *metrics) observer() pool.Observer {
	ctx := context.Background()
	return pool.Observer{
		AttemptEnded: func(a pool.AttemptEnd) { m.attemptEnded(&a) },
		ConnectionOpened: func(c pool.ConnectionInfo) {
			m.createTime.Record(ctx, (c.Connect + c.Handshake).Seconds(), m.of(c.Upstream)...)
		},
		ConnectionClosed: func(c pool.ConnectionInfo, why pool.CloseReason) {
			m.connectionDuration.Record(ctx, c.Age.Seconds(), metric.WithAttributes(attrUpstream.String(label(c.Upstream)), attrReason.String(why.String())))
		},
		Resolved: func(upstream string, took time.Duration, err error) {
			attributes := []attribute.KeyValue{attrUpstream.String(label(upstream))}
			if err != nil {
				attributes = append(attributes, attribute.String("error.type", pool.ReasonDNSFailed.String()))
			}
			m.lookupDuration.Record(ctx, took.Seconds(), metric.WithAttributes(attributes...))
		},
	}
}

func (m *metrics) attemptEnded(a *pool.AttemptEnd) {
	key := keyOf(a)
	kind := m.kinds.find(&key)
	took := kind.took.Load()
	for took == nil || !took.record(a.Duration) {
		took = m.requestDuration.of(key.attributes())
		kind.took.Store(took)
	}
	if a.Waited < leastWait || a.Number != 1 {
		return
	}
	waited := kind.waited.Load()
	for waited == nil || !waited.record(a.Waited) {
		waited = m.waitTime.of(attribute.NewSet(attrUpstream.String(key.upstream)))
		kind.waited.Store(waited)
	}
}

// keyOf is which kind an attempt is of.
func keyOf(a *pool.AttemptEnd) kindKey {
	key := kindKey{upstream: a.Upstream, host: a.Host, port: a.Port, method: methodOf(a.Method), status: uint16(a.Status)}
	if config.IsOrigin(a.Upstream) {
		key.upstream, key.host, key.port = dynamicOrigin, "", ""
	}
	if a.Failure != nil {
		key.reason = a.Failure.Reason
	}
	return key
}

// attributes are those of http.client.request.duration.
func (key *kindKey) attributes() attribute.Set {
	attributes := []attribute.KeyValue{
		attrUpstream.String(key.upstream),
		attribute.String("http.request.method", methods[key.method]),
	}
	if key.host != "" {
		attributes = append(attributes, attribute.String("server.address", key.host))
	}
	if port, err := strconv.Atoi(key.port); err == nil {
		attributes = append(attributes, attribute.Int("server.port", port))
	}
	if key.status != 0 {
		attributes = append(attributes, attribute.Int("http.response.status_code", int(key.status)))
	}
	if kind := errorType(key.reason, int(key.status)); kind != "" {
		attributes = append(attributes, attribute.String("error.type", kind))
	}
	return attribute.NewSet(attributes...)
}

// errorType is what OpenTelemetry calls error.type: the reason of a failed
// attempt, or else a status that means an error to a client.
func errorType(reason pool.Reason, status int) string {
	switch {
	case reason != pool.ReasonNone:
		return reason.String()
	case status >= 400:
		return strconv.Itoa(status)
	}
	return ""
}

// of is the options of a record that is told apart by the upstream only.
func (m *metrics) of(upstream string) []metric.RecordOption {
	upstream = label(upstream)
	if known, ok := m.upstream.Load(upstream); ok {
		return known.([]metric.RecordOption) //nolint:forcetypeassert // the map holds nothing else
	}
	options := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrUpstream.String(upstream)))}
	m.upstream.Store(upstream, options)
	return options
}

// forget drops what is kept of an upstream that is gone.
func (m *metrics) forget(upstream string) {
	if config.IsOrigin(upstream) {
		return // as dynamicOrigin it is told of with others
	}
	m.upstream.Delete(upstream)
	m.requestDuration.forget(upstream)
	m.waitTime.forget(upstream)
	m.kinds.forget(upstream)
}

// serverOf is an endpoint as attributes.
func serverOf(e netip.AddrPort) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("network.peer.address", e.Addr().String()),
		attribute.Int("network.peer.port", int(e.Port())),
	}
}
