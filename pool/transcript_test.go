package pool

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what is decided into the transcripts, to be reviewed as a diff")

// TestTranscripts plays the files in testdata/admission: events, four dashes,
// and what was decided; an empty line ends a block. The events are:
//
//	policy max=4 …         begin anew, with plainPolicy and these differences
//	change max=2 …         the policy is plainPolicy with these differences from now on
//	resolve e1 e2 …        the host has these addresses
//	answer e1 e2:1/5 … [partial] a lookup found these, of a service with priority and weight
//	unresolved [permanent] the host has none
//	ask a [fresh] [again] [wary] [pipelinable] [deadline=1s] [size=1000000]
//	gone a                 the caller of a gives up
//	dialed 1               connection 1 stands
//	failed 1 [permanent]   it could not be made
//	connected 1            its TCP connection stands, TLS does not
//	held 1                 it waits for dials of other upstreams
//	passed 1               it waits no more
//	unanswered 1           it could not be made for want of an answer
//	done 1                 its exchange is over and it may carry another
//	lost 1 [early] [blame] it is closed; early: by the peer, unused; blame: with unanswered exchanges on it;
//	       [by_peer]       by_peer: as its response said
//	limit 1 30s            how long its server lets it idle
//	measured 1 window=10 rtt=50ms [least=40ms] [sent=1s] [segments=9] [again=2] [unanswered] [keeps]
//	                       what the kernel says of it: congestion window in segments of 1000 bytes, round trip (the
//	                       timeout is 200ms more), data last sent so long ago, segments so far and those sent again;
//	                       keeps: idleness does not lower its window
//	received 1 100000      the response of the exchange on it had so many bytes
//	pass 1s                time passes, ticks included
//	late 1s                time passes and the ticks do not come
//	next                   time passes until the next tick
//	pause [1s]             requests wait, for a while or until resumed
//	resume
//	drain                  the upstream is drained
//	reconnect              all connections are replaced
//	moved                  the upstream is another origin
//	close 1                an operator wants it closed
//	raise 4 1m [upkeep]    the floor is raised to 4 for a minute
//	shut                   the upstream is closed
//	numbers                the upstream's numbers
//	replacing              what is left to be replaced
//	endpoints              connections and standing of each address
//	fails e1               rounds of failures in a row
//
// Words behind # are remarks.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/admission/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playTranscript(t, file) })
	}
}

func playTranscript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var d *decisions
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimRight(string(text), "\n"), "\n\n") {
		events, want, found := strings.Cut(block+"\n", "----\n")
		if !found {
			out.WriteString(block + "\n\n") // remarks
			continue
		}
		for line := range strings.Lines(events) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
			if words := strings.Fields(line); len(words) > 0 {
				d = playEvent(t, d, words)
			}
		}
		got := d.take()
		if got != "" {
			got += "\n"
		}
		if !*rewrite && got != want {
			t.Errorf("%s\n%sdecided:\n%swant:\n%s", file, events, got, want)
		}
		out.WriteString(events + "----\n" + got + "\n")
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func playEvent(t *testing.T, d *decisions, words []string) *decisions {
	t.Helper()
	verb, args, options := words[0], []string(nil), make(map[string]string)
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		options[name] = value
		args = append(args, w)
	}
	has := func(option string) bool { _, there := options[option]; return there }
	span := func(text string) time.Duration {
		s, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", strings.Join(words, " "), err)
		}
		return s
	}
	connection := func() uint64 {
		id, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil || d.slots[id] == nil {
			t.Fatalf("%s: there is no connection %s", strings.Join(words, " "), args[0])
		}
		return id
	}
	number := func(option string) int {
		if !has(option) {
			return 0
		}
		n, err := strconv.Atoi(options[option])
		if err != nil {
			t.Fatalf("%s: %v", strings.Join(words, " "), err)
		}
		return n
	}
	refused := func(reason Reason) *dialFailure {
		return &dialFailure{reason: reason, detail: "no luck", err: errors.New("boom"), permanent: has("permanent")}
	}
	switch verb {
	case "policy":
		return newDecisions(t, policyOf(t, options, span), 1)
	case "change":
		d.changes(policyOf(t, options, span))
	case "resolve":
		addrs := endpointAddrs(0)
		for _, name := range args {
			addrs = append(addrs, endpointNamed(t, name))
		}
		d.resolves(addrs...)
	case "answer":
		var found []located
		for _, text := range args {
			if text == "partial" {
				continue
			}
			name, figures, weighed := strings.Cut(text, ":")
			f := located{addr: endpointNamed(t, name), weighed: weighed}
			if weighed {
				if _, err := fmt.Sscanf(figures, "%d/%d", &f.priority, &f.weight); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			found = append(found, f)
		}
		d.answers(found, has("partial"))
	case "unresolved":
		d.unresolved(refused(ReasonDNSFailed), d.now)
		d.settled()
	case "ask":
		r := &ticket{fresh: has("fresh"), again: has("again"), wary: has("wary"), pipelinable: has("pipelinable"), size: int64(number("size"))}
		if has("deadline") {
			r.deadline = d.now + span(options["deadline"])
		}
		d.request(args[0], r)
	case "gone":
		d.giveUp(args[0])
	case "dialed":
		d.dialSucceeds(connection())
	case "failed":
		d.dialFails(connection(), refused(ReasonDialRefused))
	case "connected":
		d.slots[connection()].connected = true
	case "held":
		d.slots[connection()].held = true
	case "passed":
		d.passed(d.slots[connection()], d.now)
		d.settled()
	case "unanswered":
		d.dialFails(connection(), refused(ReasonDialTimeout))
	case "done":
		d.finishes(connection())
	case "lost":
		id := connection()
		if has("by_peer") {
			d.ends(id, CloseByPeer)
			break
		}
		if has("blame") {
			d.badPipeline(d.slots[id], d.now)
		}
		d.closes(id, has("early"))
	case "limit":
		d.slots[connection()].idleLimit = span(args[1])
	case "measured":
		sample := tcpSample{
			rtt: span(options["rtt"]), mss: 1000, window: number("window"),
			segments: uint64(number("segments")), retransmits: uint64(number("again")),
		}
		sample.rto = sample.rtt + 200*time.Millisecond
		if sample.leastRTT = sample.rtt; has("least") {
			sample.leastRTT = span(options["least"])
		}
		if has("sent") {
			sample.lastSent = span(options["sent"])
		}
		if has("unanswered") {
			sample.unanswered = 1
		}
		d.measured(d.slots[connection()], sample, !has("keeps"), d.now)
		d.settled()
	case "received":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			t.Fatal(err)
		}
		d.note("spared %d round trips", d.slots[connection()].carried(0, int64(n), d.now))
	case "pass":
		d.pass(span(args[0]))
	case "late":
		d.now += span(args[0])
	case "next":
		d.next()
	case "pause":
		until := instant(0)
		if len(args) > 0 {
			until = d.now + span(args[0])
		}
		if !d.pause(until, d.now) {
			d.note("cannot be paused")
		}
		d.settled()
	case "resume":
		d.resume(d.now)
		d.settled()
	case "drain":
		d.empty(d.now)
		d.settled()
	case "reconnect":
		d.reconnect(d.now)
		d.settled()
	case "moved":
		d.moved(d.now)
		d.settled()
	case "close":
		d.discard(d.slots[connection()], CloseByOperator, d.now)
		d.settled()
	case "raise":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			t.Fatal(err)
		}
		d.raises(n, span(args[1]), has("upkeep"))
	case "shut":
		d.shut(ReasonDraining)
		d.settled()
	case "fails":
		for _, e := range d.endpoints {
			if endpointName(e.addr) == args[0] {
				d.note("%d", e.fails)
			}
		}
	case "endpoints":
		for i, e := range d.endpoints {
			text := fmt.Sprintf("%s: %d", endpointName(e.addr), e.total)
			for _, is := range []struct {
				so   bool
				name string
			}{{e.gone, "gone"}, {e.misses > 0 && !e.gone, "missing"}, {d.doubtful(e), "failed"}, {i < d.preferred, "preferred"}} {
				if is.so {
					text += " " + is.name
				}
			}
			d.note("%s", text)
		}
	case "replacing":
		d.note("%d old, %d owed, %d replaced", d.old, d.owed(), d.replaced)
	case "numbers":
		d.note("%s", strings.TrimSpace(numbers(d.state(0))))
	default:
		t.Fatalf("unknown event %q", verb)
	}
	return d
}

// endpointNamed is an address: e1, e2, … are IPv4, s1, s2, … IPv6.
func endpointNamed(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	n, err := strconv.Atoi(name[1:])
	if err != nil {
		t.Fatal(err)
	}
	if name[0] == 's' {
		return endpointAddrSix(n)
	}
	return endpointAddr(n)
}

func policyOf(t *testing.T, options map[string]string, span func(string) time.Duration) Policy {
	t.Helper()
	p := plainPolicy()
	for name, value := range options {
		var err error
		switch name {
		case "max":
			p.Max, err = strconv.Atoi(value)
		case "max_dialing":
			p.MaxDialing, err = strconv.Atoi(value)
		case "max_waiting":
			p.MaxWaiting, err = strconv.Atoi(value)
		case "max_requests":
			p.MaxRequests, err = strconv.Atoi(value)
		case "round_robin":
			p.Selection = SelectRoundRobin
		case "warmest":
			p.Selection = SelectWarmest
		case "pipeline":
			p.PipelineDepth, err = strconv.Atoi(value)
		case "upkeep":
			p.Upkeep.Connections, err = strconv.Atoi(value)
		case "interval":
			p.Upkeep.Interval = span(value)
		case "after_use":
			p.Upkeep.AfterUse = span(value)
		case "warm":
			p.Warm, err = strconv.Atoi(value)
		case "preconnect":
			p.Preconnect, err = strconv.ParseFloat(value, 64)
		case "peak_memory":
			p.PeakMemory = span(value)
		case "max_wait":
			p.MaxWait = span(value)
		case "max_idle_time":
			p.MaxIdleTime = span(value)
		case "max_lifetime":
			p.MaxLifetime = span(value)
		default:
			err = fmt.Errorf("no such field")
		}
		if err != nil {
			t.Fatalf("policy %s=%s: %v", name, value, err)
		}
	}
	return p
}
