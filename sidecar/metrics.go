package sidecar

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
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

	requestDuration    metric.Float64Histogram
	connectionDuration metric.Float64Histogram
	createTime         metric.Float64Histogram
	waitTime           metric.Float64Histogram
	lookupDuration     metric.Float64Histogram

	// attempts holds, for each attemptKind that was seen, the options of its record, so
	// that recording allocates nothing. The map is replaced, not changed.
	attempts atomic.Pointer[map[attemptKind][]metric.RecordOption]
	upstream sync.Map // name -> []metric.RecordOption
	mu       sync.Mutex

	described []described
}

// described is what the documentation says of an instrument, for the test that
// holds it to the instruments that there are.
type described struct{ kind, name, unit, by, description string }

// attemptKind is what tells the records of attempts apart.
type attemptKind struct {
	upstream, host, port string
	method               uint8 // in methods
	status               uint16
	reason               pool.Reason
}

// maxKinds bounds what is kept of outcomes; the SDK bounds what it counts
// apart at 2,000 for each instrument.
const maxKinds = 2000

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

// Boundaries of the histograms, in seconds. A warm connection on the same
// machine answers within a fraction of a millisecond.
var (
	shortTimes = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	longTimes  = []float64{0.01, 0.1, 1, 5, 10, 30, 60, 300, 600, 900, 3600}
)

func newMetrics(meter metric.Meter) (*metrics, error) {
	m := &metrics{meter: meter}
	m.attempts.Store(new(map[attemptKind][]metric.RecordOption))
	var errs []error
	histogram := func(name, by, description string, bounds []float64) metric.Float64Histogram {
		m.described = append(m.described, described{"histogram", name, "s", by, description})
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
		errs = append(errs, err)
		return h
	}
	m.requestDuration = histogram("http.client.request.duration", "upstream, method, status, error type, server", "Duration of attempts: one HTTP request and its response on one connection.", shortTimes)
	m.connectionDuration = histogram("http.client.connection.duration", "upstream, close reason", "How long connections that ended had been established.", longTimes)
	m.createTime = histogram("warmpool.connection.create_time", "upstream", "Time to establish a connection, TCP and TLS.", shortTimes)
	m.waitTime = histogram("warmpool.connection.wait_time", "upstream", "Time that attempts waited for a connection; those that found one at once are not counted.", shortTimes)
	m.lookupDuration = histogram("dns.lookup.duration", "upstream, error type", "Duration of name resolutions.", shortTimes)
	return m, errors.Join(errs...)
}

// leastWait is the time from which an attempt is said to have waited for its
// connection. Taking one that is idle takes less.
const leastWait = 100 * time.Microsecond

func (m *metrics) observer() pool.Observer {
	ctx := context.Background()
	return pool.Observer{
		AttemptEnded: func(a pool.AttemptEnd) {
			m.requestDuration.Record(ctx, a.Duration.Seconds(), m.kind(&a)...)
			if a.Waited >= leastWait && a.Number == 1 {
				m.waitTime.Record(ctx, a.Waited.Seconds(), m.of(a.Upstream)...)
			}
		},
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

// kind is the options of an attempt's record.
func (m *metrics) kind(a *pool.AttemptEnd) []metric.RecordOption {
	key := attemptKind{upstream: a.Upstream, host: a.Host, port: a.Port, method: methodOf(a.Method), status: uint16(a.Status)}
	if config.IsOrigin(a.Upstream) {
		key.upstream, key.host, key.port = dynamicOrigin, "", ""
	}
	if a.Failure != nil {
		key.reason = a.Failure.Reason
	}
	if known := (*m.attempts.Load())[key]; known != nil {
		return known
	}
	return m.learn(key)
}

func (m *metrics) learn(key attemptKind) []metric.RecordOption {
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
	options := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := *m.attempts.Load()
	if len(known) >= maxKinds {
		return options
	}
	grown := make(map[attemptKind][]metric.RecordOption, len(known)+1)
	maps.Copy(grown, known)
	// The key's texts are the pool's own, not a message's: they may be kept.
	grown[key] = options
	m.attempts.Store(&grown)
	return options
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
	m.upstream.Delete(upstream)
	m.mu.Lock()
	defer m.mu.Unlock()
	left := maps.Clone(*m.attempts.Load())
	maps.DeleteFunc(left, func(key attemptKind, _ []metric.RecordOption) bool { return key.upstream == upstream })
	m.attempts.Store(&left)
}

// serverOf is an endpoint as attributes.
func serverOf(e netip.AddrPort) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("network.peer.address", e.Addr().String()),
		attribute.Int("network.peer.port", int(e.Port())),
	}
}
