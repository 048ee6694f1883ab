package pool

import (
	"net/netip"
	"testing"
	"time"
)

var testPair = portPair{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddrPort("127.0.0.2:80")}

func all(netip.AddrPort) bool { return true }

func TestAPortIsHeldForAMinuteByWhoClosesFirst(t *testing.T) {
	var p ports
	p.opened(testPair, 0, 100)
	p.opened(testPair, 0, 100)
	p.closed(testPair, true, 10*time.Second)
	p.closed(testPair, false, 10*time.Second)
	for at, want := range map[time.Duration]int{10 * time.Second: 1, 60 * time.Second: 1, 71 * time.Second: 0, time.Hour: 0} {
		var q ports // one look must not age the counts of another
		q.mu.pairs = map[portPair]*portUse{testPair: {waiting: p.mu.pairs[testPair].waiting, second: 10}}
		got := q.list(at, 100, all)
		if len(got) != 1 || got[0].TimeWait != want || got[0].Open != 0 {
			t.Errorf("after %s: %+v, want %d held", at, got, want)
		}
	}
}

func TestShortPortsAreToldOnce(t *testing.T) {
	var p ports
	told := 0
	for i := range 100 {
		use, short := p.opened(testPair, 0, 100)
		if short {
			told++
			if use.Open != 80 || i != 79 {
				t.Errorf("told at %d open of 100", use.Open)
			}
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestPairsWithoutPortsAreForgotten(t *testing.T) {
	var p ports
	p.opened(testPair, 0, 100)
	p.closed(testPair, false, time.Second)
	if len(p.mu.pairs) != 0 {
		t.Error("a pair without ports is kept")
	}
	if use, short := p.opened(testPair, 0, 0); short || use.Range != 0 {
		t.Error("an unknown range was judged")
	}
}
