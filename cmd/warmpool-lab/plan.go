package main

import (
	"fmt"
	"slices"
	"time"
)

// Plan is what is measured. Every process of a run holds the same one.
type Plan struct {
	Quick    bool            `json:"quick"`
	Idles    []time.Duration `json:"idles_ns"`       // before a request, the longest last
	Closes   []time.Duration `json:"closes_ns"`      // of the origins: when they close an idle connection
	Sizes    []int           `json:"sizes"`          // of bodies; the first is the small one
	Light    int             `json:"light_rounds"`   // of requests of the small size
	Heavy    int             `json:"heavy_rounds"`   // of the larger ones and of bursts
	Each     int             `json:"each"`           // requests of the small size per cell and light round
	Larger   int             `json:"larger"`         // requests of the larger sizes per cell and heavy round
	Burst    int             `json:"burst"`          // requests at once
	Bursts   int             `json:"bursts"`         // per cell and heavy round
	Posts    int             `json:"posts"`          // around the moment of close, of each way
	Objects  int             `json:"objects_rounds"` // of the objects
	Uploads  int             `json:"uploads"`        // among several connections
	Keeping  int             `json:"keeping"`        // downloads on a window that was opened before, kept and not
	Loaded   time.Duration   `json:"loaded_ns"`      // for which a bounded pool is under load, each time
	Loads    int             `json:"loads"`          // such times
	New      int             `json:"new"`            // requests on new connections, per cell
	SelfTest int             `json:"self_test"`      // round trips that test the link
}

func fullPlan() Plan {
	return Plan{
		Idles:  []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, 70 * time.Second},
		Closes: []time.Duration{5 * time.Second, 60 * time.Second},
		Sizes:  []int{1000, 100_000, 1_000_000},
		Light:  3, Heavy: 2, Each: 15, Larger: 2, Burst: 32, Bursts: 2, Posts: 600, Objects: 3, Uploads: 20, Keeping: 10, Loaded: 10 * time.Second, Loads: 2, New: 20, SelfTest: 200,
	}
}

// quickPlan runs everything once, in less than a minute.
func quickPlan() Plan {
	return Plan{
		Quick:  true,
		Idles:  []time.Duration{100 * time.Millisecond, 3 * time.Second},
		Closes: []time.Duration{2 * time.Second, 60 * time.Second},
		Sizes:  []int{1000, 100_000},
		Light:  1, Heavy: 1, Each: 2, Larger: 1, Burst: 8, Bursts: 1, Posts: 60, Objects: 1, Uploads: 2, Keeping: 1, Loaded: time.Second, Loads: 1, New: 2, SelfTest: 50,
	}
}

// Way is how a request reaches an origin.
type Way string

// The ways.
const (
	NewConnection Way = "new connection"
	NetHTTP       Way = "net/http"
	HAProxy       Way = "HAProxy"
	Nginx         Way = "nginx"
	Warmpool      Way = "warmpool"
)

// pooled are the ways that keep connections.
var pooled = []Way{NetHTTP, HAProxy, Nginx, Warmpool}

// Origin is one of the servers at the far end.
type Origin struct {
	TLS    bool          `json:"tls"`
	Closes time.Duration `json:"closes_ns"` // an idle connection after this time
}

func (p *Plan) origins() (origins []Origin) {
	for _, tls := range []bool{false, true} {
		for _, closes := range p.Closes {
			origins = append(origins, Origin{tls, closes})
		}
	}
	return origins
}

// port is fixed: the far namespace has nothing else.
func (o Origin) port(p *Plan) int { return 8000 + slices.Index(p.origins(), o) }

func (o Origin) scheme() string {
	if o.TLS {
		return "https"
	}
	return "http"
}

func (o Origin) address(p *Plan) string { return fmt.Sprintf("%s:%d", farAddress, o.port(p)) }

// Shape is what is asked.
type Shape struct {
	Size  int  `json:"bytes"`
	Up    bool `json:"up"`    // the body is the request's, else the response's
	Burst int  `json:"burst"` // requests at once
}

// Kind is what a slot is for: it decides its pool's floor and bounds.
type Kind string

// The kinds.
const (
	Single      Kind = "single"
	Bursts      Kind = "burst"
	Post        Kind = "post"          // around the moment of close
	PostFirst   Kind = "post-first"    // the same, before the pool can have learned anything
	PostNoFloor Kind = "post-no-floor" // and without a floor
	Choice      Kind = "choice"        // one upload among several connections
	Kept        Kind = "kept"          // a download on a window that upkeep keeps
	Left        Kind = "left"          // and on one that it does not
	Ahead       Kind = "ahead"         // under load, connections are dialed ahead of requests
	Asked       Kind = "asked"         // under load, they are dialed when a request asks
	NewSerial   Kind = "new-serial"    // objects, by their way
	NewParallel Kind = "new-parallel"
	Persistent  Kind = "persistent"
	Parallel    Kind = "parallel"
	Pipelined   Kind = "pipelined"
)

// Slot is a pool of its own towards one origin, in every way alike: a Transport,
// a backend, an upstream. What idles in one slot does so whatever happens in the
// others, so that all of them idle at once.
type Slot struct {
	Kind   Kind   `json:"kind"`
	Origin Origin `json:"origin"`
	Group  int    `json:"group"` // of slots that idle at the same time
	N      int    `json:"n"`
}

// Name is the slot's name as an upstream and a backend.
func (s Slot) Name() string {
	return fmt.Sprintf("%s-%s-%gs-%d-%d", s.Kind, s.Origin.scheme(), s.Origin.Closes.Seconds(), s.Group, s.N)
}

// group is which slots idle for that long: the longest idleness has its own, since
// all the others pass meanwhile, one after another.
func (p *Plan) group(idle time.Duration) int {
	if idle == p.longest() {
		return 1
	}
	return 0
}

const groups = 2

func (p *Plan) longest() time.Duration { return p.Idles[len(p.Idles)-1] }

// short tells that to wait for a turn would take as long as the idleness.
func short(idle time.Duration) bool { return idle < 2*time.Second }

// each is slots 0 to n-1 of a kind, of every origin and group.
func (p *Plan) each(kind Kind, n int) (slots []Slot) {
	for g := range groups {
		for _, o := range p.origins() {
			for i := range n {
				slots = append(slots, Slot{kind, o, g, i})
			}
		}
	}
	return slots
}

// first are slots 0 to n-1 of a kind, of one origin.
func first(kind Kind, o Origin, n int) (slots []Slot) {
	for i := range n {
		slots = append(slots, Slot{Kind: kind, Origin: o, N: i})
	}
	return slots
}

// idling are the slots of requests after idleness.
func (p *Plan) idling() []Slot {
	singles := len(directions) * max(p.Each, p.Larger*(len(p.Sizes)-1))
	return append(p.each(Single, singles), p.each(Bursts, len(directions)*p.Bursts)...)
}

// impatient is the origin that closes early, the one that is worth meeting.
func (p *Plan) impatient(tls bool) Origin { return Origin{tls, p.Closes[0]} }

// patient is the origin that closes late.
func (p *Plan) patient(tls bool) Origin { return Origin{tls, p.Closes[len(p.Closes)-1]} }

// posting are the slots of POSTs around the moment of close.
func (p *Plan) posting() []Slot { return first(Post, p.impatient(false), p.Posts) }

// postingFirst are those of warmpool when nothing is known of the origin, with a floor and without.
func (p *Plan) postingFirst(kind Kind) []Slot { return first(kind, p.impatient(false), p.Posts) }

// keeping are the slots of downloads on a window that was opened before.
func (p *Plan) keeping(kind Kind) []Slot { return first(kind, p.patient(false), p.Keeping) }

// loading are the slots of a bounded pool under load.
func (p *Plan) loading(kind Kind) (slots []Slot) {
	for _, tls := range []bool{false, true} {
		slots = append(slots, first(kind, p.patient(tls), p.Loads)...)
	}
	return slots
}

// choosing are the slots of an upload among several connections.
func (p *Plan) choosing() []Slot { return first(Choice, p.patient(false), p.Uploads) }

// fetching are the slots of the objects.
func (p *Plan) fetching() (slots []Slot) {
	for _, kind := range []Kind{NewSerial, NewParallel, Persistent, Parallel, Pipelined} {
		for _, tls := range []bool{false, true} {
			slots = append(slots, first(kind, p.patient(tls), p.Objects)...)
		}
	}
	return slots
}
