package pool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// FuzzAdmission feeds the decisions any sequence of events and holds them to
// their invariants behind each. The first bytes choose the policy, each pair
// that follows one event and what it is about. In the end everything that is
// under way ends, and nothing may be left.
func FuzzAdmission(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 1, 3, 0, 5, 0})
	f.Add([]byte{1, 3, 2, 1, 7, 15, 0, 2, 1, 0, 1, 1, 4, 0, 10, 50, 5, 0, 3, 0, 12, 0})
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		events := make([]byte, 400)
		for i := range events {
			events[i] = byte(random.Uint32())
		}
		f.Add(events)
	}
	f.Fuzz(func(t *testing.T, events []byte) {
		var choices [6]byte
		rest := events[copy(choices[:], events):]
		rest = rest[:min(len(rest), 600)]
		d := newDecisions(t, fuzzedPolicy(choices), uint64(choices[5]))
		for n := 0; len(rest) >= 2; n++ {
			fuzzEvent(d, n, rest[0], int(rest[1]))
			rest = rest[2:]
			d.take()
		}
		finishAll(t, d)
	})
}

// fuzzedPolicy has limits small enough to be met all the time.
func fuzzedPolicy(b [6]byte) Policy {
	p := plainPolicy()
	p.Max = 1 + int(b[0]%6)
	p.Warm = min(int(b[0]>>4), p.Max)
	p.MaxDialing = 1 + int(b[1]%4)
	p.MaxRequests = int(b[1]>>4) % 4
	p.MaxWaiting = int(b[2] % 8)
	p.PipelineDepth = 1 + int(b[2]>>4)%4
	p.MaxWait = time.Duration(b[3]%4) * 500 * time.Millisecond
	p.MaxIdleTime = time.Duration(b[3]>>4%4) * time.Second
	p.MaxLifetime = time.Duration(b[4]%4) * 3 * time.Second
	p.Selection = Selection(b[4] >> 4 % 3)
	p.PeakMemory = time.Duration(b[4]>>5%3) * time.Second
	p.Preconnect = 1 + float64(b[5]%3)/2
	return p
}

// fuzzEvent plays the n-th event.
func fuzzEvent(d *decisions, n int, event byte, about int) {
	// pick is one of the connections in a state, in the order of their ids.
	pick := func(states ...slotState) (uint64, bool) {
		var ids []uint64
		for id, s := range d.slots {
			if slices.Contains(states, s.state) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		if len(ids) == 0 {
			return 0, false
		}
		return ids[about%len(ids)], true
	}
	switch event % 16 {
	case 0, 1, 2, 3:
		r := &ticket{fresh: about%8 == 1, again: about%8 < 3, pipelinable: about%8 > 3}
		r.wary = !r.pipelinable && about%3 == 0
		if about%16 > 12 {
			r.deadline = d.now + time.Duration(about)*10*time.Millisecond
		}
		if about%5 == 0 {
			r.size = int64(about) * 1000
		}
		d.request(fmt.Sprintf("r%d", n), r)
	case 4, 5:
		if id, ok := pick(slotDialing); ok {
			d.dialSucceeds(id)
		}
	case 6:
		if id, ok := pick(slotDialing); ok {
			d.dialFails(id, &dialFailure{reason: ReasonDialRefused + Reason(about/16%3), permanent: about%16 == 0})
		}
	case 7, 8, 9:
		if id, ok := pick(slotActive); ok {
			d.finishes(id)
		}
	case 10:
		if id, ok := pick(slotActive, slotIdle, slotRetiring); ok {
			if about%32 == 0 {
				d.badPipeline(d.slots[id], d.now)
			}
			s := d.slots[id]
			d.closes(id, about%2 == 0)
			if about%4 == 0 { // an exchange that learns late that its connection is gone
				if t, why := d.freed(s, d.now); t != nil || why != CloseNone {
					d.tb.Fatalf("connection %d is lost, and freed for %v (%v)", id, t, why)
				}
				d.settled()
			}
		}
	case 11:
		if id, ok := pick(slotRetiring); ok {
			d.closes(id, false)
		}
	case 12:
		var waiting []string
		for t := d.waiting.first; t != nil; t = t.next {
			waiting = append(waiting, d.names[t])
		}
		if len(waiting) > 0 {
			d.giveUp(waiting[about%len(waiting)])
		}
	case 13:
		if about%4 > 0 {
			fuzzAnswer(d, about)
			return
		}
		from := about % 3
		d.resolves(endpointAddrs(4)[from : from+1+about%2]...)
	case 14:
		d.pass(time.Duration(about) * 5 * time.Millisecond)
	case 15:
		switch about % 9 {
		case 0:
			d.unresolved(&dialFailure{reason: ReasonDNSFailed}, d.now)
			d.settled()
		case 1:
			d.now += time.Duration(about) * time.Millisecond // the tick is late
		case 2:
			if id, ok := pick(slotActive); ok {
				d.slots[id].idleLimit = time.Duration(about) * 10 * time.Millisecond
			}
		case 8:
			d.raises(about%7, time.Duration(about)*20*time.Millisecond, about%2 == 0)
		case 3:
			if about == 3 {
				d.shut(ReasonDraining)
				d.settled()
			}
		case 5:
			fuzzOperator(d, about)
		case 6:
			if id, ok := pick(slotDialing, slotIdle, slotActive, slotRetiring); ok {
				d.discard(d.slots[id], CloseByOperator, d.now)
				d.settled()
			}
		case 7:
			if id, ok := pick(slotActive, slotIdle, slotRetiring); ok {
				rtt := time.Duration(1+about*n%97) * time.Millisecond
				d.measured(d.slots[id], tcpSample{
					rtt: rtt, leastRTT: rtt, rto: 2 * rtt, mss: 1000, window: 1 + about, unanswered: about % 16 / 15,
					segments: uint64(10 * n), retransmits: uint64(n / (1 + about)),
				}, about%3 > 0, d.now)
				d.settled()
			}
		case 4:
			d.changes(fuzzedPolicy([6]byte{byte(n), byte(about), byte(n + about), byte(n * about), byte(about ^ n)}))
		}
	}
}

// fuzzAnswer plays what a lookup may find: some of three addresses of each family.
func fuzzAnswer(d *decisions, about int) {
	var found []located
	for i := range 6 {
		f := located{addr: endpointAddr(i), weighed: about%3 == 0, priority: uint16(i % 2), weight: uint16(i * about)}
		if i >= 3 {
			f.addr = endpointAddrSix(i)
		}
		if about>>i%2 == 0 {
			found = append(found, f)
		}
	}
	if len(found) > 0 {
		d.answers(found, about%8 == 1)
	}
}

// fuzzOperator plays what an operator may do.
func fuzzOperator(d *decisions, about int) {
	switch about / 8 % 8 {
	case 0:
		d.pause(0, d.now)
	case 1:
		d.pause(d.now+time.Duration(about)*time.Millisecond, d.now)
	case 2, 3:
		d.resume(d.now)
	case 4:
		d.empty(d.now)
	case 5, 6:
		d.reconnect(d.now)
	case 7:
		d.moved(d.now)
	}
	d.settled()
}

// finishAll ends what is under way until nothing is, and expects that every
// request has ended and every connection is accounted for.
func finishAll(t *testing.T, d *decisions) {
	d.shut(ReasonDraining)
	d.settled()
	for len(d.slots) > 0 {
		for id, s := range d.slots {
			switch s.state {
			case slotDialing:
				if id%2 == 0 {
					d.dialSucceeds(id)
				} else {
					d.dialFails(id, &dialFailure{reason: ReasonDialFailed})
				}
			case slotActive:
				d.finishes(id)
			default:
				d.closes(id, false)
			}
		}
	}
	if len(d.names) > 0 || d.total != 0 || d.active != 0 || d.idle != 0 || d.dialing != 0 || d.waiting.len != 0 {
		t.Fatalf("left over: %d requests, %d connections, %d active, %d idle, %d dialing, %d waiting",
			len(d.names), d.total, d.active, d.idle, d.dialing, d.waiting.len)
	}
}
