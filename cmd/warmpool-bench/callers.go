package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What one caller has from another is measured with two of them, told apart by
// tokens, as one user can have two. Each may have callerLimit in flight, half of
// the connections that there are: the setting that keeps one from starving the
// other.
const (
	callerLimit    = 32
	modestInFlight = 4
	greedyInFlight = 1000
)

// callerGroups compare what a modest caller sees: of an origin that takes its time,
// where callers share connections, and of one that answers at once, where they
// share the machine.
func callerGroups() []Group {
	var groups []Group
	for _, after := range []time.Duration{5 * time.Millisecond, 0} {
		for _, kind := range []struct {
			name   string
			client ClientKind
		}{{"Send", Send}, {"Session", Session}} {
			name := "greedy: " + kind.name
			if after > 0 {
				name += " after " + after.String()
			}
			name += ", a modest caller "
			alone := Scenario{Name: name + "alone", Peer: Warmpool, Client: kind.client, Front: Unix, Limited: true}
			beside := alone
			beside.Name, beside.Greedy = name+"beside a greedy one", greedyInFlight
			groups = append(groups, Group{
				Load:  Load{InFlight: modestInFlight, Body: 128, After: after, Requests: 2_000},
				About: Callers, Base: alone.Name, Scenarios: []Scenario{alone, beside},
			})
		}
	}
	return groups
}

// The callers of a Limited scenario.
const (
	modestCaller = "modest"
	greedyCaller = "greedy"
)

// limitCallers makes a token for each caller, in a file of its name in dir, and
// says what of a configuration tells the callers apart and limits them.
func limitCallers(dir string) (tokens map[string]string, text string, err error) {
	tokens = make(map[string]string)
	var b strings.Builder
	fmt.Fprintf(&b, "callers: {max_in_flight: %d, max_waiting: %d, max_wait: 30s}\nallow:\n", callerLimit, 2*greedyInFlight)
	for _, caller := range []string{modestCaller, greedyCaller} {
		tokens[caller] = rand.Text()
		if err := os.WriteFile(filepath.Join(dir, caller), []byte(tokens[caller]), 0o600); err != nil {
			return nil, "", err
		}
		fmt.Fprintf(&b, "  - {token_file: %s, upstreams: [%s]}\n", caller, upstreamName)
	}
	return tokens, b.String(), nil
}
