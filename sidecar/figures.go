package sidecar

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// figures are the metrics that are read off the pool when somebody collects
// them, so that they cost nothing in between.
type figures struct {
	errs        []error
	meter       metric.Meter
	described   []described
	instruments []metric.Observable
	readers     []func(o metric.Observer, s *pool.Stats, of metric.MeasurementOption)
}

// observeFigures has the pool's state and counters collected with the metrics.
// sessions is how many are open, files what became of the configuration files that
// were read, dynamic the figures of all dynamic origins together, if there have been
// any.
func (m *metrics) observeFigures(
	p *pool.Pool, sessions func() int, files func() filesRead, dynamic func() (pool.Stats, bool),
) error {
	f := &figures{meter: m.meter}
	f.states()
	f.counters()
	f.ports()
	open := f.level("warmpool.sessions", "{session}", "", "Sessions open now.")
	reloads := f.count("warmpool.config.reloads", "{file}", "result", "Configuration files read again, by what became of them.")
	refused := f.level("warmpool.config.refused", "{file}", "", "1 while the file that was read last is refused, and what held before holds on; else 0.")
	m.described = append(m.described, f.described...)
	_, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(open, int64(sessions()))
		read := files()
		o.ObserveInt64(reloads, int64(read.applied), metric.WithAttributes(attribute.String("result", "applied")))
		o.ObserveInt64(reloads, int64(read.refused), metric.WithAttributes(attribute.String("result", "refused")))
		o.ObserveInt64(refused, int64(read.refusedNow))
		tell := func(name string, s *pool.Stats) {
			of := metric.WithAttributes(attrUpstream.String(name))
			for _, read := range f.readers {
				read(o, s, of)
			}
		}
		for _, name := range p.Names() {
			u, err := p.Upstream(name)
			if err != nil || config.IsOrigin(name) {
				continue // removed since, or told of below
			}
			s := u.Stats()
			tell(name, &s)
		}
		if sum, ok := dynamic(); ok {
			tell(dynamicOrigin, &sum)
		}
		return nil
	}, f.instruments...)
	return errors.Join(append(f.errs, err)...)
}

// level is a number that goes up and down.
func (f *figures) level(name, unit, by, description string) metric.Int64ObservableUpDownCounter {
	f.described = append(f.described, described{"gauge", name, unit, by, description})
	i, err := f.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	f.errs, f.instruments = append(f.errs, err), append(f.instruments, i)
	return i
}

// count is a number that only grows.
func (f *figures) count(name, unit, by, description string) metric.Int64ObservableCounter {
	f.described = append(f.described, described{"counter", name, unit, by, description})
	i, err := f.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	f.errs, f.instruments = append(f.errs, err), append(f.instruments, i)
	return i
}

// seconds is a time that only grows.
func (f *figures) seconds(name, by, description string) metric.Float64ObservableCounter {
	f.described = append(f.described, described{"counter", name, "s", by, description})
	i, err := f.meter.Float64ObservableCounter(name, metric.WithUnit("s"), metric.WithDescription(description))
	f.errs, f.instruments = append(f.errs, err), append(f.instruments, i)
	return i
}

func (f *figures) each(read func(o metric.Observer, s *pool.Stats, of metric.MeasurementOption)) {
	f.readers = append(f.readers, read)
}

// states are the upstream's connections and queue as they are.
func (f *figures) states() {
	open := f.level("http.client.open_connections", "{connection}", "upstream, state", "Connections by state.")
	active := f.level("http.client.active_requests", "{request}", "upstream", "Requests that are on a connection.")
	pending := f.level("warmpool.connection.pending_requests", "{request}", "upstream", "Requests that wait for a connection.")
	most := f.level("warmpool.connection.max", "{connection}", "upstream", "Connections at most: connections.max.")
	warm := f.level("warmpool.connection.warm", "{connection}", "upstream", "Warm floor: connections kept with no traffic.")
	endpoints := f.level("warmpool.endpoints", "{endpoint}", "upstream", "Addresses in use.")
	f.each(func(o metric.Observer, s *pool.Stats, of metric.MeasurementOption) {
		draining := s.Total - s.Idle - s.Active - s.Dialing
		for state, n := range map[string]int{"idle": s.Idle, "active": s.Active, "dialing": s.Dialing, "draining": draining} {
			o.ObserveInt64(open, int64(n), of, metric.WithAttributes(attribute.String("http.connection.state", state)))
		}
		o.ObserveInt64(active, int64(s.InFlight), of)
		o.ObserveInt64(pending, int64(s.Waiting), of)
		o.ObserveInt64(most, int64(s.Max), of)
		o.ObserveInt64(warm, int64(s.Warm), of)
		o.ObserveInt64(endpoints, int64(s.Endpoints), of)
	})
}

// counters are what the upstream has done so far.
func (f *figures) counters() {
	type counter struct {
		name, unit, description string
		of                      func(*pool.Counters) uint64
	}
	for _, c := range []counter{
		{"warmpool.connection.opened", "{connection}", "Connections established.", func(c *pool.Counters) uint64 { return c.Opened }},
		{"warmpool.connection.reused", "{attempt}", "Attempts on a connection that stood before they asked for one.", func(c *pool.Counters) uint64 { return c.Stood }},
		{"warmpool.connection.stale", "{attempt}", "Attempts that met a connection which the upstream had closed or was closing.", func(c *pool.Counters) uint64 { return c.Stale }},
		{"warmpool.connection.timeouts", "{request}", "Requests that no connection came free for within queue.max_wait.", func(c *pool.Counters) uint64 { return c.Failures[pool.ReasonWaitTimeout] }},
		{"warmpool.connection.waits", "{request}", "Requests that had to wait for a connection, and got one.", func(c *pool.Counters) uint64 { return c.Waits }},
		{"warmpool.responses", "{request}", "Requests that ended with a response, whatever its status.", func(c *pool.Counters) uint64 { return c.Responses }},
		{"warmpool.attempts", "{attempt}", "Attempts made.", func(c *pool.Counters) uint64 { return c.Exchanges }},
		{"warmpool.retries_refused", "{attempt}", "Retries that were due and not made because the budget was spent.", func(c *pool.Counters) uint64 { return c.RetriesRefused }},
		{"warmpool.proven_not_received", "{attempt}", "Failed attempts whose request was proven not to have been received.", func(c *pool.Counters) uint64 { return c.NotReceived }},
		{"warmpool.tls.handshakes", "{handshake}", "TLS handshakes completed.", func(c *pool.Counters) uint64 { return c.TLSHandshakes }},
		{"warmpool.tls.resumed", "{handshake}", "TLS handshakes that resumed a session.", func(c *pool.Counters) uint64 { return c.TLSResumed }},
		{"warmpool.saved.handshakes", "{handshake}", "Handshakes that requests were spared by a connection that stood.", func(c *pool.Counters) uint64 { return c.HandshakesSaved }},
		{"warmpool.saved.slow_start_rounds", "{round_trip}", "Round trips of slow start that requests were spared, estimated.", func(c *pool.Counters) uint64 { return c.RoundsSaved }},
		{"warmpool.upkeep.requests", "{request}", "Requests sent only to keep windows open.", func(c *pool.Counters) uint64 { return c.UpkeepRequests }},
		{"warmpool.sent", "By", "Bytes of HTTP written, before TLS.", func(c *pool.Counters) uint64 { return uint64(c.Sent) }},
		{"warmpool.received", "By", "Bytes of HTTP read, after TLS.", func(c *pool.Counters) uint64 { return uint64(c.Received) }},
	} {
		i := f.count(c.name, c.unit, "upstream", c.description)
		f.each(func(o metric.Observer, s *pool.Stats, of metric.MeasurementOption) {
			o.ObserveInt64(i, int64(c.of(&s.Counters)), of)
		})
	}
	saved := f.seconds("warmpool.saved.handshake_time", "upstream", "Time that the handshakes took which requests were spared.")
	waited := f.seconds("warmpool.connection.waited", "upstream", "Time that requests waited for a connection, summed.")
	f.each(func(o metric.Observer, s *pool.Stats, of metric.MeasurementOption) {
		o.ObserveFloat64(saved, s.HandshakeTimeSaved.Seconds(), of)
		o.ObserveFloat64(waited, s.WaitTime.Seconds(), of)
	})
	f.reasons()
}

// reasons are the counters that are told apart by a reason. One that has not
// occurred is not told.
func (f *figures) reasons() {
	failures := f.count("warmpool.failures", "{request}", "upstream, reason", "Requests that failed, by reason.")
	retries := f.count("warmpool.retries", "{attempt}", "upstream, reason", "Attempts that repeated a failed one, by the reason of that.")
	dials := f.count("warmpool.connection.dial_failures", "{connection}", "upstream, reason", "Dials that failed, by reason.")
	closed := f.count("warmpool.connection.closed", "{connection}", "upstream, close reason", "Connections that ended, by reason.")
	f.each(func(o metric.Observer, s *pool.Stats, of metric.MeasurementOption) {
		tell := func(i metric.Int64Observable, n uint64, reason string) {
			if n > 0 {
				o.ObserveInt64(i, int64(n), of, metric.WithAttributes(attrReason.String(reason)))
			}
		}
		for _, r := range pool.Reasons() {
			tell(failures, s.Failures[r], r.String())
			tell(retries, s.RetriesAfter[r], r.String())
			tell(dials, s.DialFailures[r], r.String())
		}
		for _, r := range pool.CloseReasons() {
			tell(closed, s.Closed[r], r.String())
		}
	})
}

// ports are the local ports that connections to the upstream's endpoints take.
func (f *figures) ports() {
	used := f.level("warmpool.ports.used", "{port}", "upstream, local address, peer, state", "Local ports taken towards an endpoint, by what takes them.")
	left := f.level("warmpool.ports.left", "{port}", "upstream, local address, peer", "Local ports left towards an endpoint.")
	f.each(func(o metric.Observer, s *pool.Stats, of metric.MeasurementOption) {
		for _, p := range s.Ports {
			pair := metric.WithAttributes(append(serverOf(p.Endpoint), attribute.String("network.local.address", p.Source.String()))...)
			o.ObserveInt64(used, int64(p.Open), of, pair, metric.WithAttributes(attribute.String("state", "open")))
			o.ObserveInt64(used, int64(p.TimeWait), of, pair, metric.WithAttributes(attribute.String("state", "time_wait")))
			if p.Range > 0 {
				o.ObserveInt64(left, int64(max(0, p.Range-p.Open-p.TimeWait)), of, pair)
			}
		}
	})
}
