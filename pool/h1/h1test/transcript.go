package h1test

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Transcript records what an origin saw and did, in order and with times.
type Transcript struct {
	start time.Time
	mu    sync.Mutex
	lines []string
}

func newTranscript() *Transcript { return &Transcript{start: time.Now()} }

func (t *Transcript) add(format string, args ...any) {
	at := time.Since(t.start)
	line := fmt.Sprintf("%8.1f ms  ", float64(at.Microseconds())/1000) + fmt.Sprintf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
}

// String is one line per event.
func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}

// quote shows bytes as a Go string, shortened in the middle.
func quote[T string | []byte](p T) string {
	const edge = 70
	if len(p) <= 2*edge+20 {
		return fmt.Sprintf("%q", p)
	}
	return fmt.Sprintf("%q..%d bytes..%q", p[:edge], len(p)-2*edge, p[len(p)-edge:])
}
