// Package link carries packets between two network interfaces as a long line
// would: each leaves a fixed time after it entered, at a rate and through a queue
// where these are limited, in order.
//
// What happens to a packet is decided by way, a plain value that is fed packets
// and the time. Run drives two of them, one each way, between two TUN devices,
// on one thread that waits with the kernel's own high-resolution timer: Go's
// timers come up to a millisecond late, which is as much as the link may err.
package link

import (
	"math"
	"time"
)

// Setting is what the line is like, the same both ways.
type Setting struct {
	OneWay time.Duration `json:"one_way_ns"`      // from one end to the other
	Rate   int64         `json:"bits_per_second"` // 0: unlimited
	Queue  int           `json:"queue_bytes"`     // that may wait for the rate; one packet more is dropped. 0: unlimited
}

const (
	// maxPacket is room for one packet.
	maxPacket = 2048
	// maxPackets bounds what is under way in one direction, whatever the setting:
	// 50 ms of 1500-byte packets at 7 Gbit/s.
	maxPackets = 1 << 15
)

// instant is a point in time on the link's own clock.
type instant = time.Duration

// way is one direction of the line.
type way struct {
	setting Setting

	memory  []byte // maxPacket bytes for each packet
	packets []packet
	first   int // of the packets under way
	count   int

	lineFree instant // when the last byte that entered will have left at the rate
	figures  Figures
	late     lateness
}

type packet struct {
	length int
	due    instant // at the other end
}

// Figures is what passed in one direction.
type Figures struct {
	Packets int64 `json:"packets"` // that arrived
	Bytes   int64 `json:"bytes"`
	Dropped int64 `json:"dropped"` // by the queue, or for want of memory
	// How late packets were handed over, beyond the setting.
	LateMedian time.Duration `json:"late_median_ns"`
	LateP99    time.Duration `json:"late_p99_ns"`
	LateMax    time.Duration `json:"late_max_ns"`
	OnTime     float64       `json:"on_time"` // share that was no later than a millisecond
}

func newWay(s Setting) *way {
	// Memory that is never used is never touched, and costs nothing.
	return &way{setting: s, memory: make([]byte, maxPacket*maxPackets), packets: make([]packet, maxPackets)}
}

// room is where the next packet is to be put before enter is told of it. There
// is always room: enter drops the packet that would take the last of it.
func (w *way) room() []byte { return w.at((w.first + w.count) % maxPackets) }

func (w *way) at(i int) []byte { return w.memory[i*maxPacket : (i+1)*maxPacket] }

// enter takes the packet of n bytes that was put into room. It reports false
// when the packet is dropped.
func (w *way) enter(n int, now instant) bool {
	if w.count == maxPackets-1 {
		w.figures.Dropped++
		return false
	}
	leaves := now
	if rate := w.setting.Rate; rate > 0 {
		begins := max(now, w.lineFree)
		waiting := float64(begins-now) * float64(rate) / 8 / float64(time.Second)
		if queue := w.setting.Queue; queue > 0 && int(math.Ceil(waiting))+n > queue {
			w.figures.Dropped++
			return false
		}
		leaves = begins + time.Duration(float64(n)*8*float64(time.Second)/float64(rate))
		w.lineFree = leaves
	}
	w.packets[(w.first+w.count)%maxPackets] = packet{n, leaves + w.setting.OneWay}
	w.count++
	return true
}

// arrived is the first packet that has reached the other end, or nil. It stays
// the first until left is told of it.
func (w *way) arrived(now instant) []byte {
	if w.count == 0 || w.packets[w.first].due > now {
		return nil
	}
	return w.at(w.first)[:w.packets[w.first].length]
}

// left takes the first packet off the line.
func (w *way) left(now instant) {
	p := w.packets[w.first]
	w.figures.Packets++
	w.figures.Bytes += int64(p.length)
	w.late.add(now - p.due)
	w.first = (w.first + 1) % maxPackets
	w.count--
}

// due is when the first packet arrives; ok is false when none is under way.
func (w *way) due() (at instant, ok bool) {
	if w.count == 0 {
		return 0, false
	}
	return w.packets[w.first].due, true
}

func (w *way) report() Figures {
	f := w.figures
	f.LateMedian, f.LateP99, f.LateMax = w.late.quantile(0.50), w.late.quantile(0.99), w.late.max
	f.OnTime = w.late.share(time.Millisecond)
	return f
}

const (
	lateStep  = 10 * time.Microsecond
	lateSteps = 1000 // up to 10 ms; what is later counts as that, but for the maximum
)

// lateness counts how late packets were, in steps of lateStep.
type lateness struct {
	counts [lateSteps]int64
	total  int64
	max    time.Duration
}

func (l *lateness) add(d time.Duration) {
	l.counts[min(int(d/lateStep), lateSteps-1)]++
	l.total++
	l.max = max(l.max, d)
}

// quantile is the end of the step that the quantile falls into, so never less
// than it; 0 when there was nothing.
func (l *lateness) quantile(q float64) time.Duration {
	var seen int64
	for i, n := range l.counts {
		seen += n
		if n > 0 && float64(seen) >= q*float64(l.total) {
			return min(time.Duration(i+1)*lateStep, l.max)
		}
	}
	return 0
}

// share is how many of all were no later than d, a multiple of lateStep; 1 when
// there was nothing.
func (l *lateness) share(d time.Duration) float64 {
	if l.total == 0 {
		return 1
	}
	var seen int64
	for _, n := range l.counts[:d/lateStep] {
		seen += n
	}
	return float64(seen) / float64(l.total)
}
