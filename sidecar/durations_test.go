package sidecar

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/warmpool-dev/warmpool/pool"
)

// watched is metrics with the readers that ask for them.
type watched struct {
	*metrics
	told    func(pool.AttemptEnd)
	readers []*sdkmetric.ManualReader
}

// watch makes metrics with a reader of each temporality; bySDK: with the SDK's own
// histograms, whatever is asked for.
func watch(t testing.TB, bySDK bool, temporalities ...metricdata.Temporality) watched {
	t.Helper()
	var w watched
	var options []sdkmetric.Option
	var tellers []*teller
	for _, temporality := range temporalities {
		told := &teller{temporality: temporality}
		tellers = append(tellers, told)
		reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(told),
			sdkmetric.WithTemporalitySelector(func(sdkmetric.InstrumentKind) metricdata.Temporality { return temporality }))
		w.readers = append(w.readers, reader)
		options = append(options, sdkmetric.WithReader(reader))
	}
	if bySDK {
		tellers = nil
	}
	var err error
	if w.metrics, err = newMetrics(sdkmetric.NewMeterProvider(options...).Meter(scope), tellers...); err != nil {
		t.Fatal(err)
	}
	w.told = w.observer().AttemptEnded
	return w
}

// reading is what a reader is told of one histogram.
type reading struct {
	metricdata.Metrics
	temporality metricdata.Temporality
	points      map[attribute.Distinct]metricdata.HistogramDataPoint[float64]
}

// of finds the point of an upstream's GETs with status 200.
func (r *reading) of(upstream string) metricdata.HistogramDataPoint[float64] {
	key := keyOf(&pool.AttemptEnd{Upstream: upstream, Method: http.MethodGet, Status: http.StatusOK})
	attributes := key.attributes()
	return r.points[attributes.Equivalent()]
}

// read asks a reader. Each histogram is told once, each of its series once.
func (w watched) read(t testing.TB, reader int) map[string]*reading {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := w.readers[reader].Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	readings := make(map[string]*reading)
	for _, of := range all.ScopeMetrics {
		if of.Scope.Name != scope || of.Scope.Version != "" || of.Scope.SchemaURL != "" || of.Scope.Attributes.Len() > 0 {
			t.Errorf("the scope is %v", of.Scope)
		}
		for _, m := range of.Metrics {
			h, ok := m.Data.(metricdata.Histogram[float64])
			if !ok || readings[m.Name] != nil {
				t.Fatalf("%s is %T, told before: %v", m.Name, m.Data, readings[m.Name] != nil)
			}
			r := &reading{Metrics: m, temporality: h.Temporality, points: make(map[attribute.Distinct]metricdata.HistogramDataPoint[float64])}
			for _, p := range h.DataPoints {
				if _, twice := r.points[p.Attributes.Equivalent()]; twice {
					t.Errorf("%s is told twice of %s", m.Name, p.Attributes.Encoded(attribute.DefaultEncoder()))
				}
				r.points[p.Attributes.Equivalent()] = p
			}
			readings[m.Name] = r
		}
	}
	return readings
}

const requestDuration = "http.client.request.duration"

func get200(upstream string, took time.Duration) pool.AttemptEnd {
	return pool.AttemptEnd{Upstream: upstream, Method: http.MethodGet, Status: http.StatusOK, Number: 1, Duration: took}
}

// anyAttempt is an attempt of one of so many upstreams, of any kind and duration:
// between boundaries, on them, and next to them.
func anyAttempt(r *rand.Rand, upstreams int) pool.AttemptEnd {
	a := pool.AttemptEnd{
		Upstream: fmt.Sprintf("upstream-%d", r.IntN(upstreams)), Host: "127.0.0.1", Port: []string{"80", "080", "443", ""}[r.IntN(4)],
		Method: []string{"GET", "POST", "PUT", "INVENTED"}[r.IntN(4)], Number: 1 + r.IntN(2),
		Duration: time.Duration(r.ExpFloat64() * float64(10*time.Millisecond)), Waited: time.Duration(r.IntN(int(2 * leastWait))),
	}
	if r.IntN(10) == 0 {
		a.Upstream = fmt.Sprintf("https://caller-%d.example", r.IntN(5))
	}
	switch r.IntN(4) {
	case 0:
		a.Duration = shortTimes[r.IntN(len(shortTimes))] + time.Duration(r.IntN(3)-1)
	case 1:
		a.Duration = time.Duration(r.Int64N(int64(time.Minute)))
	}
	if a.Status = []int{200, 204, 404, 503, 0}[r.IntN(5)]; a.Status == 0 {
		a.Failure = &pool.Error{Reason: pool.Reasons()[r.IntN(len(pool.Reasons()))]}
	}
	return a
}

func TestReadersAreToldWhatTheSDKWouldTell(t *testing.T) {
	for _, c := range []struct {
		about     string
		upstreams int
		attempts  int
	}{
		{"few kinds", 2, 4_000},
		{"more kinds than series", 1000, 2_300},
	} {
		for _, temporality := range []metricdata.Temporality{metricdata.CumulativeTemporality, metricdata.DeltaTemporality} {
			t.Run(fmt.Sprintf("%s/%s", c.about, temporality), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				ours, sdks := watch(t, false, temporality), watch(t, true, temporality)
				for round, attempts := range []int{0, c.attempts, 3, 0, c.attempts} {
					for range attempts {
						a := anyAttempt(r, c.upstreams)
						ours.told(a)
						sdks.told(a)
					}
					before := lastTold(ours)
					got, want := ours.read(t, 0), sdks.read(t, 0)
					if len(got) != len(want) || attempts > 3 && len(want) != 2 {
						t.Fatalf("round %d: %d histograms are told, want %d", round, len(got), len(want))
					}
					for name := range want {
						sameReading(t, got[name], want[name])
						for _, p := range got[name].points {
							if name == requestDuration && temporality == metricdata.DeltaTemporality && !p.StartTime.Equal(before) {
								t.Fatalf("round %d: %s begins at %v, the round before was told at %v", round, name, p.StartTime, before)
							}
						}
					}
				}
			})
		}
	}
}

// lastTold is when the first reader was told last.
func lastTold(w watched) time.Time {
	w.requestDuration.mu.Lock()
	defer w.requestDuration.mu.Unlock()
	return w.requestDuration.mu.told[0]
}

// sameReading compares all but times, and sums but for what adding floats loses.
func sameReading(t *testing.T, got, want *reading) {
	t.Helper()
	if got == nil || got.Name != want.Name || got.Description != want.Description || got.Unit != want.Unit ||
		got.temporality != want.temporality || len(got.points) != len(want.points) {
		t.Fatalf("told is %+v, want %+v", got, want)
	}
	for key, w := range want.points {
		g, ok := got.points[key]
		name := w.Attributes.Encoded(attribute.DefaultEncoder())
		if !ok {
			t.Fatalf("%s: not told", name)
		}
		gLeast, _ := g.Min.Value()
		wLeast, _ := w.Min.Value()
		gMost, _ := g.Max.Value()
		wMost, _ := w.Max.Value()
		if g.Count != w.Count || !slices.Equal(g.BucketCounts, w.BucketCounts) || !slices.Equal(g.Bounds, w.Bounds) ||
			gLeast != wLeast || gMost != wMost || math.Abs(g.Sum-w.Sum) > 1e-9*w.Sum || len(g.Exemplars)+len(w.Exemplars) > 0 {
			t.Errorf("%s: told is\n%+v, want\n%+v", name, g, w)
		}
		if g.StartTime.IsZero() || g.StartTime.After(g.Time) {
			t.Errorf("%s: from %v to %v", name, g.StartTime, g.Time)
		}
	}
}

func TestEachRecordIsToldOnceAndWholeWhoeverReadsMeanwhile(t *testing.T) {
	const (
		writers  = 4
		each     = 20_000
		kinds    = 5
		duration = 3 * time.Millisecond // all of them, so that a point shows its count by its sum as well
	)
	for _, temporalities := range [][]metricdata.Temporality{
		{metricdata.CumulativeTemporality, metricdata.DeltaTemporality},
		{metricdata.DeltaTemporality}, // series end whenever they are told
	} {
		t.Run(fmt.Sprint(temporalities), func(t *testing.T) {
			w := watch(t, false, temporalities...)
			upstream := func(i int) string { return fmt.Sprintf("upstream-%d", i%kinds) }
			counts := make([]map[string]uint64, len(temporalities))
			take := func(reader int) {
				told := w.read(t, reader)[requestDuration]
				for i := range kinds {
					if told == nil {
						continue
					}
					p := told.of(upstream(i))
					if whole := (time.Duration(p.Count) * duration).Seconds(); math.Abs(p.Sum-whole) > 1e-9 || p.Count > 0 && p.BucketCounts[3] != p.Count {
						t.Errorf("a point of %d records: %+v", p.Count, p)
					}
					if temporalities[reader] == metricdata.DeltaTemporality {
						counts[reader][upstream(i)] += p.Count
					} else {
						if p.Count < counts[reader][upstream(i)] {
							t.Errorf("%d records were told of before, now %d", counts[reader][upstream(i)], p.Count)
						}
						counts[reader][upstream(i)] = p.Count
					}
				}
			}
			var writing, reading sync.WaitGroup
			written := make(chan struct{})
			for n := range writers {
				writing.Go(func() {
					for i := range each {
						w.told(get200(upstream(n+i), duration))
					}
				})
			}
			for i := range temporalities {
				counts[i] = make(map[string]uint64)
				reading.Go(func() {
					for {
						select {
						case <-written:
							return
						default:
							take(i)
						}
					}
				})
			}
			writing.Wait()
			close(written)
			reading.Wait()
			for reader := range temporalities {
				take(reader)
				for i := range kinds {
					if n := counts[reader][upstream(i)]; n != writers*each/kinds {
						t.Errorf("%s: %d records of %s were told, want %d", temporalities[reader], n, upstream(i), writers*each/kinds)
					}
				}
			}
		})
	}
}

func TestAnUpstreamThatIsGoneIsToldOfOnceMore(t *testing.T) {
	w := watch(t, false, metricdata.CumulativeTemporality, metricdata.DeltaTemporality)
	count := func(reader int) uint64 {
		told := w.read(t, reader)[requestDuration]
		if told == nil {
			return 0
		}
		return told.of("web").Count
	}
	began := lastTold(w)
	w.told(get200("web", time.Millisecond))
	if n := count(0); n != 1 {
		t.Fatalf("%d are told, want 1", n)
	}
	w.told(get200("web", time.Millisecond))
	w.forget("web")
	for i, want := range []struct {
		reader int
		count  uint64
	}{{0, 2}, {0, 2}, {1, 2}, {1, 0}, {0, 0}} { // what a reader was told holds until all have been
		if n := count(want.reader); n != want.count {
			t.Errorf("reading %d: %d are told, want %d", i, n, want.count)
		}
	}

	w.told(get200("web", time.Millisecond))
	p := w.read(t, 0)[requestDuration].of("web")
	if p.Count != 1 || !p.StartTime.After(began) {
		t.Errorf("one of the same name begins at %v with %d, want 1 after %v", p.StartTime, p.Count, began)
	}

	w.forget("web")
	w.told(get200("web", time.Millisecond)) // it comes back before anybody asked
	for range 2 {
		if n := count(0); n != 2 {
			t.Errorf("one that came back: %d are told, want 2", n)
		}
	}
	if n := count(1); n != 2 {
		t.Errorf("one that came back: %d are new, want 2", n)
	}
}

func TestUpstreamsThatAreGoneMakePlaceForOthers(t *testing.T) {
	w := watch(t, false, metricdata.CumulativeTemporality, metricdata.CumulativeTemporality)
	name := func(i int) string { return fmt.Sprintf("upstream-%d", i) }
	const more = 10
	all := func(r *reading) (n uint64) {
		for _, p := range r.points {
			n += p.Count
		}
		return n
	}
	for i := range maxSeries + more {
		w.told(get200(name(i), time.Millisecond))
	}
	told := w.read(t, 0)[requestDuration]
	if n := told.points[overflow.Equivalent()].Count; len(told.points) != maxSeries || n != more+1 || all(told) != maxSeries+more {
		t.Fatalf("%d series, %d in the one for what found no place", len(told.points), n)
	}
	// The second reader never asks. It keeps nobody's place.
	for i := range more {
		w.forget(name(i))
	}
	for i := range more {
		w.told(get200(name(maxSeries+i), time.Millisecond))
	}
	told = w.read(t, 0)[requestDuration]
	if n := told.of(name(maxSeries)).Count; n != 1 {
		t.Errorf("one that found a place was told of %d times, want 1", n)
	}
	if n := told.points[overflow.Equivalent()].Count; n != more+1 {
		t.Errorf("%d found no place, want %d as before", n, more+1)
	}
}

func TestASumOfCenturiesIsTold(t *testing.T) {
	w := watch(t, false, metricdata.CumulativeTemporality)
	const long = 100 * 365 * 24 * time.Hour
	for range 20 {
		w.told(get200("web", long))
	}
	if got, want := w.read(t, 0)[requestDuration].of("web").Sum, 20*long.Seconds(); got != want {
		t.Errorf("the sum is %v, want %v", got, want)
	}
}

func TestTellingOfAnAttemptAllocatesNothing(t *testing.T) {
	w := watch(t, false, metricdata.CumulativeTemporality, metricdata.DeltaTemporality)
	for _, a := range []pool.AttemptEnd{
		{Upstream: "web", Host: "127.0.0.1", Port: "80", Method: http.MethodGet, Status: http.StatusOK, Number: 1, Duration: time.Millisecond, Waited: time.Second},
		{Upstream: "https://caller.example", Method: http.MethodPost, Failure: &pool.Error{Reason: pool.ReasonCancelled}},
	} {
		if n := testing.AllocsPerRun(1000, func() { w.told(a) }); n > 0 {
			t.Errorf("%s: %v allocations", a.Upstream, n)
		}
	}
	// As many kinds as are found by all of their key.
	many := make([]pool.AttemptEnd, 1000)
	for i := range many {
		many[i] = get200(fmt.Sprintf("upstream-%d", i), time.Millisecond)
		w.told(many[i])
	}
	if n := testing.AllocsPerRun(10, func() {
		for i := range many {
			w.told(many[i])
		}
	}); n > 0 {
		t.Errorf("many kinds: %v allocations", n)
	}
}

func BenchmarkAttemptEnded(b *testing.B) {
	for _, by := range []struct {
		name string
		sdk  bool
	}{{"warmpool", false}, {"sdk", true}} {
		for _, upstreams := range []int{1, 1000} {
			all := make([]pool.AttemptEnd, upstreams)
			for i := range all {
				all[i] = pool.AttemptEnd{
					Upstream: fmt.Sprintf("upstream-%d", i), Host: "payments.internal", Port: "8443", Method: http.MethodGet, Status: http.StatusOK,
					Number: 1, Duration: 700 * time.Microsecond,
				}
			}
			name := fmt.Sprintf("by=%s/upstreams=%d", by.name, upstreams)
			b.Run(name, func(b *testing.B) {
				told := watch(b, by.sdk, metricdata.CumulativeTemporality).told
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					told(all[i%upstreams])
				}
			})
			b.Run(name+"/parallel", func(b *testing.B) {
				told := watch(b, by.sdk, metricdata.CumulativeTemporality).told
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						told(all[i%upstreams])
					}
				})
			})
		}
	}
}
