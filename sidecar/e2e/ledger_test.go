package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// ledger is an origin that books every request by the id that it carries, so that what became of each can be held
// against what its caller was told.
type ledger struct {
	*origin

	mu    sync.Mutex
	came  map[string]int // heads received, by id
	whole map[string]int // of these, with all of the body: carried out
	held  chan string    // receives the id of each request that is held
	free  chan struct{}  // closed when those may go on
}

// Fields by which a request tells the ledger what to do.
const (
	ledgerID      = "X-Id"
	ledgerTime    = "X-Takes"   // time until the answer
	ledgerHold    = "X-Hold"    // there is no answer until the ledger is let go
	ledgerEndless = "X-Endless" // the answer's body has no end
)

func startLedger(t *testing.T) *ledger {
	t.Helper()
	l := &ledger{came: make(map[string]int), whole: make(map[string]int), held: make(chan string, 1024), free: make(chan struct{})}
	l.origin = serveApp(t, l, nil)
	t.Cleanup(l.release)
	return l
}

// release lets go of what is held.
func (l *ledger) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.free:
	default:
		close(l.free)
	}
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(ledgerID)
	l.book(l.came, id)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the body was cut: nothing is carried out
	}
	l.book(l.whole, id)
	if r.Header.Get(ledgerHold) != "" {
		l.held <- id
		select {
		case <-l.free:
		case <-r.Context().Done():
			return
		}
	}
	if takes, err := time.ParseDuration(r.Header.Get(ledgerTime)); err == nil {
		time.Sleep(takes) // what the service takes, not a wait for anything
	}
	if r.Header.Get(ledgerEndless) != "" {
		for block := make([]byte, 64<<10); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(ledgerAnswer(r.Method, id, len(body)))))
	_, _ = io.WriteString(w, ledgerAnswer(r.Method, id, len(body)))
}

func (l *ledger) book(in map[string]int, id string) {
	l.mu.Lock()
	in[id]++
	l.mu.Unlock()
}

// of is how often a request came, and came whole.
func (l *ledger) of(id string) (came, whole int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.came[id], l.whole[id]
}

// ledgerAnswer is the body of the answer to a request.
func ledgerAnswer(method, id string, length int) string {
	return fmt.Sprintf("%s %s %d", method, id, length)
}
