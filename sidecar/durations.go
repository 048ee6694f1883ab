package sidecar

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// durations is a histogram of what is timed for every request. It tells what the
// SDK's would, which took a tenth of a microsecond and more to record: there each
// record looks its attributes up again. Here whoever records holds the series, and a
// record is three additions. See teller for how it is told.
type durations struct {
	name, description string
	// sdk counts instead, when what is asked for is something that only the SDK
	// does; nil: not so.
	sdk     metric.Float64Histogram
	readers int
	// brief: the only reader wants what is new. Then series end when they are told, as
	// the SDK's do: the limit is for what occurs between two readings.
	brief bool

	mu struct {
		sync.Mutex
		series map[attribute.Distinct]*series
		since  time.Time   // from when on series that are new count
		told   []time.Time // when each reader was
	}
}

// maxSeries is how many series an instrument has: the SDK's limit. The last one
// stands for all that find no place.
const maxSeries = 2000

// overflow are the attributes of the series for those that find no place
// (OpenTelemetry, metrics SDK, cardinality limits).
var overflow = attribute.NewSet(attribute.Bool("otel.metric.overflow", true))

// newDurations makes a histogram for these tellers. Nothing is to be recorded before.
func newDurations(name, description string, tellers ...*teller) *durations {
	d := &durations{name: name, description: description, readers: len(tellers)}
	d.brief = len(tellers) == 1 && tellers[0].temporality == metricdata.DeltaTemporality
	d.mu.series = make(map[attribute.Distinct]*series)
	d.mu.since = time.Now()
	for i, t := range tellers {
		d.mu.told = append(d.mu.told, d.mu.since)
		t.of = append(t.of, told{d, i})
	}
	return d
}

// of finds the series with these attributes, or makes it.
func (d *durations) of(attributes attribute.Set) *series {
	if d.sdk != nil {
		return &series{durations: d, attributes: attributes, options: []metric.RecordOption{metric.WithAttributeSet(attributes)}}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.mu.series[attributes.Equivalent()]; s != nil {
		s.stay()
		return s
	}
	if d.full() {
		attributes = overflow
		if s := d.mu.series[attributes.Equivalent()]; s != nil {
			return s
		}
	}
	s := newSeries(d, attributes)
	d.mu.series[attributes.Equivalent()] = s
	return s
}

// full reports that there is no place for one more series. Those that are leaving make
// place, told or not: there may be a reader who never asks.
func (d *durations) full() bool {
	full := func() bool {
		n := len(d.mu.series)
		if d.mu.series[overflow.Equivalent()] != nil {
			n--
		}
		return n >= maxSeries-1
	}
	if full() {
		for key, s := range d.mu.series {
			if s.leaving {
				s.end()
				d.drop(key)
			}
		}
	}
	return full()
}

func (d *durations) drop(key attribute.Distinct) {
	delete(d.mu.series, key)
	d.mu.since = time.Now() // one with the same attributes begins anew
}

// forget has the series of an upstream that is gone leave: each reader is told of them
// once more. The SDK keeps them for good, until one day new upstreams find no place.
func (d *durations) forget(upstream string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.mu.series {
		if of, ok := s.attributes.Value(attrUpstream); ok && of.AsString() == upstream {
			s.leaving = true
		}
	}
}

// tell is what a reader is told now: nothing of series that have nothing to tell.
func (d *durations) tell(reader int, temporality metricdata.Temporality) []metricdata.HistogramDataPoint[float64] {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, bounds := time.Now(), seconds(shortTimes[:])
	var points []metricdata.HistogramDataPoint[float64]
	for key, s := range d.mu.series {
		a := &s.accounts[reader]
		a.last = s.leaving
		if d.brief || s.leaving && s.toldToAll() {
			s.end()
			d.drop(key)
		} else {
			s.collect()
		}
		if a.count() == 0 {
			continue
		}
		start := s.since
		if temporality == metricdata.DeltaTemporality {
			start = d.mu.told[reader]
		}
		points = append(points, a.point(s.attributes, bounds, start, now))
		if temporality == metricdata.DeltaTemporality {
			a.tally = newTally()
		}
	}
	d.mu.told[reader] = now
	return points
}

// series is what was timed with certain attributes.
//
// It has two tallies. One takes what is recorded, the other is at rest, for a reader to
// collect; a collection exchanges them and waits until the records that had begun
// in the old one are over. So each record is told once, whole.
type series struct {
	durations  *durations
	attributes attribute.Set
	options    []metric.RecordOption // for the SDK, if it counts
	since      time.Time

	// turns is how many records have begun, and in its highest bits which tally they
	// are for and whether the series is over.
	turns   atomic.Uint64
	tallies [2]sharedTally

	// under durations.mu
	collected uint64 // records in the accounts
	accounts  []account
	leaving   bool
}

// Bits of series.turns.
const (
	turnOther = 1 << 63
	turnOver  = 1 << 62
	turnBegun = turnOver - 1
)

// buckets are as many as there are boundaries, and one for what is above.
const buckets = len(shortTimes) + 1

// sharedTally is a tally to which any goroutine may add.
type sharedTally struct {
	sum         atomic.Int64 // ns
	least, most atomic.Int64
	buckets     [buckets]atomic.Uint64
}

// tally is how often something took how long.
type tally struct {
	seconds, nanoseconds int64 // the sum; seconds alone last long enough
	least, most          time.Duration
	buckets              [buckets]uint64
}

// account is what one reader is to be told.
type account struct {
	tally
	last bool // it has been told for the last time
}

func newTally() tally { return tally{least: math.MaxInt64, most: math.MinInt64} }

func newSeries(d *durations, attributes attribute.Set) *series {
	s := &series{durations: d, attributes: attributes, since: d.mu.since, accounts: make([]account, d.readers)}
	for i := range s.accounts {
		s.accounts[i].tally = newTally()
	}
	for i := range s.tallies {
		s.tallies[i].clear()
	}
	return s
}

// sumFull is where a tally is collected though nobody asks: its sum in nanoseconds
// holds 292 years, which thousands of requests that wait all the while have together
// within weeks.
const sumFull = math.MaxInt64 / 2

// record reports false when the series is over: another one is to be taken. It takes
// no lock and allocates nothing.
func (s *series) record(took time.Duration) bool {
	if s.options != nil {
		s.durations.sdk.Record(context.Background(), took.Seconds(), s.options...)
		return true
	}
	bucket := 0
	for bucket < len(shortTimes) && took > shortTimes[bucket] {
		bucket++
	}
	turn := s.turns.Add(1)
	if turn&turnOver != 0 {
		return false
	}
	t := &s.tallies[turn/turnOther]
	sum := t.sum.Add(int64(took))
	for old := t.least.Load(); int64(took) < old && !t.least.CompareAndSwap(old, int64(took)); old = t.least.Load() {
	}
	for old := t.most.Load(); int64(took) > old && !t.most.CompareAndSwap(old, int64(took)); old = t.most.Load() {
	}
	t.buckets[bucket].Add(1) // the last thing: with it the record is over
	if sum > sumFull {
		s.relieve()
	}
	return true
}

func (s *series) relieve() {
	s.durations.mu.Lock()
	defer s.durations.mu.Unlock()
	s.collect()
}

// overflows reports that the series stands for what found no place.
func (s *series) overflows() bool {
	return s != nil && s.attributes.Equivalent() == overflow.Equivalent()
}

// over reports that nothing can be recorded any more.
func (s *series) over() bool { return s.turns.Load()&turnOver != 0 }

// idle reports that nothing was recorded since the last collection.
func (s *series) idle() bool { return s.turns.Load()&turnBegun == s.collected }

// stay calls back a series that is leaving.
func (s *series) stay() {
	s.leaving = false
	for i := range s.accounts {
		s.accounts[i].last = false
	}
}

func (s *series) toldToAll() bool {
	for i := range s.accounts {
		if !s.accounts[i].last {
			return false
		}
	}
	return true
}

// collect brings what was recorded into the accounts.
func (s *series) collect() {
	if s.idle() || s.over() {
		return
	}
	turn := s.turns.Add(turnOther)
	s.take(&s.tallies[1-turn/turnOther], turn&turnBegun)
}

// end collects for the last time.
func (s *series) end() {
	turn := s.turns.Or(turnOver)
	if turn&turnOver == 0 {
		s.take(&s.tallies[turn/turnOther], turn&turnBegun)
	}
}

// take empties a tally that is at rest but for records that have begun, which with
// those before are so many.
func (s *series) take(t *sharedTally, begun uint64) {
	for t.count() != begun-s.collected {
		runtime.Gosched()
	}
	s.collected = begun
	for i := range s.accounts {
		s.accounts[i].add(t)
	}
	t.clear()
}

func (t *sharedTally) count() (n uint64) {
	for i := range t.buckets {
		n += t.buckets[i].Load()
	}
	return n
}

func (t *sharedTally) clear() {
	t.sum.Store(0)
	t.least.Store(math.MaxInt64)
	t.most.Store(math.MinInt64)
	for i := range t.buckets {
		t.buckets[i].Store(0)
	}
}

func (t *tally) add(more *sharedTally) {
	sum := more.sum.Load() + t.nanoseconds
	t.seconds += sum / int64(time.Second)
	t.nanoseconds = sum % int64(time.Second)
	t.least = min(t.least, time.Duration(more.least.Load()))
	t.most = max(t.most, time.Duration(more.most.Load()))
	for i := range t.buckets {
		t.buckets[i] += more.buckets[i].Load()
	}
}

func (t *tally) count() (n uint64) {
	for _, b := range t.buckets {
		n += b
	}
	return n
}

// point is a tally, which is not empty, as OpenTelemetry has it.
func (t *tally) point(attributes attribute.Set, bounds []float64, since, now time.Time) metricdata.HistogramDataPoint[float64] {
	buckets := t.buckets
	return metricdata.HistogramDataPoint[float64]{
		Attributes: attributes, StartTime: since, Time: now, Count: t.count(), Bounds: bounds, BucketCounts: buckets[:],
		Min: metricdata.NewExtrema(t.least.Seconds()), Max: metricdata.NewExtrema(t.most.Seconds()),
		Sum: float64(t.seconds) + float64(t.nanoseconds)/float64(time.Second),
	}
}

// seconds are times as OpenTelemetry has them.
func seconds(times []time.Duration) []float64 {
	s := make([]float64, len(times))
	for i, t := range times {
		s[i] = t.Seconds()
	}
	return s
}

// teller tells a reader of the SDK what durations have counted. It implements
// sdkmetric.Producer: what it tells stands beside what the SDK's own instruments
// do, in the same scope.
type teller struct {
	temporality metricdata.Temporality // of histograms, as the reader wants them
	of          []told
}

// told is durations and which of their readers the teller's is.
type told struct {
	*durations
	reader int
}

// Produce implements sdkmetric.Producer.
func (t *teller) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	var all []metricdata.Metrics
	for _, d := range t.of {
		if points := d.tell(d.reader, t.temporality); len(points) > 0 {
			all = append(all, metricdata.Metrics{
				Name: d.name, Description: d.description, Unit: "s",
				Data: metricdata.Histogram[float64]{Temporality: t.temporality, DataPoints: points},
			})
		}
	}
	if all == nil {
		return nil, nil
	}
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: scope}, Metrics: all}}, nil
}

var _ sdkmetric.Producer = (*teller)(nil)
