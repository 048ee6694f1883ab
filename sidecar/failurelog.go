package sidecar

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

const (
	// failureLook is how often the log is told of requests that fail.
	failureLook = time.Second
	// failureLogPause is the time in which one upstream gets one line about them.
	failureLogPause = 10 * time.Second
)

// failureLog writes that requests to an upstream fail, which its dials need not show:
// it may take connections and not answer. The counters are looked at, so that
// requests pay nothing for it. The first failures are logged within failureLook, those
// of each following pause as one line, and their end when a pause had none, and
// responses. What callers cancelled does not count.
//
// It is used by one goroutine.
type failureLog struct {
	log  *slog.Logger
	seen map[string]*failing
}

// failing is what one upstream's requests came to.
type failing struct {
	upstream *pool.Upstream // another one of the name begins anew
	base     pool.Counters  // when the last line was written, or at the last look that had no failures
	failures uint64         // as of the last look
	now      bool           // the last line says that requests fail
	first    time.Time      // failure that was seen since it was so
	last     time.Time
	sum      uint64    // of failures since then, as written
	quiet    time.Time // until then, while it is so
}

func newFailureLog(log *slog.Logger) *failureLog {
	return &failureLog{log: log, seen: make(map[string]*failing)}
}

// follow looks at every upstream until ctx ends.
func (l *failureLog) follow(ctx context.Context, p *pool.Pool) {
	ticker := time.NewTicker(failureLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		l.lookAll(p)
	}
}

func (l *failureLog) lookAll(p *pool.Pool) {
	now, names := time.Now(), p.Names()
	there := make(map[string]*failing, len(names))
	for _, name := range names {
		u, err := p.Upstream(name)
		if err != nil {
			continue // removed since
		}
		f := l.seen[name]
		if f == nil || f.upstream != u {
			f = &failing{upstream: u}
		}
		there[name] = f
		c := u.Counters()
		l.look(name, f, &c, now)
	}
	l.seen = there
}

// look compares an upstream's counters with those before.
func (l *failureLog) look(name string, f *failing, c *pool.Counters, now time.Time) {
	failures := failed(c)
	if failures > f.failures {
		f.failures, f.last = failures, now
	}
	since, responses := failures-failed(&f.base), c.Responses-f.base.Responses
	switch {
	case f.now && now.Before(f.quiet):
		return
	case since > 0:
		message, within := "requests fail", failureLook
		if f.now {
			message, within = "requests fail, still", failureLogPause
		} else {
			f.now, f.first, f.sum = true, now, 0
		}
		f.sum += since
		f.quiet = now.Add(failureLogPause - failureLook/2) // looks are not quite so far apart
		l.log.Warn(message, "upstream", name, "failures", since, "reasons", reasonsText(c, &f.base), "responses", responses, "within", within)
	case f.now && responses > 0:
		f.now = false
		l.log.Info("requests succeed again", "upstream", name, "failures", f.sum,
			"first", f.first.UTC().Format(time.RFC3339), "last", f.last.UTC().Format(time.RFC3339))
	case f.now: // nobody asked
		f.quiet = now.Add(failureLogPause - failureLook/2)
	}
	f.base = *c
}

// failed counts the requests that failed and were not cancelled.
func failed(c *pool.Counters) (n uint64) {
	for why, count := range c.Failures {
		if pool.Reason(why) != pool.ReasonCancelled {
			n += count
		}
	}
	return n
}

// reasonsText says why requests failed since before, the most frequent first.
func reasonsText(c, before *pool.Counters) string {
	type count struct {
		why pool.Reason
		n   uint64
	}
	var all []count
	for why, n := range c.Failures {
		if n -= before.Failures[why]; n > 0 && pool.Reason(why) != pool.ReasonCancelled {
			all = append(all, count{pool.Reason(why), n})
		}
	}
	slices.SortFunc(all, func(a, b count) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.why, b.why)) })
	var b strings.Builder
	for i, one := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", one.why, one.n)
	}
	return b.String()
}
