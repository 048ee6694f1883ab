package main

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

// selfTest measures round trips by TCP handshakes: the kernel at the far end
// answers them, so nothing but the link and this process is in them.
func (c *caller) selfTest(ctx context.Context) (trips []time.Duration, err error) {
	address := c.Plan.patient(false).address(&c.Plan)
	var dialer net.Dialer
	for range c.Plan.SelfTest {
		began := time.Now()
		conn, err := dialer.DialContext(ctx, "tcp", address)
		took := time.Since(began)
		if err != nil {
			return nil, err
		}
		conn.Close() //nolint:gosec // nothing was sent on it
		trips = append(trips, took)
	}
	return trips, nil
}

// directions are down and up.
var directions = []bool{false, true}

// newConnections measures each shape on new connections.
func (c *caller) newConnections(ctx context.Context) []Measured {
	l := newLedger()
	var group sync.WaitGroup
	for i := range c.Plan.New {
		for _, tls := range []bool{false, true} {
			for _, shape := range c.newShapes() {
				lane := c.lane(shape)
				if i >= c.Plan.Heavy*c.Plan.Larger*2 && lane == c.heavy {
					continue
				}
				cell := Cell{Way: NewConnection, Origin: c.Plan.patient(tls), Shape: shape}
				lane <- struct{}{}
				group.Go(func() {
					took, o := c.ask(ctx, cell.Way, Slot{Origin: cell.Origin}, shape)
					<-lane
					l.add(cell, took, o)
				})
			}
		}
	}
	group.Wait()
	return l.measured()
}

func (c *caller) newShapes() []Shape {
	var shapes []Shape
	for _, up := range directions {
		shapes = append(shapes, Shape{c.Plan.Sizes[0], up, c.Plan.Burst})
	}
	for _, size := range c.Plan.Sizes {
		for _, up := range directions {
			shapes = append(shapes, Shape{size, up, 1})
		}
	}
	return shapes
}

func (c *caller) lane(s Shape) chan struct{} {
	if s.Size == c.Plan.Sizes[0] && s.Burst == 1 {
		return c.light
	}
	return c.heavy
}

// sample is one request, or burst, after idleness.
type sample struct {
	cell Cell
	slot Slot
}

// lightSamples are requests of the small size.
func (c *caller) lightSamples(idle time.Duration) (samples []sample) {
	for i := range c.Plan.Each {
		for j, up := range directions {
			samples = append(samples, c.samples(Single, i*len(directions)+j, Shape{c.Plan.Sizes[0], up, 1}, idle)...)
		}
	}
	return samples
}

// heavySamples are requests of the larger sizes, and bursts.
func (c *caller) heavySamples(idle time.Duration) (samples []sample) {
	slot := 0
	for range c.Plan.Larger {
		for _, size := range c.Plan.Sizes[1:] {
			for _, up := range directions {
				samples = append(samples, c.samples(Single, slot, Shape{size, up, 1}, idle)...)
				slot++
			}
		}
	}
	for i := range c.Plan.Bursts {
		for j, up := range directions {
			samples = append(samples, c.samples(Bursts, i*len(directions)+j, Shape{c.Plan.Sizes[0], up, c.Plan.Burst}, idle)...)
		}
	}
	return samples
}

// samples are slot n's of each origin and way. What is large tells an idle
// timeout from none only when it idles for long: the short times are measured
// towards the patient origin alone.
func (c *caller) samples(kind Kind, n int, shape Shape, idle time.Duration) (samples []sample) {
	for _, o := range c.Plan.origins() {
		if shape.Size > c.Plan.Sizes[0] && short(idle) && o != c.Plan.patient(o.TLS) {
			continue
		}
		for _, w := range c.pooledWays() {
			samples = append(samples, sample{Cell{w, o, shape, idle}, Slot{kind, o, c.Plan.group(idle), n}})
		}
	}
	return samples
}

// round measures samples after each idleness. The longest begins first, so that
// the others pass while it idles.
func (c *caller) round(ctx context.Context, samples func(idle time.Duration) []sample) []Measured {
	l := newLedger()
	var idling sync.WaitGroup
	for _, idle := range slices.Backward(c.Plan.Idles) {
		wait := c.wave(ctx, l, samples(idle))
		if idle == c.Plan.longest() {
			idling.Go(wait)
		} else {
			wait()
		}
	}
	idling.Wait()
	return l.measured()
}

// wave carries out each sample: a request that prepares, idleness, and the
// request that counts. It returns when all have been prepared; wait returns when
// all have been measured. Samples are begun in order and, since all idle for the
// same time, come back in that order and at that pace: none waits long for a
// lane.
func (c *caller) wave(ctx context.Context, l *ledger, samples []sample) (wait func()) {
	var group sync.WaitGroup
	for _, s := range samples {
		lane := c.lane(s.cell.Shape)
		lane <- struct{}{}
		group.Go(func() {
			_, o := c.ask(ctx, s.cell.Way, s.slot, s.cell.Shape)
			due := time.Now().Add(s.cell.Idle)
			o.handshakes = 0 // to prepare may cost some
			l.add(s.cell, 0, o)
			// Who idles shortly keeps the lane: waiting for it would take as long.
			keeps := lane == c.heavy && short(s.cell.Idle)
			if !keeps {
				<-lane
			}
			time.Sleep(time.Until(due))
			if !keeps {
				lane <- struct{}{}
			}
			took, o := c.ask(ctx, s.cell.Way, s.slot, s.cell.Shape)
			<-lane
			l.add(s.cell, took, o)
		})
	}
	return group.Wait
}
