package pool

import (
	"testing"
	"time"
)

// What Linux 6.18 was seen to do to the window of an idle sender, over a path of
// 50 ms: cubic, 1450 segments before, a retransmission timeout of 250 ms.
func TestIdlenessHalvesAWindowOncePerRetransmissionTimeout(t *testing.T) {
	const begun = time.Minute
	w := window{segments: 1450, initial: initialWindow, sent: begun, rto: 250 * time.Millisecond}
	for _, c := range []struct {
		idle time.Duration
		want int
	}{
		{0, 1450},
		{50 * time.Millisecond, 1450},
		{250 * time.Millisecond, 1450}, // only what is longer counts
		{251 * time.Millisecond, 725},
		{500 * time.Millisecond, 725},
		{501 * time.Millisecond, 362},
		{time.Second, 181},
		{1600 * time.Millisecond, 22},
		{2 * time.Second, 11},
		{2001 * time.Millisecond, 10},
		{time.Minute, 10},
		{1000 * time.Hour, 10},
	} {
		if got := w.at(begun + c.idle); got != c.want {
			t.Errorf("after %v it is %d segments, want %d", c.idle, got, c.want)
		}
	}
}

func TestAWindowThatIdlenessDoesNotLowerStays(t *testing.T) {
	w := window{segments: 1450, initial: initialWindow, sent: time.Second}
	if got := w.at(time.Hour); got != 1450 {
		t.Errorf("it is %d segments, want 1450", got)
	}
}

func TestAWindowBelowTheInitialOneStaysAsItIs(t *testing.T) {
	w := window{segments: 4, initial: initialWindow, sent: time.Second, rto: time.Millisecond}
	if got := w.at(time.Hour); got != 4 {
		t.Errorf("it is %d segments, want 4", got)
	}
}

func TestUseKeepsWhatIdlenessHasLeftOfAWindow(t *testing.T) {
	w := window{segments: 100, initial: initialWindow, sent: time.Second, rto: 200 * time.Millisecond}
	w.used(time.Second + 300*time.Millisecond)
	if got := w.at(time.Second + 400*time.Millisecond); got != 50 {
		t.Errorf("it is %d segments, want 50", got)
	}
	w.used(time.Second + 400*time.Millisecond)
	if got := w.at(time.Second + 601*time.Millisecond); got != 25 {
		t.Errorf("it is %d segments, want 25", got)
	}
}

func TestOnlyACongestionControlWithAModelOfItsOwnKeepsItsWindow(t *testing.T) {
	for name, want := range map[string]bool{"bbr": true, "bbr2": true, "cubic": false, "reno": false, "dctcp": false, "": false, "bb": false} {
		if got := keepsWindow(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
