package sidecar

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// dialLogPause is the time in which one upstream gets one line about failures.
const dialLogPause = 10 * time.Second

// dialLog keeps an upstream that is down from filling the log, and says when it is
// up again: its first failure is logged at once, those of each following pause as
// one line with their count, and the end of it when every address that failed has
// taken a connection. The last line always says how things are.
type dialLog struct {
	log *slog.Logger

	mu struct {
		sync.Mutex
		down    map[string]*outage // by upstream; while its pause runs, or something fails
		lines   []logLine          // to be written, in this order
		stopped bool
	}
	writing sync.Mutex // held by the one who writes lines
}

// logLine is a record that is written once the lock is released: a log that nobody
// reads must hold up nothing but itself.
type logLine struct {
	level   slog.Level
	message string
	attrs   []any
}

// outage is what one upstream's dials came to since they began to fail.
type outage struct {
	first    time.Time                   // failure that no recovery has followed
	newest   time.Time                   // failure
	failures int                         // since then
	failing  map[netip.AddrPort]struct{} // addresses that have not taken a connection since they failed; a zero one: none was found
	opened   bool                        // some other address has, since then
	warned   bool                        // the last line says that it fails

	pause *time.Timer // runs: nothing more is written of failures until it is over
	count int         // of failures in it
	last  []any       // log attributes of the newest of these
}

func newDialLog(log *slog.Logger) *dialLog {
	d := &dialLog{log: log}
	d.mu.down = make(map[string]*outage)
	return d
}

// failed takes note of a dial, or a lookup, that came to nothing.
func (d *dialLog) failed(upstream string, why pool.Reason, endpoint netip.AddrPort, err error) {
	attrs := []any{"reason", why.String(), "upstream", upstream}
	if endpoint.IsValid() {
		attrs = append(attrs, "endpoint", endpoint.String())
	}
	attrs = append(attrs, "error", err)
	now := time.Now()

	defer d.flush()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.stopped {
		return
	}
	o := d.mu.down[upstream]
	if o == nil {
		o = &outage{failing: make(map[netip.AddrPort]struct{})}
		d.mu.down[upstream] = o
	}
	if o.failures == 0 {
		o.first, o.opened = now, false
	}
	o.newest = now
	o.failures++
	o.failing[endpoint] = struct{}{}
	if o.pause != nil {
		o.count, o.last = o.count+1, attrs
		return
	}
	o.pause, o.warned = time.AfterFunc(dialLogPause, func() { d.pauseOver(upstream, o) }), true
	d.write(slog.LevelWarn, "no connection", attrs)
}

// opened takes note of a connection.
func (d *dialLog) opened(upstream string, endpoint netip.AddrPort) {
	defer d.flush()
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.mu.down[upstream]
	if o == nil {
		return
	}
	delete(o.failing, endpoint)
	delete(o.failing, netip.AddrPort{}) // an address was found
	o.opened = true
	if o.warned {
		d.recovered(upstream, o)
	}
}

// gone takes note of addresses that are no more the upstream's.
func (d *dialLog) gone(upstream string, endpoints []netip.AddrPort) {
	defer d.flush()
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.mu.down[upstream]
	if o == nil {
		return
	}
	for _, e := range endpoints {
		delete(o.failing, e)
	}
	if o.warned && o.opened {
		d.recovered(upstream, o)
	}
}

// recovered writes, under the lock, that nothing fails any more, if that is so.
func (d *dialLog) recovered(upstream string, o *outage) {
	if len(o.failing) > 0 || d.mu.stopped {
		return
	}
	d.write(slog.LevelInfo, "connections again", []any{
		"upstream", upstream, "failures", o.failures, "first", o.first.UTC(), "last", o.newest.UTC(), // it may have been well since then
	})
	o.warned, o.failures, o.count, o.last = false, 0, 0, nil
	if o.pause == nil {
		delete(d.mu.down, upstream)
	}
}

// pauseOver sums up a pause and begins another, or ends the quiet when nothing
// failed in it.
func (d *dialLog) pauseOver(upstream string, o *outage) {
	defer d.flush()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.stopped || d.mu.down[upstream] != o {
		return
	}
	if o.count == 0 {
		o.pause = nil
		if !o.warned {
			delete(d.mu.down, upstream)
		}
		return
	}
	d.write(slog.LevelWarn, "no connection, again", append(o.last, "failures", o.count, "within", dialLogPause))
	o.count, o.last, o.warned = 0, nil, true
	o.pause.Reset(dialLogPause)
	d.recovered(upstream, o)
}

// write appends a line, under the lock.
func (d *dialLog) write(level slog.Level, message string, attrs []any) {
	d.mu.lines = append(d.mu.lines, logLine{level, message, attrs})
}

// flush writes the lines that are there, unless somebody is at it, who then writes
// these as well.
func (d *dialLog) flush() {
	for d.pending() && d.writing.TryLock() {
		d.mu.Lock()
		lines := d.mu.lines
		d.mu.lines = nil
		d.mu.Unlock()
		for _, l := range lines {
			d.log.Log(context.Background(), l.level, l.message, l.attrs...)
		}
		d.writing.Unlock()
	}
}

func (d *dialLog) pending() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.mu.lines) > 0
}

// forget drops an upstream that is no more.
func (d *dialLog) forget(upstream string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.mu.down[upstream]; o != nil && o.pause != nil {
		o.pause.Stop()
	}
	delete(d.mu.down, upstream)
}

// stop ends the pauses and the log.
func (d *dialLog) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.stopped = true
	for _, o := range d.mu.down {
		if o.pause != nil {
			o.pause.Stop()
		}
	}
}
