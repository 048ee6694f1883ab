package link

import (
	"bytes"
	"testing"
	"time"
)

const ms = time.Millisecond

// put lets a packet that consists of one byte, repeated, enter.
func put(w *way, b byte, n int, now instant) bool {
	copy(w.room(), bytes.Repeat([]byte{b}, n))
	return w.enter(n, now)
}

// get is the packet that has arrived, taken off the line, or nil.
func get(w *way, now instant) []byte {
	p := bytes.Clone(w.arrived(now))
	if p != nil {
		w.left(now)
	}
	return p
}

func TestAPacketArrivesOneWayLaterAndNotBefore(t *testing.T) {
	w := newWay(Setting{OneWay: 25 * ms})
	put(w, 'a', 100, 3*ms)
	if at, ok := w.due(); !ok || at != 28*ms {
		t.Errorf("due at %s, %v, want 28ms", at, ok)
	}
	if p := get(w, 28*ms-1); p != nil {
		t.Errorf("%d bytes arrived too early", len(p))
	}
	if p := get(w, 28*ms); !bytes.Equal(p, bytes.Repeat([]byte{'a'}, 100)) {
		t.Errorf("what arrived is %q", p)
	}
	if _, ok := w.due(); ok || get(w, time.Hour) != nil {
		t.Error("it arrived twice")
	}
}

func TestPacketsArriveInOrderWhateverTheirNumber(t *testing.T) {
	w := newWay(Setting{OneWay: ms})
	entered, arrived := 0, 0
	for now := instant(0); arrived < 3*maxPackets; now += 100 * time.Microsecond {
		for range 500 {
			if put(w, byte(entered), 1+entered%1500, now) {
				entered++
			}
		}
		for p := get(w, now); p != nil; p = get(w, now) {
			if len(p) != 1+arrived%1500 || p[0] != byte(arrived) {
				t.Fatalf("packet %d has %d bytes of %d", arrived, len(p), p[0])
			}
			arrived++
		}
	}
	if w.figures.Dropped != 0 {
		t.Errorf("%d packets were dropped", w.figures.Dropped)
	}
}

func TestARateSpacesPackets(t *testing.T) {
	// 1000 bytes take 1 ms.
	w := newWay(Setting{OneWay: 10 * ms, Rate: 8_000_000})
	for i := range 3 {
		put(w, byte('a'+i), 1000, 0)
	}
	put(w, 'd', 500, 20*ms) // the line has been free for a while
	for i, want := range []instant{11 * ms, 12 * ms, 13 * ms, 30*ms + 500*time.Microsecond} {
		if at, ok := w.due(); !ok || at != want {
			t.Errorf("packet %d is due at %s, want %s", i, at, want)
		}
		w.left(want)
	}
}

func TestAQueueDropsWhatIsTooMuch(t *testing.T) {
	w := newWay(Setting{Rate: 8_000_000, Queue: 2500})
	var taken []bool
	for range 4 {
		taken = append(taken, put(w, 'a', 1000, 0))
	}
	if want := []bool{true, true, false, false}; !equal(taken, want) {
		t.Errorf("taken: %v, want %v: 1000 bytes each into 2500", taken, want)
	}
	if !put(w, 'a', 500, 0) {
		t.Error("a packet that fits into the queue was dropped")
	}
	if !put(w, 'a', 1000, ms) {
		t.Error("a packet was dropped although 1000 bytes had left")
	}
	if w.figures.Dropped != 2 {
		t.Errorf("%d dropped, want 2", w.figures.Dropped)
	}
}

func equal(a, b []bool) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestMoreThanThereIsMemoryForIsDropped(t *testing.T) {
	w := newWay(Setting{OneWay: time.Second})
	for range maxPackets - 1 {
		if !put(w, 'a', 1, 0) {
			t.Fatal("dropped too early")
		}
	}
	if put(w, 'b', 1, 0) {
		t.Error("the last room was given away")
	}
	if p := get(w, time.Second); !bytes.Equal(p, []byte{'a'}) {
		t.Errorf("the first packet is %q", p)
	}
	if !put(w, 'b', 1, time.Second) {
		t.Error("dropped although there is room again")
	}
}

func TestLatenessIsCountedPerPacket(t *testing.T) {
	w := newWay(Setting{OneWay: ms})
	for i := range 100 {
		put(w, 'a', 10, 0)
		late := 50 * time.Microsecond
		if i == 7 {
			late = 15 * ms
		}
		w.left(ms + late)
	}
	f := w.report()
	if f.Packets != 100 || f.Bytes != 1000 || f.LateMedian != 60*time.Microsecond || f.LateP99 != 60*time.Microsecond || f.LateMax != 15*ms || f.OnTime != 0.99 {
		t.Errorf("figures %+v", f)
	}
}
