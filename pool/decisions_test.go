package pool

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// decisions drives an admission as an upstream does, with a clock that moves
// only when it is told to, and writes down what is decided. Requests are known
// by names, connections by their ids, endpoints as e1, e2, ….
type decisions struct {
	admission
	tb       testing.TB
	now      instant
	requests map[string]*ticket
	names    map[*ticket]string  // of requests that have not ended
	carries  map[*slot][]*ticket // whose requests an active connection carries, in order
	slots    map[uint64]*slot    // all but those lost
	left     leftover            // of the policy before
	lines    []string
}

func newDecisions(tb testing.TB, policy Policy, seed uint64) *decisions {
	return &decisions{
		admission: admission{policy: &policy, chance: rand.New(rand.NewPCG(seed, seed)), waryAt: -idleMemory},
		tb:        tb,
		now:       time.Second, // zero means never
		requests:  make(map[string]*ticket),
		names:     make(map[*ticket]string),
		carries:   make(map[*slot][]*ticket),
		slots:     make(map[uint64]*slot),
	}
}

// leftover is what a change of the policy left over its bounds. It only shrinks.
type leftover struct{ total, dialing, inflight int }

// changes exchanges the policy.
func (d *decisions) changes(policy Policy) {
	before := d.policy
	d.left = leftover{max(d.total, d.left.total), max(d.dialing, d.left.dialing), max(before.PipelineDepth, d.left.inflight)}
	var open []*slot
	for _, id := range slices.Sorted(maps.Keys(d.slots)) {
		if s := d.slots[id]; s.state != slotDialing {
			open = append(open, s)
		}
	}
	d.changed(&policy, open, d.now)
	d.settled()
}

// plainPolicy is a policy with no limit but those a test is about.
func plainPolicy() Policy {
	return Policy{
		Name: "u", Max: 4, MaxDialing: 4, MaxWaiting: 100, PipelineDepth: 1,
		Upkeep: UpkeepPolicy{Method: "GET", Path: "/", Interval: 150 * time.Millisecond},
	}
}

func endpointAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
}

func endpointAddrs(n int) []netip.AddrPort {
	list := make([]netip.AddrPort, n)
	for i := range list {
		list[i] = endpointAddr(i + 1)
	}
	return list
}

func endpointAddrSix(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: byte(i)}), 80)
}

func endpointName(a netip.AddrPort) string {
	if a.Addr().Is6() {
		return fmt.Sprintf("s%d", a.Addr().As16()[15])
	}
	return fmt.Sprintf("e%d", a.Addr().As4()[3])
}

func (d *decisions) note(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// take returns what was decided since the last call.
func (d *decisions) take() string {
	text := strings.Join(d.lines, "\n")
	d.lines = d.lines[:0]
	return text
}

// settled carries out what the decisions ordered and checks the invariants.
func (d *decisions) settled() {
	d.tb.Helper()
	orders := d.orders
	d.orders = nil
	for _, o := range orders {
		switch o.kind {
		case orderDial:
			d.slots[o.slot.id] = o.slot
			d.note("dial %d to %s", o.slot.id, endpointName(o.slot.endpoint.addr))
		case orderStop:
			d.note("give up dial %d", o.slot.id)
		case orderRetire:
			d.note("retire %d: %v", o.slot.id, o.close)
		case orderHasten:
			d.note("hasten")
		case orderPrivilege:
			d.note("%s, %v lost %v: %s", endpointName(o.privilege.Endpoint), o.privilege.Privilege, o.privilege.Lost, o.privilege.Because)
		case orderTend:
			t := &ticket{upkeep: true, pipelinable: true}
			d.names[t] = "upkeep"
			d.granted(t, o.slot)
		case orderTell:
			d.note("upkeep, refused %v: %s", o.upkeep.Refused, o.upkeep.Because)
		case orderBegin:
			d.granted(o.ticket, o.slot)
		case orderRefuse:
			d.note("refuse %s: %v%s", d.names[o.ticket], o.reason, numbers(o.state))
			d.over(o.ticket)
		}
	}
	d.check()
}

func numbers(s *State) string {
	if s == nil {
		return ""
	}
	text := fmt.Sprintf(" (waited %v; %d of %d, %d active, %d idle, %d dialing; %d waiting", s.Waited, s.Total, s.Max, s.Active, s.Idle, s.Dialing, s.Waiting)
	if s.LastDialError != "" {
		text += "; " + s.LastDialError
	}
	return text + ")"
}

// over forgets a request; that it is known shows that it has not ended before.
func (d *decisions) over(t *ticket) {
	d.tb.Helper()
	name, known := d.names[t]
	if !known {
		d.tb.Fatalf("a request ended twice\n%s", d.take())
	}
	delete(d.names, t)
	delete(d.requests, name)
}

func (d *decisions) granted(t *ticket, s *slot) {
	d.tb.Helper()
	if _, known := d.names[t]; !known {
		d.tb.Fatalf("connection %d was given to a request that had ended", s.id)
	}
	if s.state != slotActive {
		d.tb.Fatalf("connection %d was given away while %v", s.id, s.state)
	}
	for _, other := range d.carries[s] {
		if !t.pipelinable || !other.pipelinable || s.exchanges == 0 {
			d.tb.Fatalf("connection %d was given to %s while %s is on it", s.id, d.names[t], d.names[other])
		}
	}
	d.carries[s] = append(d.carries[s], t)
	d.note("%s gets %d", d.names[t], s.id)
}

func (d *decisions) request(name string, t *ticket) {
	d.tb.Helper()
	if d.requests[name] != nil {
		d.tb.Fatalf("request %s is there already", name)
	}
	d.requests[name], d.names[t] = t, name
	could := t.wary && d.mayDial(d.now)
	if s := d.ask(t, d.now); s != nil {
		if could && s.idled > 0 && !d.trusts(s, d.now) && d.mayDial(d.now) {
			d.tb.Fatalf("connection %d, idle for %v, was given to %s, which may be lost on it, though one can be dialed", s.id, s.idled, name)
		}
		d.granted(t, s)
	}
	d.settled()
}

func (d *decisions) giveUp(name string) {
	t := d.requests[name]
	if d.gaveUp(t) {
		d.over(t)
		d.note("%s is gone", name)
	} else {
		d.note("%s does not wait", name)
	}
	d.settled()
}

func (d *decisions) dialSucceeds(id uint64) {
	s := d.slots[id]
	if t := d.dialed(s, d.now); t != nil {
		d.granted(t, s)
	}
	d.settled()
}

func (d *decisions) dialFails(id uint64, f *dialFailure) {
	s := d.slots[id]
	delete(d.slots, id)
	d.dialFailed(s, f, d.now)
	d.settled()
}

// finishes ends the first exchange on connection id well.
func (d *decisions) finishes(id uint64) {
	s := d.slots[id]
	d.over(d.carries[s][0])
	d.carries[s] = d.carries[s][1:]
	t, why := d.freed(s, d.now)
	if why != CloseNone {
		d.note("%d has served its time: %v", id, why)
	}
	for ; t != nil; t = d.follow(s, d.now) {
		d.granted(t, s)
	}
	d.settled()
}

// closes ends connection id, and the exchanges on it.
func (d *decisions) closes(id uint64, early bool) {
	if early {
		d.ends(id, ClosePeerClosedIdle)
	} else {
		d.ends(id, CloseTruncated)
	}
}

// ends ends connection id, and the exchanges on it, for a reason.
func (d *decisions) ends(id uint64, why CloseReason) {
	s := d.slots[id]
	delete(d.slots, id)
	for _, t := range d.carries[s] {
		d.over(t)
	}
	delete(d.carries, s)
	d.metClose(s, why, d.now)
	d.lost(s, why, d.now)
	d.settled()
}

// answers reports what a lookup found.
func (d *decisions) answers(found []located, partial bool) {
	d.answered(found, partial, d.now)
	d.settled()
}

// raises lifts the floor to n for a while.
func (d *decisions) raises(n int, hold time.Duration, upkeep bool) {
	d.raise(raise{n, d.now + hold, upkeep}, d.now)
	d.settled()
}

func (d *decisions) resolves(addrs ...netip.AddrPort) {
	d.resolved(addrs, d.now)
	d.settled()
}

// pass lets time pass, with every tick that was asked for on the way.
func (d *decisions) pass(by time.Duration) {
	end := d.now + by
	for d.due > 0 && d.due <= end {
		d.now = max(d.now, d.due)
		before := d.due
		d.tick(d.now)
		if d.due > 0 && d.due <= before {
			d.tb.Fatalf("a tick at %v asks for another at %v", before, d.due)
		}
		d.settled()
	}
	d.now = end
}

// next lets time pass until the next tick that was asked for.
func (d *decisions) next() {
	if d.due == 0 {
		d.note("nothing is due")
		return
	}
	d.pass(max(0, d.due-d.now))
}

// check holds the decisions' records to what is written about them.
func (d *decisions) check() {
	d.tb.Helper()
	must := func(ok bool, format string, args ...any) {
		d.tb.Helper()
		if !ok {
			d.tb.Fatalf("at %v: %s\n%s", d.now, fmt.Sprintf(format, args...), d.take())
		}
	}
	var dialing, idle, active, retiring, leaving, overdue, doubted int
	type counts struct{ total, dialing, active int }
	per := make(map[*endpoint]counts)
	for id, s := range d.slots {
		c := per[s.endpoint]
		c.total++
		switch s.state {
		case slotDialing:
			dialing++
			c.dialing++
		case slotIdle:
			idle++
			if s.leaving {
				leaving++
			}
			if s.doubted {
				doubted++
				must(!s.leaving, "connection %d is doubted and leaving", id)
			}
			if s.overdue != CloseNone {
				overdue++
				must(s.leaving, "connection %d is overdue and not leaving", id)
			}
		case slotActive:
			active++
			c.active++
			must(s.inflight == len(d.carries[s]) && s.inflight > 0, "connection %d counts %d exchanges, %d are on it", id, s.inflight, len(d.carries[s]))
			must(s.inflight <= max(d.policy.PipelineDepth, d.left.inflight), "connection %d carries %d exchanges, %d are allowed", id, s.inflight, d.policy.PipelineDepth)
		case slotRetiring:
			retiring++
		case slotWatched:
			retiring++
			must(slices.Contains(d.watched, s), "connection %d is watched and not listed", id)
		case slotLost:
			must(false, "connection %d is lost and not reported", id)
		}
		per[s.endpoint] = c
	}
	must(d.dialing == dialing && d.idle == idle && d.active == active,
		"counted %d dialing, %d idle, %d active; there are %d, %d, %d", d.dialing, d.idle, d.active, dialing, idle, active)
	must(d.total == dialing+idle+active+retiring, "counted %d in all, there are %d", d.total, dialing+idle+active+retiring)
	d.left.total, d.left.dialing = min(d.left.total, d.total), min(d.left.dialing, d.dialing)
	must(d.total <= max(d.policy.Max, d.left.total), "%d connections, %d are allowed", d.total, d.policy.Max)
	must(d.dialing <= max(d.policy.MaxDialing, d.left.dialing), "%d dials, %d are allowed", d.dialing, d.policy.MaxDialing)
	must(d.idle == 0 || d.surplus() <= 0, "%d connections are idle and %d too many", d.idle, d.surplus())
	must(d.leaving == leaving && d.overdue == overdue, "counted %d leaving, %d overdue; there are %d, %d", d.leaving, d.overdue, leaving, overdue)

	must(d.doubted == doubted, "counted %d doubted, there are %d", d.doubted, doubted)
	must(d.policy.PipelineDepth == 1 || len(d.busy) == active, "%d connections are listed as active, there are %d", len(d.busy), active)

	old, former := 0, 0
	for _, s := range d.slots {
		switch {
		case !d.outdated(s):
		case s.state == slotDialing:
			former++
		case s.state == slotIdle, s.state == slotActive:
			old++
		}
	}
	must(d.old == old && d.former == former, "counted %d old and %d former, there are %d and %d", d.old, d.former, old, former)
	must(d.credit <= d.old, "%d of %d old connections may go", d.credit, d.old)
	must(d.credit <= 0 || d.draining || !slices.ContainsFunc(d.endpoints, func(e *endpoint) bool { return slices.ContainsFunc(e.idle, d.outdated) }),
		"an old connection may go and is idle")

	known := 0
	for _, e := range d.endpoints {
		c := per[e]
		known += c.total
		must(e.total == c.total && e.dialing == c.dialing && e.active == c.active, "%s counted %d, %d dialing, %d active; there are %+v",
			endpointName(e.addr), e.total, e.dialing, e.active, c)
		must(!e.gone || e.total > 0, "%s is gone and kept", endpointName(e.addr))
		late := 0
		for _, s := range d.flying {
			if s.endpoint == e && s.late {
				late++
			}
		}
		must(e.late == late, "%s counted %d late dials, there are %d", endpointName(e.addr), e.late, late)
		for i, s := range e.idle {
			must(!e.gone || e.moved || s.overdue != CloseNone || e.retireAt > d.now || d.due <= d.now, "%s is gone and has idle connections", endpointName(e.addr))
			must(s.state == slotIdle && s.endpoint == e, "%s lists connection %d as idle", endpointName(e.addr), s.id)
			must(i == 0 || e.idle[i-1].idleSince <= s.idleSince, "%s has its idle connections out of order", endpointName(e.addr))
		}
	}
	for _, e := range d.endpoints {
		for i, s := range e.told.slots {
			must(s.place == i && s.endpoint == e && s.sampled != 0 && s.state != slotLost, "%s lists connection %d as measured", endpointName(e.addr), s.id)
		}
	}
	late := 0
	for _, s := range d.flying {
		must(s.state == slotDialing && d.slots[s.id] == s, "connection %d is listed as being dialed", s.id)
		if s.late {
			late++
		}
	}
	must(len(d.flying) == dialing && d.late == late, "%d dials are listed, %d late; there are %d, %d", len(d.flying), d.late, dialing, late)
	arranged, preferred := slices.Clone(d.endpoints), d.preferred
	d.arrange()
	must(slices.Equal(arranged, d.endpoints) && preferred == d.preferred, "the endpoints are out of order: %d of %d are preferred, not %d", d.preferred, len(arranged), preferred)
	must(known == d.total, "%d of %d connections are at an endpoint that is forgotten", d.total-known, d.total)
	d.checkQueue(must)
	d.checkDue(must)
}

func (d *decisions) checkQueue(must func(bool, string, ...any)) {
	waiting := 0
	var before *ticket
	for t := d.waiting.first; t != nil; before, t = t, t.next {
		waiting++
		must(t.queued && t.prev == before, "the queue's links are torn")
		must(d.names[t] != "", "a request that has ended waits")
		must(t.fresh || d.idle == 0 || d.gate == gatePaused || t.wary && d.now < t.relents || d.due <= d.now, "%s waits while %d are idle", d.names[t], d.idle)
	}
	must(d.waiting.last == before && d.waiting.len == waiting, "the queue counts %d, %d wait", d.waiting.len, waiting)
	carried := 0
	for _, on := range d.carries {
		carried += len(on)
	}
	must(len(d.names) == waiting+carried, "%d requests have not ended, %d wait and %d are carried", len(d.names), waiting, carried)
	must(d.refusal == ReasonNone || waiting == 0 && d.idle == 0, "%d wait and %d are idle after the end", waiting, d.idle)
}

// checkDue holds the time of the next tick to everything that a tick has to
// do, and sees that nothing is put off that could be done now.
func (d *decisions) checkDue(must func(bool, string, ...any)) {
	need := func(at instant, format string, args ...any) {
		must(at == 0 || d.due > 0 && d.due <= at, "the next tick is due at %v, but at %v %s", d.due, at, fmt.Sprintf(format, args...))
	}
	for t := d.waiting.first; t != nil; t = t.next {
		need(t.giveUp, "%s has waited long enough", d.names[t])
		if t.wary && d.idle > 0 && d.gate != gatePaused {
			need(t.relents, "%s takes any connection", d.names[t])
		}
	}
	before := d.due - 1 // the next tick
	if d.due == 0 {
		before = d.now + 1000*time.Hour
	}
	for _, e := range d.endpoints {
		if e.gone && !e.moved && len(e.idle) > e.leaving {
			need(e.retireAt, "a connection to %s may go", endpointName(e.addr))
		}
		for _, s := range e.idle {
			why := CloseNone
			if before > d.now && s.overdue == CloseNone {
				why = d.stale(s, before)
			}
			must(why == CloseNone, "connection %d is stale (%v) at %v, the next tick is due at %v", s.id, why, before, d.due)
		}
	}
	if d.refusal != ReasonNone || d.dialing >= d.policy.MaxDialing || d.total >= d.policy.Max ||
		d.wanting() <= d.relied() && d.owed() <= d.dialing-d.former && d.kept()+d.dialing >= d.want(d.now) && d.unsure(d.now) <= 0 {
		return
	}
	for _, e := range d.endpoints {
		switch {
		case e.gone, e.dialing > 0 && d.doubtful(e), e.late > 0, e.ramp > 0 && e.dialing >= e.ramp:
		case d.heldBack(e) > d.now:
			need(d.heldBack(e), "%s may be dialed again", endpointName(e.addr))
		case d.due > 0 && d.due <= d.now: // the tick that will see to it is late
		default:
			must(false, "%s could be dialed: %d wait, %d dialing, %d of %d kept", endpointName(e.addr), d.waiting.len, d.dialing, d.kept(), d.want(d.now))
		}
	}
}
