package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/cmd/internal/child"
)

// Section is one part of a run.
type Section string

// The sections.
const (
	SelfTest    Section = "self-test"
	New         Section = "new"
	LightRound  Section = "light"
	HeavyRound  Section = "heavy"
	ObjectRound Section = "objects"
	PostRound   Section = "posts"
	UploadRound Section = "uploads"
	KeptRound   Section = "keeping"
	LoadRound   Section = "loaded"
)

// Order tells the caller to measure a section.
type Order struct {
	Section Section `json:"section"`
	Way     Way     `json:"way"`    // of POSTs
	Kind    Kind    `json:"kind"`   // of the slots that POSTs, downloads on kept windows, or requests under load use
	TLS     bool    `json:"tls"`    // under load
	Round   int     `json:"round"`  // under load
	Socket  string  `json:"socket"` // of the sidecar, where it is another than the usual one
}

// Result is what a section showed. One of the fields is set.
type Result struct {
	RoundTrips []time.Duration `json:"round_trips_ns,omitempty"`
	Cells      []Measured      `json:"cells,omitempty"`
	Objects    []ObjectsTook   `json:"objects,omitempty"`
	Posts      *PostsFigures   `json:"posts,omitempty"`
	Uploads    *UploadFigures  `json:"uploads,omitempty"`
	Keeping    *KeepingFigures `json:"keeping,omitempty"`
	Loaded     *LoadedFigures  `json:"loaded,omitempty"`
}

// Cell is what requests have in common that are measured together.
type Cell struct {
	Way    Way           `json:"way"`
	Origin Origin        `json:"origin"`
	Shape  Shape         `json:"shape"`
	Idle   time.Duration `json:"idle_ns"`
}

// Measured is what a cell showed.
type Measured struct {
	Cell
	Took       []time.Duration `json:"took_ns"`    // caller to answer; of a burst, to the last one
	Requests   int             `json:"requests"`   // those that only prepared included
	Failures   int             `json:"failures"`   // of these
	Handshakes int             `json:"handshakes"` // requests that waited for one; told by warmpool only
	First      string          `json:"first_failure,omitempty"`
}

// CallerSetup is where the caller finds everything.
type CallerSetup struct {
	Plan    Plan           `json:"plan"`
	OneWay  time.Duration  `json:"one_way_ns"`
	Cert    string         `json:"cert"`
	Sockets map[Way]string `json:"sockets"`
}

// caller is the process in the near namespace that asks, and takes the time.
type caller struct {
	CallerSetup
	roots *x509.CertPool
	ways  map[Way]asker

	light, heavy chan struct{} // lanes: so many may ask at once
}

const (
	lightLanes = 16
	heavyLanes = 4
	// requestLimit ends what would never end.
	requestLimit = 30 * time.Second
)

// callerMain is the caller's process. The first line on its standard input is
// the setup, each one after it an order.
func callerMain(stdin io.Reader, stdout io.Writer) error {
	// What is measured should not wait for this process's memory to be collected.
	debug.SetGCPercent(400)
	in := json.NewDecoder(stdin)
	c := &caller{light: make(chan struct{}, lightLanes), heavy: make(chan struct{}, heavyLanes)}
	if err := in.Decode(&c.CallerSetup); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(struct{}{}); err != nil {
		return err
	}
	return child.AnswerLines(io.MultiReader(in.Buffered(), stdin), stdout, c.carryOut)
}

func (c *caller) prepare() error {
	pem, err := os.ReadFile(c.Cert)
	if err != nil {
		return err
	}
	c.roots = x509.NewCertPool()
	if !c.roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no certificate", c.Cert)
	}
	c.ways = map[Way]asker{
		NewConnection: newDirect(c, false),
		NetHTTP:       newDirect(c, true),
	}
	for _, w := range []Way{HAProxy, Nginx} {
		if socket := c.Sockets[w]; socket != "" {
			c.ways[w] = newViaProxy(socket)
		}
	}
	return nil
}

func (c *caller) carryOut(o Order) (Result, error) {
	ctx := context.Background()
	if o.Socket != "" {
		v, err := newViaSidecar(o.Socket)
		if err != nil {
			return Result{}, err
		}
		defer v.close() //nolint:errcheck // its answers are in
		before := c.ways[Warmpool]
		c.ways[Warmpool] = v
		defer func() { c.ways[Warmpool] = before }()
	}
	switch o.Section {
	case SelfTest:
		trips, err := c.selfTest(ctx)
		return Result{RoundTrips: trips}, err
	case New:
		return Result{Cells: c.newConnections(ctx)}, nil
	case LightRound:
		return Result{Cells: c.round(ctx, c.lightSamples)}, nil
	case HeavyRound:
		return Result{Cells: c.round(ctx, c.heavySamples)}, nil
	case ObjectRound:
		return Result{Objects: c.objects(ctx)}, nil
	case PostRound:
		return Result{Posts: c.posts(ctx, o.Way, o.Kind)}, nil
	case UploadRound:
		return Result{Uploads: c.uploads(ctx)}, nil
	case KeptRound:
		return Result{Keeping: c.keeping(ctx, o.Kind)}, nil
	case LoadRound:
		return Result{Loaded: c.loaded(ctx, o.Kind, o.TLS, o.Round)}, nil
	}
	return Result{}, fmt.Errorf("unknown section %q", o.Section)
}

// pooledWays are those that can be gone here.
func (c *caller) pooledWays() []Way {
	return slices.DeleteFunc(slices.Clone(pooled), func(w Way) bool { return c.ways[w] == nil })
}

// ledger collects what cells show.
type ledger struct {
	sync.Mutex

	cells map[Cell]*Measured
	order []Cell
}

func newLedger() *ledger { return &ledger{cells: make(map[Cell]*Measured)} }

// add notes requests of a cell; took is left out when it is 0.
func (l *ledger) add(cell Cell, took time.Duration, o outcome) {
	l.Lock()
	defer l.Unlock()
	m := l.cells[cell]
	if m == nil {
		m = &Measured{Cell: cell}
		l.cells[cell] = m
		l.order = append(l.order, cell)
	}
	m.Requests += o.requests
	m.Failures += o.failures
	m.Handshakes += o.handshakes
	if m.First == "" && o.first != nil {
		m.First = o.first.Error()
	}
	if took > 0 && o.failures == 0 {
		m.Took = append(m.Took, took)
	}
}

func (l *ledger) measured() (all []Measured) {
	for _, c := range l.order {
		all = append(all, *l.cells[c])
	}
	return all
}

// outcome is what became of requests asked together.
type outcome struct {
	requests, failures, handshakes int
	first                          error
}

func (o *outcome) add(receipt *warmpoolv1.Receipt, err error) {
	o.requests++
	if err != nil {
		o.failures++
		if o.first == nil {
			o.first = err
		}
		return
	}
	if receipt != nil && !receipt.GetReused() {
		o.handshakes++
	}
}

// ask sends what a shape asks for, all at once, and waits for the last answer.
func (c *caller) ask(ctx context.Context, w Way, s Slot, shape Shape) (took time.Duration, o outcome) {
	ctx, cancel := context.WithTimeoutCause(ctx, requestLimit, errors.New("no answer within "+requestLimit.String()))
	defer cancel()
	r := request{size: shape.Size, up: shape.Up}
	if shape.Burst == 1 {
		began := time.Now()
		receipt, err := c.ways[w].ask(ctx, s, r)
		took = time.Since(began)
		o.add(receipt, err)
		return took, o
	}
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		gun   = make(chan struct{})
	)
	for range shape.Burst {
		group.Go(func() {
			<-gun
			receipt, err := c.ways[w].ask(ctx, s, r)
			mu.Lock()
			defer mu.Unlock()
			o.add(receipt, err)
		})
	}
	began := time.Now()
	close(gun)
	group.Wait()
	return time.Since(began), o
}
