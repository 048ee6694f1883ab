package pool

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestThePeakOfAWindowIsRememberedForAsLongAsTheWindow(t *testing.T) {
	const window = 8 * time.Second
	var d demand
	d.need(5, window, 100*time.Second)
	d.need(2, window, 104*time.Second)
	for _, at := range []struct {
		now  instant
		want int
	}{{100 * time.Second, 5}, {106 * time.Second, 5}, {109 * time.Second, 2}, {114 * time.Second, 0}, {1000 * time.Second, 0}} {
		if got := d.peak(window, at.now); got != at.want {
			t.Errorf("at %s the peak is %d, want %d", at.now, got, at.want)
		}
	}
}

// load plays requests against the decisions: they come at random moments, and
// connections and the upstream's workers take their time. What has no connection
// waits in the pool, what has no worker at the upstream; a handshake takes a worker,
// too. Everything happens in virtual time.
type load struct {
	*decisions
	chance    *rand.Rand
	events    loadEvents
	workers   int             // that the upstream has
	busy      int             // of these
	backlog   []func()        // what waits for one
	service   time.Duration   // of a worker for a request, on average
	handshake time.Duration   // of a worker for a handshake
	rtt       time.Duration   // a dial takes two and the handshake
	took      []time.Duration // of each request, from its coming to its answer
	dials     int
}

type loadEvent struct {
	at   instant
	then func()
}

type loadEvents []loadEvent

func (e loadEvents) Len() int           { return len(e) }
func (e loadEvents) Less(i, j int) bool { return e[i].at < e[j].at }
func (e loadEvents) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *loadEvents) Push(x any)        { *e = append(*e, x.(loadEvent)) }
func (e *loadEvents) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (l *load) after(d time.Duration, then func()) { heap.Push(&l.events, loadEvent{l.now + d, then}) }

// work has a worker do something for as long as d, and then does the rest.
func (l *load) work(d time.Duration, then func()) {
	start := func() {
		l.after(d, func() {
			l.busy--
			if len(l.backlog) > 0 {
				next := l.backlog[0]
				l.backlog = l.backlog[1:]
				l.busy++
				next()
			}
			then()
		})
	}
	if l.busy < l.workers {
		l.busy++
		start()
	} else {
		l.backlog = append(l.backlog, start)
	}
}

// carryOut does what was decided.
func (l *load) carryOut() {
	orders := l.orders
	l.orders = nil
	for _, o := range orders {
		switch s := o.slot; o.kind {
		case orderDial:
			l.dials++
			l.after(l.rtt, func() {
				l.work(l.handshake, func() {
					l.after(l.rtt, func() { l.serve(s, l.dialed(s, l.now)) })
				})
			})
		case orderRetire:
			l.after(l.rtt, func() { l.ends(s) })
		case orderRefuse:
			l.tb.Fatalf("a request is refused: %v", o.reason)
		}
	}
}

func (l *load) ends(s *slot) {
	l.lost(s, CloseMaxLifetime, l.now)
	l.carryOut()
}

// serve carries a request out on s.
func (l *load) serve(s *slot, t *ticket) {
	l.carryOut()
	if t == nil {
		return
	}
	asked := t.since
	if asked == 0 {
		asked = l.now
	}
	took := time.Duration(l.chance.ExpFloat64() * float64(l.service))
	l.after(l.rtt/2, func() {
		l.work(took, func() {
			l.after(l.rtt/2, func() {
				l.took = append(l.took, l.now-asked)
				next, why := l.freed(s, l.now)
				if why != CloseNone {
					l.after(l.rtt, func() { l.ends(s) })
				}
				l.serve(s, next)
			})
		})
	})
}

// run lets requests come for as long as said, so many that the workers are busy
// for a share of the time.
func (l *load) run(share float64, lasts time.Duration) {
	pause := float64(l.service) / float64(l.workers) / share
	end := l.now + lasts
	var come func()
	come = func() {
		t := &ticket{}
		s := l.ask(t, l.now)
		if s != nil {
			l.serve(s, t)
		} else {
			l.carryOut()
		}
		if l.now < end {
			l.after(time.Duration(l.chance.ExpFloat64()*pause), come)
		}
	}
	come()
	for len(l.events) > 0 && l.now < end {
		if l.due > 0 && l.due <= l.events[0].at {
			l.now = max(l.now, l.due)
			l.tick(l.now)
			l.carryOut()
			continue
		}
		e := heap.Pop(&l.events).(loadEvent)
		l.now = e.at
		e.then()
	}
}

// BenchmarkSpeculativeDials measures what it is worth to dial before a request
// asks, at 80 % load: 32 workers, exchanges of 10 ms on average, connections that
// live for 5 s, a handshake that costs a worker 2 ms, or a dear one 30 ms. Near is
// a round trip of 0.5 ms, far one of 50 ms.
func BenchmarkSpeculativeDials(b *testing.B) {
	for _, where := range []struct {
		name           string
		rtt, handshake time.Duration
	}{
		{"near", 500 * time.Microsecond, 2 * time.Millisecond},
		{"near,dear", 500 * time.Microsecond, 30 * time.Millisecond},
		{"far", 50 * time.Millisecond, 2 * time.Millisecond},
	} {
		for _, how := range []struct {
			name       string
			peakMemory time.Duration
			preconnect float64
		}{
			{"none", 0, 1},
			{"preconnect=1.1", 0, 1.1},
			{"peak_memory=30s", 30 * time.Second, 1},
			{"both", 30 * time.Second, 1.1},
		} {
			b.Run(fmt.Sprintf("%s/%s", where.name, how.name), func(b *testing.B) {
				var took []time.Duration
				dials := 0
				for n := range b.N {
					policy := DefaultPolicy("u", "http://u")
					policy.MaxWait, policy.MaxWaiting, policy.MaxLifetime, policy.Max = 0, 1<<20, 5*time.Second, 512
					policy.PeakMemory, policy.Preconnect = how.peakMemory, how.preconnect
					l := &load{
						decisions: newDecisions(b, policy, uint64(n)), chance: rand.New(rand.NewPCG(uint64(n), 3)),
						workers: 32, service: 10 * time.Millisecond, handshake: where.handshake, rtt: where.rtt,
					}
					l.resolved(endpointAddrs(1), l.now)
					l.run(0.8, 10*time.Second) // until it is warm
					l.took, l.dials = l.took[:0], 0
					l.run(0.8, 30*time.Second)
					took, dials = append(took, l.took...), dials+l.dials
				}
				slices.Sort(took)
				for _, q := range []float64{0.5, 0.99, 0.999} {
					b.ReportMetric(float64(took[int(q*float64(len(took)))])/1e6, fmt.Sprintf("p%g-ms", 100*q))
				}
				b.ReportMetric(float64(dials)/float64(b.N)/30, "dials/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
