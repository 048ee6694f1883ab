package pool

import "testing"

// lifeEvent is one verb of life.
type lifeEvent struct {
	name string
	do   func(*life) bool
}

var lifeEvents = []lifeEvent{
	{"established", (*life).established},
	{"begin", (*life).begin},
	{"end well", func(l *life) bool { return l.end(CloseNone) }},
	{"end badly", func(l *life) bool { return l.end(CloseTruncated) }},
	{"drain", func(l *life) bool { return l.drain(CloseIdleTimeout) }},
	{"close", func(l *life) bool { return l.close(CloseByPeer) }},
}

// lifeStart is a state, and one way to get there.
type lifeStart struct {
	name string
	life life
}

var lifeStarts = []lifeStart{
	{"dialing", life{}},
	{"idle", life{state: stateIdle}},
	{"active 1", life{state: stateActive, outstanding: 1}},
	{"active 2", life{state: stateActive, outstanding: 2}},
	{"draining", life{state: stateDraining, reason: CloseMaxLifetime}},
	{"closed", life{state: stateClosed, reason: CloseCancelled}},
}

// The table of every state and every verb: the life behind it, or nothing
// where the verb does not fit and changes nothing.
func TestEveryVerbInEveryStateOfAConnection(t *testing.T) {
	idle := life{state: stateIdle}
	active := func(n int) life { return life{state: stateActive, outstanding: n} }
	closed := func(why CloseReason) life { return life{state: stateClosed, reason: why} }
	table := map[string]map[string]life{
		"dialing": {
			"established": idle,
			"close":       closed(CloseByPeer),
		},
		"idle": {
			"begin": active(1),
			"drain": {state: stateDraining, reason: CloseIdleTimeout},
			"close": closed(CloseByPeer),
		},
		"active 1": {
			"begin":     active(2),
			"end well":  idle,
			"end badly": closed(CloseTruncated),
			"close":     closed(CloseByPeer),
		},
		"active 2": {
			"begin":     active(3),
			"end well":  active(1),
			"end badly": closed(CloseTruncated),
			"close":     closed(CloseByPeer),
		},
		"draining": {
			"close": closed(CloseMaxLifetime), // the first cause stands
		},
		"closed": {},
	}
	for _, start := range lifeStarts {
		for _, event := range lifeEvents {
			t.Run(start.name+"/"+event.name, func(t *testing.T) {
				l := start.life
				want, fits := table[start.name][event.name]
				if !fits {
					want = start.life
				}
				if got := event.do(&l); got != fits {
					t.Errorf("reported %v, want %v", got, fits)
				}
				if l != want {
					t.Errorf("is %+v behind it, want %+v", l, want)
				}
			})
		}
	}
}

func TestConnectionStatesHaveTheNamesOperatorsSee(t *testing.T) {
	for state, name := range map[connState]string{
		stateDialing: "dialing", stateIdle: "idle", stateActive: "active", stateDraining: "draining", stateClosed: "closed", stateClosed + 1: "INVALID",
	} {
		if state.String() != name {
			t.Errorf("state %d is called %s, want %s", uint8(state), state, name)
		}
	}
}
