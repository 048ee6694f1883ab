package pool

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"
)

// The source of chance is seeded: these tests judge a distribution, and always
// the same one.

// connected has n connections to each of as many endpoints, all idle.
func connected(t *testing.T, policy Policy, endpoints, each int) *decisions {
	t.Helper()
	policy.Max = endpoints * each
	policy.Warm, policy.MaxDialing = policy.Max, policy.Max
	d := newDecisions(t, policy, 7)
	d.resolves(endpointAddrs(endpoints)...)
	for id := range uint64(policy.Max) {
		d.dialSucceeds(id + 1)
	}
	if d.idle != endpoints*each {
		t.Fatalf("%d connections are idle, want %d", d.idle, endpoints*each)
	}
	d.take()
	return d
}

func TestDialsAreSpreadOverTheEndpointsEvenly(t *testing.T) {
	d := connected(t, plainPolicy(), 4, 5)
	for _, e := range d.endpoints {
		if e.total != 5 {
			t.Errorf("%v has %d connections of 20, want 5", e.addr, e.total)
		}
	}
}

func TestOfTwoEndpointsTheLessActiveIsTaken(t *testing.T) {
	d := connected(t, plainPolicy(), 2, 20)
	for range 30 {
		least := min(d.endpoints[0].active, d.endpoints[1].active)
		s := d.ask(&ticket{}, d.now)
		if before := s.endpoint.active - 1; before > least {
			t.Fatalf("an endpoint with %d active was taken, the other had %d", before, least)
		}
	}
}

// With two draws the busiest of many endpoints is never taken while another
// has an idle connection, and the load stays level.
func TestTheLeastActiveOfTwoDrawnEndpointsKeepsTheLoadLevel(t *testing.T) {
	const endpoints, requests = 10, 400
	d := connected(t, plainPolicy(), endpoints, 60)
	for range requests {
		d.ask(&ticket{}, d.now)
	}
	const mean = requests / endpoints
	least, most := math.MaxInt, 0
	for _, e := range d.endpoints {
		least, most = min(least, e.active), max(most, e.active)
	}
	if least < mean-3 || most > mean+3 { // one draw alone would spread about 15 either way
		t.Errorf("active per endpoint: %d to %d, want %d give or take 3", least, most, mean)
	}

	busiest := d.endpoints[0]
	busiest.active += 1000
	for range 50 {
		if s := d.ask(&ticket{}, d.now); s.endpoint == busiest {
			t.Fatal("the busiest endpoint was taken while others had idle connections")
		}
	}
}

func TestAnEndpointWithAnIdleConnectionIsFoundAmongManyWithout(t *testing.T) {
	d := connected(t, plainPolicy(), 20, 1)
	for n := 20; n > 0; n-- {
		if s := d.ask(&ticket{}, d.now); s == nil {
			t.Fatalf("a request waits while %d connections are idle", n)
		}
	}
}

func TestALifetimeEndsUpToTenPercentSooner(t *testing.T) {
	policy := plainPolicy()
	policy.MaxLifetime = 10 * time.Minute
	d := connected(t, policy, 1, 500)
	const soonest = 9 * time.Minute
	var sum time.Duration
	first, last := policy.MaxLifetime, time.Duration(0)
	for _, s := range d.slots {
		life := s.expires - s.opened
		if life < soonest || life > policy.MaxLifetime {
			t.Fatalf("a lifetime of %v, want %v to %v", life, soonest, policy.MaxLifetime)
		}
		first, last, sum = min(first, life), max(last, life), sum+life
	}
	if mean := sum / 500; (mean-(soonest+30*time.Second)).Abs() > 3*time.Second || first > soonest+time.Second || last < policy.MaxLifetime-time.Second {
		t.Errorf("lifetimes from %v to %v, %v on average: not spread evenly", first, last, mean)
	}
}

func TestTheLifetimeOfAShortLivedConnectionIsStillJittered(t *testing.T) {
	policy := plainPolicy()
	policy.MaxLifetime = 1
	if d := connected(t, policy, 1, 1); d.idle != 1 {
		t.Error("a lifetime of a nanosecond is not accepted")
	}
}

// The pauses after failures are drawn between nothing and a bound that
// doubles, up to two seconds.
func TestPausesAfterFailedDialsDoubleWithFullJitter(t *testing.T) {
	const rounds, samples = 12, 300
	var sums [rounds]time.Duration
	var longest [rounds]time.Duration
	for seed := range uint64(samples) {
		policy := plainPolicy()
		policy.Warm = 1
		d := newDecisions(t, policy, seed)
		d.resolves(endpointAddr(1))
		for round := range rounds {
			d.dialFails(d.nextID, &dialFailure{reason: ReasonDialRefused})
			pause := d.endpoints[0].retryAt - d.now
			sums[round] += pause
			longest[round] = max(longest[round], pause)
			d.next()
		}
	}
	for round := range rounds {
		bound := min(backoffFirst<<round, backoffMost)
		mean := sums[round] / samples
		if longest[round] > bound || longest[round] < bound*9/10 {
			t.Errorf("round %d: the longest pause is %v, want up to %v", round, longest[round], bound)
		}
		if mean < bound*4/10 || mean > bound*6/10 {
			t.Errorf("round %d: pauses of %v on average, want about half of %v", round, mean, bound)
		}
	}
}

func TestTheSameEventsGiveTheSameDecisions(t *testing.T) {
	play := func() string {
		policy := plainPolicy()
		policy.Max, policy.Warm = 6, 6
		d := newDecisions(t, policy, 3)
		d.resolves(endpointAddrs(3)...)
		for id := uint64(1); id <= 4; id++ {
			d.dialSucceeds(id)
		}
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			d.request(name, &ticket{})
		}
		return d.take()
	}
	if one, two := play(), play(); one != two {
		t.Errorf("once\n%s\nthen\n%s", one, two)
	}
}

// Connections that were made together and carry the same number of requests come to
// their last one one after the other.
func TestConnectionsReachTheirLastRequestOneAfterTheOther(t *testing.T) {
	for _, c := range []struct {
		limit, connections int
		first, together    int // the round in which the first may end, and how many may in one
	}{
		{limit: 200, connections: 20, first: 180, together: 2},
		{limit: 100, connections: 50, first: 90, together: 7},
		{limit: 10, connections: 8, first: 9, together: 5},
		{limit: 9, connections: 8, first: 9, together: 8},
		{limit: 1, connections: 8, first: 1, together: 8},
	} {
		policy := plainPolicy()
		policy.MaxRequests = c.limit
		d := connected(t, policy, 1, c.connections)
		generation := slices.Collect(maps.Values(d.slots))
		for round := 1; len(generation) > 0; round++ {
			before := len(generation)
			generation = slices.DeleteFunc(generation, func(s *slot) bool {
				s.exchanges++
				return d.lastExchange(s, 0)
			})
			switch ended := before - len(generation); {
			case ended > 0 && round < c.first, round > c.limit:
				t.Errorf("of at most %d requests %d connections had carried the last after %d", c.limit, ended, round)
			case ended > c.together:
				t.Errorf("of at most %d requests %d connections of %d had carried the last after %d, want at most %d", c.limit, ended, c.connections, round, c.together)
			}
		}
	}
}
