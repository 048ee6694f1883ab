package main

import (
	"fmt"
	"regexp"
	"time"
)

// Peer is what stands between the client and the origin.
type Peer string

// The peers. How each is started is said in peer.go.
const (
	Direct       Peer = "direct" // nothing: the client asks the origin
	HAProxy      Peer = "haproxy"
	ReverseProxy Peer = "reverseproxy"
	Warmpool     Peer = "warmpool"
)

// Front is how the client reaches the peer.
type Front string

// The fronts.
const (
	Unix Front = "unix"
	TCP  Front = "tcp" // on loopback
)

// Scenario is one row of the report: through whom a client asks, how, how many
// requests at once, and how large the bodies are.
type Scenario struct {
	Name     string     `json:"name"`
	Peer     Peer       `json:"peer"`
	Client   ClientKind `json:"client"`
	Front    Front      `json:"front"`
	InFlight int        `json:"in_flight"`
	Body     int        `json:"body_bytes"`                 // of each answer
	Upload   bool       `json:"upload,omitempty"`           // the body is the request's instead
	Depth    int        `json:"pipelining_depth,omitempty"` // requests on a connection to the origin at once; 0: one
	Other    bool       `json:"other,omitempty"`            // it is the binary of -other

	Limited   bool      `json:"limited,omitempty"`          // the sidecar tells callers apart, and each may have callerLimit in flight
	Greedy    int       `json:"greedy_in_flight,omitempty"` // of another caller, who asks all the while
	Telemetry Telemetry `json:"telemetry,omitempty"`
}

// ID names the scenario among all of a run.
func (s Scenario) ID() string {
	way := "body"
	if s.Upload {
		way = "upload"
	}
	return fmt.Sprintf("%s/in-flight=%d/%s=%d", s.Name, s.InFlight, way, s.Body)
}

// Load is what rows must have in common to be compared.
type Load struct {
	InFlight int  `json:"in_flight"`
	Body     int  `json:"body_bytes"`       // of each answer
	Upload   bool `json:"upload,omitempty"` // the body is the request's instead
	Requests int  `json:"requests"`         // of each row in each round
	// After is the time from a request to its answer, at the origin. 0: as little as may be.
	After time.Duration `json:"after_ns,omitempty"`
}

// Group is the scenarios under one load. They take turns in each round.
type Group struct {
	Load
	About       About
	Base        string // name of the scenario that the others are compared with
	LeastRounds int
	Scenarios   []Scenario
}

// About is what a group compares.
type About string

// What groups compare.
const (
	Peers   About = ""          // warmpool with others
	Callers About = "greedy"    // what a modest caller sees, alone and beside a greedy one
	Telling About = "telemetry" // what it costs that the sidecar tells of itself
)

// ways are the rows of each group for requests. What a new way of asking needs is
// a line here and, for a new client, one in clientKinds.
var ways = []Scenario{
	{Name: "net/http direct", Peer: Direct, Client: NetHTTP, Front: TCP},
	{Name: rowHAProxy, Peer: HAProxy, Client: NetHTTP, Front: Unix},
	{Name: "net/http via HAProxy over TCP", Peer: HAProxy, Client: NetHTTP, Front: TCP},
	{Name: "net/http via ReverseProxy", Peer: ReverseProxy, Client: NetHTTP, Front: Unix},
	{Name: rowSend, Peer: Warmpool, Client: Send, Front: Unix},
	{Name: rowSession, Peer: Warmpool, Client: Session, Front: Unix},
	{Name: rowPipelined, Peer: Warmpool, Client: Session, Front: Unix, Depth: 4},
}

// bulkWays are the rows of each group for long bodies.
var bulkWays = []Scenario{
	{Name: rowHAProxy, Peer: HAProxy, Client: NetHTTP, Front: Unix},
	{Name: rowStream, Peer: Warmpool, Client: Stream, Front: Unix},
}

// The rows that targets are set for, and the one that others are compared with.
const (
	rowHAProxy   = "net/http via HAProxy"
	rowSend      = "warmpool Send"
	rowSession   = "warmpool Session"
	rowPipelined = "warmpool Session, pipelined"
	rowStream    = "warmpool Stream"
)

// A round of a row is long enough to dwarf the 1 ms or so that starting and
// reading it costs, and what a process finds cold after the other rows' turns,
// and short enough that a round of all rows sees one and the same machine.
var loads = []Load{
	{InFlight: 64, Body: 128, Requests: 60_000},
	{InFlight: 1, Body: 128, Requests: 10_000},
	{InFlight: 64, Body: 16 << 10, Requests: 10_000},
	{InFlight: 4, Body: 1 << 20, Requests: 400},
	{InFlight: 4, Body: 32 << 20, Requests: 16},
	{InFlight: 1, Body: 1 << 30, Requests: 1},
	{InFlight: 4, Body: 1 << 20, Upload: true, Requests: 400},
	{InFlight: 4, Body: 32 << 20, Upload: true, Requests: 16},
	{InFlight: 1, Body: 1 << 30, Upload: true, Requests: 1},
}

// bulk reports that what is measured is the cost of a byte.
func (l Load) bulk() bool { return l.Body >= 1<<20 }

// ways are the rows of a group with this load.
func (l Load) ways() []Scenario {
	if l.bulk() {
		return bulkWays
	}
	return ways
}

// quickly makes a load one of a smoke test.
func (l Load) quickly() Load {
	l.Requests = min(l.Requests, 100+10*l.InFlight)
	if l.bulk() {
		l.Requests = 1
		l.Body = min(l.Body, 64<<20)
	}
	return l
}

// everything is all groups that there are.
func everything() []Group {
	var groups []Group
	for _, l := range loads {
		groups = append(groups, Group{Load: l, Base: rowHAProxy, Scenarios: l.ways()})
	}
	return append(append(groups, callerGroups()...), telemetryGroups()...)
}

// suite is every scenario whose ID matches, in groups; with other, those of
// warmpool a second time, by the other binary. Groups without a match are left
// out.
func suite(match *regexp.Regexp, quick, other bool) []Group {
	var groups []Group
	for _, g := range everything() {
		if quick {
			g.Load, g.LeastRounds = g.quickly(), 0
		}
		scenarios := g.Scenarios
		g.Scenarios = nil
		for _, s := range scenarios {
			s.InFlight, s.Body, s.Upload = g.InFlight, g.Body, g.Upload
			if !match.MatchString(s.ID()) {
				continue
			}
			g.Scenarios = append(g.Scenarios, s)
			if other && s.Peer == Warmpool {
				s.Name, s.Other = "other "+s.Name, true
				g.Scenarios = append(g.Scenarios, s)
			}
		}
		if len(g.Scenarios) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

// turn is the order in which n rows take their turns in a round: each round
// begins one row later, and every other one goes backwards, so that none is always
// behind the same other and what that has left in the caches.
func turn(n, round int) []int {
	order := make([]int, n)
	for i := range order {
		if round%2 == 0 {
			order[i] = (round + i) % n
		} else {
			order[i] = (round%n + n - i) % n
		}
	}
	return order
}
