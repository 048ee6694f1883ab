package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
)

// Telemetry is what a sidecar tells of itself while it is measured.
type Telemetry string

// The kinds of telemetry.
const (
	NoTelemetry Telemetry = ""
	Metrics     Telemetry = "metrics" // Prometheus asks each second
	Traces      Telemetry = "traces"  // and one request in a hundred is traced, which a collector is told by OTLP
)

// telemetryRow is the name of a row.
func telemetryRow(kind string, t Telemetry) string {
	what := map[Telemetry]string{NoTelemetry: "none", Metrics: "metrics", Traces: "metrics and 1 % of traces"}[t]
	return "telemetry: " + kind + ", " + what
}

// telemetryGroups compare what requests cost with what is told of them. The
// difference that is looked for is small: rounds are long and many.
func telemetryGroups() []Group {
	var groups []Group
	for _, kind := range []struct {
		name     string
		client   ClientKind
		requests int
	}{{"Session", Session, 60_000}, {"Send", Send, 60_000}} {
		g := Group{
			Load:  Load{InFlight: 64, Body: 128, Requests: kind.requests},
			About: Telling, Base: telemetryRow(kind.name, NoTelemetry), LeastRounds: 15,
		}
		for _, t := range []Telemetry{NoTelemetry, Metrics, Traces} {
			g.Scenarios = append(g.Scenarios, Scenario{
				Name: telemetryRow(kind.name, t), Peer: Warmpool, Client: kind.client, Front: Unix, Telemetry: t,
			})
		}
		groups = append(groups, g)
	}
	return groups
}

// listener is what a sidecar's telemetry goes to.
type listener struct {
	admin     string         // address at which the sidecar is asked for metrics
	collector *child.Process // of traces; nil: there is none
	env       []string       // of the sidecar

	stop    context.CancelFunc
	stopped chan struct{}
	scrapes atomic.Int64 // that were answered
	problem atomic.Pointer[error]
}

// startListener starts what takes the telemetry of a scenario that has some.
func (b *bench) startListener(ctx context.Context, t Telemetry) (*listener, error) {
	admin, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	l := &listener{admin: admin, stopped: make(chan struct{})}
	if t == Traces {
		socket, address, err := bind(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		l.collector, err = child.Start(ctx, child.Command{
			Name: "collector", Path: b.self, Args: []string{"collector"}, Env: []string{"GOMAXPROCS=1"}, Files: []*os.File{socket}, Told: true,
			CPUs: b.placement.others,
		})
		if err != nil {
			return nil, err
		}
		l.env = []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://" + address + tracesPath}
	}
	scraping, stop := context.WithCancel(ctx)
	l.stop = stop
	go l.scrape(scraping)
	return l, nil
}

// freePort is an address that nobody listens on.
func freePort(ctx context.Context) (string, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// scrapePause is how often metrics are asked for: more often than is usual.
const scrapePause = time.Second

// scrape asks for metrics until ctx ends.
func (l *listener) scrape(ctx context.Context) {
	defer close(l.stopped)
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 1}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(scrapePause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := l.scrapeOnce(ctx, client)
		if starts := l.scrapes.Load() == 0; err != nil && !starts && ctx.Err() == nil {
			l.problem.CompareAndSwap(nil, &err)
		}
	}
}

func (l *listener) scrapeOnce(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.admin+"/metrics", http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || n == 0 {
		return fmt.Errorf("/metrics is status %d with %d bytes", response.StatusCode, n)
	}
	l.scrapes.Add(1)
	return nil
}

// check says what was not told, without which a row shows the cost of nothing.
func (l *listener) check(ctx context.Context) error {
	if problem := l.problem.Load(); problem != nil {
		return fmt.Errorf("metrics: %w", *problem)
	}
	if l.scrapes.Load() == 0 {
		return errors.New("metrics were never asked for: the run was too short")
	}
	if l.collector == nil {
		return nil
	}
	var got CollectorFigures
	if err := l.collector.Ask(ctx, struct{}{}, &got); err != nil {
		return err
	}
	if got.Bytes == 0 {
		return errors.New("the collector was told of no trace: the run was too short")
	}
	return nil
}

func (l *listener) close() {
	l.stop()
	<-l.stopped
	if l.collector != nil {
		l.collector.Close()
	}
}

// tracesPath is where a collector takes traces (OTLP/HTTP).
const tracesPath = "/v1/traces"

// CollectorFigures is what a collector has been told.
type CollectorFigures struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

// collectorMain is the process of a collector that takes traces and forgets them.
// It serves on an inherited listener and answers each line on its standard input
// with its figures.
func collectorMain(stdin io.Reader, stdout io.Writer) error {
	l, err := child.InheritedListener(0)
	if err != nil {
		return err
	}
	var messages, length atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+tracesPath, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		messages.Add(1)
		length.Add(n)
		w.Header().Set("Content-Type", "application/x-protobuf") // an empty answer: all was taken
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed, asked := make(chan error, 1), make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	go func() {
		asked <- child.AnswerLines(stdin, stdout, func(struct{}) (CollectorFigures, error) {
			return CollectorFigures{messages.Load(), length.Load()}, nil
		})
	}()
	select {
	case err = <-failed:
	case err = <-asked:
	}
	return err
}
