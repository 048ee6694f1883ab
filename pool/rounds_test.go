package pool

import (
	"testing"
	"time"
)

// Round trips that were measured over a path of 50 ms between two Linux 6.18
// kernels, 1448 bytes a segment: what the estimate must come to within one, and
// for windows that are known, exactly.
func TestRoundsAreWhatWasMeasured(t *testing.T) {
	const mss = 1448
	segments := func(bytes int) int { return (bytes + mss - 1) / mss }
	for _, c := range []struct {
		what   string
		bytes  int
		window int
		want   int
	}{
		{"1 KB, new", 1 << 10, 10, 1},
		{"14 KB, new", 14 << 10, 10, 1},
		{"100 KB, new", 100_000, 10, 3},
		{"100 KiB, new", 100 << 10, 10, 4}, // measured: 4.0
		{"1 MiB, new", 1 << 20, 10, 7},     // measured: 7.1
		{"1 MiB, used 50 ms ago", 1 << 20, 1450, 1},
		{"1 MiB, idle for 1 s: 1450 halved three times", 1 << 20, 181, 3}, // measured: 4.1, the window being settled when it is sent
		{"nothing", 0, 10, 0},
		{"a window of nothing", 3 * mss, 0, 2},
	} {
		if got := rounds(segments(c.bytes), c.window); got != c.want {
			t.Errorf("%s: %d round trips, want %d", c.what, got, c.want)
		}
	}
}

// flights plays a sender in slow start segment by segment: it sends what the
// window allows, and a round trip later has the acknowledgements, each of which
// lets the window grow by one while twice what was in flight is not exceeded.
func flights(n, window int) (trips, after int) {
	for ; n > 0; trips++ {
		flight := min(n, window)
		n -= flight
		for range flight {
			if window < 2*flight {
				window++
			}
		}
	}
	return trips, window
}

func TestTheEstimateIsWhatASenderInSlowStartDoes(t *testing.T) {
	for _, window := range []int{1, 2, 3, 10, 11, 64, 100, 725, 1450} {
		for n := 1; n <= 1500; n += 7 {
			trips, after := flights(n, window)
			if got := rounds(n, window); got != trips {
				t.Fatalf("%d segments from a window of %d: %d round trips, want %d", n, window, got, trips)
			}
			w := slowStarting(window)
			w.carried(n, time.Second)
			if want := min(after, mostSegments); w.segments != want {
				t.Fatalf("%d segments from a window of %d leave %d, want %d", n, window, w.segments, want)
			}
		}
	}
}

func slowStarting(segments int) window {
	return window{segments: segments, initial: initialWindow, sent: time.Second, rto: 250 * time.Millisecond}
}

func TestAGuessedWindowIsBounded(t *testing.T) {
	w := slowStarting(10)
	w.carried(1_000_000, time.Second)
	if w.segments != mostSegments {
		t.Errorf("it is %d segments, want %d", w.segments, mostSegments)
	}
}

// measuredSlot is a connection with a round trip of 50 ms, used a moment ago.
func measuredSlot(t *testing.T, window int) (*slot, instant) {
	t.Helper()
	now := time.Minute
	a := &admission{policy: &Policy{}}
	s := &slot{endpoint: &endpoint{}, state: slotActive}
	sample := tcpSample{rtt: 50 * time.Millisecond, rto: 250 * time.Millisecond, mss: 1448, window: 10}
	a.measured(s, sample, true, now)
	sample.window = window
	a.measured(s, sample, true, now)
	return s, now
}

func TestAnUploadIsSparedTheRoundsThatItsWindowSpares(t *testing.T) {
	for _, c := range []struct {
		idle time.Duration
		size int64
		want int
	}{
		{50 * time.Millisecond, 1 << 20, 6},
		{300 * time.Millisecond, 1 << 20, 6}, // 725 segments: just enough
		{600 * time.Millisecond, 1 << 20, 5},
		{time.Second, 1 << 20, 4},
		{10 * time.Second, 1 << 20, 0},
		{50 * time.Millisecond, 14_000, 0},
		{50 * time.Millisecond, 100 << 10, 3},
	} {
		s, now := measuredSlot(t, 1450)
		now += c.idle
		s.sends(now)
		if got := s.carried(c.size, 200, now+50*time.Millisecond); got != c.want {
			t.Errorf("%d bytes after %v: spared %d round trips, want %d", c.size, c.idle, got, c.want)
		}
	}
}

func TestADownloadIsSparedTheRoundsThatThePeersWindowSpares(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		idle time.Duration
		want int
	}{
		{50 * time.Millisecond, 5}, // 640 segments, which is not quite all of it
		{time.Second, 2},           // 640 segments, halved four times for 1.05 s: 40
		{10 * time.Second, 0},
	} {
		s, now := measuredSlot(t, 10)
		if got := s.carried(300, size, now); got != 0 {
			t.Errorf("the first one is spared %d round trips", got)
		}
		now += c.idle
		s.sends(now)
		if got := s.carried(300, size, now+100*time.Millisecond); got != c.want {
			t.Errorf("after %v: spared %d round trips, want %d", c.idle, got, c.want)
		}
	}
}

func TestOfAConnectionThatTheKernelTellsNothingOfNoRoundsAreClaimed(t *testing.T) {
	s := &slot{endpoint: &endpoint{}}
	if got := s.carried(1<<20, 1<<20, time.Second); got != 0 {
		t.Errorf("spared %d round trips", got)
	}
}
