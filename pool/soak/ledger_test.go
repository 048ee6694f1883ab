package soak_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warmpool-dev/warmpool/pool"
)

// ledger is what became of each request: what the origins saw of it, and what
// its caller was told. Ids begin at 1.
type ledger struct {
	seed    uint64
	entries []entry

	fragments atomic.Uint64 // starts of requests that an origin read and that were too short to name one

	mu struct {
		sync.Mutex
		wrong map[string]int // violations, by kind
		texts []string       // the first ones in full
	}
}

// entry is one request. What the origins write is atomic; what the caller
// writes is read when all callers have ended.
type entry struct {
	reads    atomic.Uint32 // times that an origin read its head
	declined atomic.Uint32 // of these, answered 417: not acted on
	answered atomic.Bool   // an origin began to send something for it
	complete atomic.Bool   // an origin read it whole, answered it whole, in good order, and nothing else could come between
	faults   atomic.Uint64 // what the origins did, the newest in the lowest byte

	outcome  outcome
	reason   pool.Reason
	delivery pool.Delivery
	attempts int // as the caller was told; -1: it was not
}

type outcome uint8

const (
	noOutcome outcome = iota
	outcomeAnswered
	outcomeCrossed // answered 408, which the origin had sent before it read the request
	outcomeFailed
)

func newLedger(seed uint64, n int) *ledger {
	l := &ledger{seed: seed, entries: make([]entry, n+1)}
	l.mu.wrong = make(map[string]int)
	return l
}

// at is a request's entry; nil for an id that no caller sent.
func (l *ledger) at(id uint64) *entry {
	if id == 0 || id >= uint64(len(l.entries)) {
		l.violation("unknown id", "an origin read the id %d, which nobody sent", id)
		return nil
	}
	return &l.entries[id]
}

// arrived notes that an origin read the request's head. It returns how many
// times that has happened.
func (l *ledger) arrived(id uint64) uint32 {
	e := l.at(id)
	if e == nil {
		return 1
	}
	return e.reads.Add(1)
}

func (e *entry) did(f fault) {
	for {
		old := e.faults.Load()
		if e.faults.CompareAndSwap(old, old<<8|uint64(f)) {
			return
		}
	}
}

func (l *ledger) violation(kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.wrong[kind]++
	if len(l.mu.texts) < 20 {
		l.mu.texts = append(l.mu.texts, kind+": "+fmt.Sprintf(format, args...))
	}
}

// answer notes an answer, after checking it.
func (l *ledger) answer(s *script, res *pool.Response) {
	e := l.at(s.id)
	e.attempts = -1
	if s.receipt {
		if res.Receipt == nil {
			l.violation("no receipt", "request %d asked for a receipt", s.id)
		} else {
			e.attempts = res.Receipt.Attempts
		}
	}
	e.outcome = outcomeAnswered
	if res.Status == 408 && field(res.Fields, "X-Idle") != "" {
		e.outcome = outcomeCrossed
		return
	}
	if err := s.verify(res); err != nil {
		l.violation("wrong answer", "%v; %s", err, l.history(s.id))
	}
}

// failure notes a failure.
func (l *ledger) failure(s *script, err *pool.Error) {
	e := l.at(s.id)
	e.outcome, e.reason, e.delivery, e.attempts = outcomeFailed, err.Reason, err.Delivery, err.Attempts
}

// settle compares what the origins saw with what the callers were told. It is
// called when all is closed and nobody writes any more.
func (l *ledger) settle() {
	for id := uint64(1); id < uint64(len(l.entries)); id++ {
		e, s := &l.entries[id], scriptOf(l.seed, id)
		reads, acted := int(e.reads.Load()), int(e.reads.Load()-e.declined.Load())
		switch {
		case e.outcome == noOutcome:
			l.violation("no outcome", "%s", l.history(id))
			continue
		case !s.mayTwice && acted > 1:
			l.violation("read twice", "%s", l.history(id))
		case e.attempts >= 0 && reads > e.attempts:
			l.violation("more arrivals than attempts", "%s", l.history(id))
		}
		if e.outcome == outcomeAnswered && reads == 0 {
			l.violation("answered unread", "%s", l.history(id))
		}
		if e.outcome != outcomeFailed {
			continue
		}
		switch e.delivery {
		case pool.DeliveryNotSent, pool.DeliveryNotReceived:
			if reads > 0 {
				l.violation("read, told it was not", "%s", l.history(id))
			}
		case pool.DeliveryResponded:
			if reads == 0 || !e.answered.Load() {
				l.violation("told answered, was not", "%s", l.history(id))
			}
		case pool.DeliveryUnknown:
		default:
			l.violation("no delivery", "%s", l.history(id))
		}
		if e.complete.Load() && !gone(e.reason) {
			l.violation("complete answer lost", "%s", l.history(id))
		}
	}
}

// gone reports a failure that a complete answer does not prevent: the caller
// gave up, or the machine was too busy for the short limits of the run.
func gone(r pool.Reason) bool {
	switch r {
	case pool.ReasonCancelled, pool.ReasonDeadlineExceeded, pool.ReasonResponseTimeout, pool.ReasonBodyTimeout:
		return true
	}
	return false
}

// history words everything that is known of a request.
func (l *ledger) history(id uint64) string {
	e, s := &l.entries[id], scriptOf(l.seed, id)
	var did []string
	for seen := e.faults.Load(); seen != 0; seen >>= 8 {
		did = append([]string{fault(seen & 0xff).String()}, did...)
	}
	told := "still under way"
	switch e.outcome {
	case outcomeAnswered:
		told = "answered"
	case outcomeCrossed:
		told = "408 that crossed it"
	case outcomeFailed:
		told = fmt.Sprintf("%v, %v, %d attempts", e.reason, e.delivery, e.attempts)
	}
	return fmt.Sprintf("request %d (%s, %d bytes, expect %v, answer %d with %d bytes): read %d times, origins did [%s], caller was told: %s",
		id, s.method, s.body, s.expect, s.status, s.size, e.reads.Load(), strings.Join(did, ", "), told)
}

// report fails the test for what was wrong.
func (l *ledger) report(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range l.mu.texts {
		t.Error(text)
	}
	for kind, n := range l.mu.wrong {
		t.Errorf("%s: %d in all", kind, n)
	}
}
