// Package sidecar is the process around the pool: it binds the listeners,
// serves the gRPC services and the admin endpoint, says how it is, and drains.
//
// One request's way through the package, which is also an order to read it in:
//
//	data.go      the gRPC server that carries requests, and what it allows
//	send.go      HttpService.Send
//	request.go   the gRPC message becomes a pool.Request
//	             (pool carries it out)
//	response.go  the pool's answer becomes a gRPC message
//	failure.go   the pool's error becomes a Failure and a gRPC status
//
// Beside it stand caller.go and handshake.go (who asks, and what they may do),
// control.go and guard.go (the server that may change pools, its methods in the
// files named control_*.go), book.go (where each upstream came from), reload.go
// and watchfile.go (the configuration file, read again), origins.go (upstreams that
// callers name by their origin), events.go (what happens,
// for those who watch), admin.go
// (HTTP for probes), health.go (the one state that all of them report),
// listen.go and socket.go (where they are bound), log.go (what is said of
// connections), and serve.go (from the first request to the last).
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// Options are what a sidecar is given beside its configuration.
type Options struct {
	Logger    *slog.Logger // nil: nothing is logged
	Version   string       // the program's version, for the log
	ConfigDir string       // the folder to which file names in the configuration are relative

	// Source is where the configuration was loaded from, so that it can be loaded
	// again; nil, or without a file: it cannot. Loaded is what was loaded.
	Source *config.Source
	Loaded *config.Loaded
	// Level is the log's level, for a reload that changes it; nil: that has no effect.
	Level *slog.LevelVar
}

// Sidecar is one process's listeners, services and pool.
type Sidecar struct {
	settings *settings
	log      *slog.Logger
	version  string

	pool      *pool.Pool
	book      *book
	origins   *origins
	events    *hub
	reloader  *reloader
	dialLog   *dialLog
	health    *health
	running   *running
	callers   *callers
	telemetry *telemetry
	files     *descriptors
	listeners []*listener
	http      *httpService
	data      *grpc.Server
	control   *grpc.Server
	probes    *grpc.Server // gRPC health on the admin listener
	admin     *http.Server

	hurry   func()
	hurried <-chan struct{} // closed by hurry
	cutting sync.WaitGroup  // the pool's end, where drain.grace was over first
}

// New adds the configured upstreams and binds every listener, so that clients
// can connect, and are answered once Serve runs. cfg must have its defaults
// filled in and is not changed or kept beyond the sidecar's life.
//
// When New fails nothing is left behind. When it succeeds Serve must be called:
// it is what releases everything.
func New(cfg *warmpoolv1.Config, o Options) (*Sidecar, error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ready, err := prepareAll(cfg, o.ConfigDir)
	if err != nil {
		return nil, err
	}
	s := &Sidecar{
		settings: newSettings(cfg), log: log, version: o.Version,
		dialLog: newDialLog(log), health: newHealth(), running: newRunning(), events: newHub(),
		files: newDescriptors(descriptorLimit(), log),
	}
	hurry, cut := context.WithCancel(context.Background())
	s.hurry, s.hurried = cut, hurry.Done()
	if s.telemetry, err = newTelemetry(cfg, o.Version, log); err != nil {
		return nil, err
	}
	ended := newRecent()
	s.pool = pool.New(pool.Options{
		MaxDialing: int(cfg.GetMaxDialing()), DescriptorsBelow: s.files.connections,
		Observer: observers{observer(log, s.dialLog), s.events.observe(), ended.observe(), s.telemetry.observer()}.one(),
	})
	s.book = newBook(s.pool, o.ConfigDir, s.events)
	s.origins = newOrigins(cfg, s.book, log, s.settings.grace)
	s.book.ended = func(e *entry, another bool) {
		if !another {
			ended.forget(e.name())
			s.telemetry.forget(e.name())
			s.dialLog.forget(e.name())
		}
		s.origins.ended(e)
	}
	if err := s.add(ready); err != nil {
		return nil, errors.Join(err, s.release())
	}
	if s.callers, err = newCallers(cfg, o.ConfigDir); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.reloader = &reloader{
		log: log, level: o.Level, callers: s.callers, pool: s.pool, book: s.book, origins: s.origins, settings: s.settings, events: s.events,
	}
	if o.Source != nil {
		s.reloader.source = *o.Source
	}
	s.reloader.started(o.Loaded)
	if s.listeners, err = bindAll(cfg); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.limitConnections(int64(cfg.GetGrpc().GetMaxConnections()))
	s.http = &httpService{pool: s.pool, callers: s.callers, origins: s.origins, tracing: s.telemetry.tracing, running: s.running, limits: cfg.GetGrpc(), log: log}
	shake := &handshake{callers: s.callers, log: log}
	s.data = newDataServer(cfg, s.http, shake, s.health)
	s.control = newControlServer(cfg, &poolService{
		log: log, pool: s.pool, book: s.book, events: s.events, recent: ended, health: s.health, settings: s.settings,
		reloader: s.reloader, sessions: &s.http.sessions, version: o.Version, started: time.Now(),
	}, shake, s.health)
	s.probes = newProbeServer(s.health)
	if err := s.telemetry.observe(s.pool, s.http.sessions.count, s.reloader.read, s.origins.figures); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.admin = newAdminServer(s.health, s.pool, s.probes, s.telemetry.scrape, log)
	s.announce()
	return s, nil
}

// Reload reads the configuration file again and applies it; what comes of it is
// told in the log. why says who asked for it.
func (s *Sidecar) Reload(why string) error {
	_, err := s.reloader.reload(why, false)
	if errors.Is(err, errNoFile) {
		s.log.Warn("nothing to reload", "because", why, "error", err)
	}
	return err
}

// prepareAll checks every upstream and reports all that are wrong.
func prepareAll(cfg *warmpoolv1.Config, dir string) ([]*prepared, error) {
	b := book{dir: dir}
	var all []*prepared
	var errs []error
	seen := make(map[string]bool)
	for i, u := range cfg.GetUpstreams() {
		where := fmt.Sprintf("%s (%s)", setting("upstreams", i), u.GetName())
		if seen[u.GetName()] {
			errs = append(errs, fmt.Errorf("%s: there is one of that name already: a name must be unique", where))
		}
		seen[u.GetName()] = true
		p, err := b.prepare(u, warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
			continue
		}
		all = append(all, p)
	}
	return all, errors.Join(errs...)
}

func (s *Sidecar) add(all []*prepared) error {
	var errs []error
	for _, p := range all {
		if _, err := s.book.add(p, warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// release gives back what New took before it failed.
func (s *Sidecar) release() error {
	for _, l := range s.listeners {
		_ = l.Close()
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	err := errors.Join(s.pool.Close(now), s.telemetry.stop(now))
	s.dialLog.stop()
	return err
}

// Pool is what the sidecar lends connections from.
func (s *Sidecar) Pool() *pool.Pool { return s.pool }

// Addrs are the addresses that are bound, with the real port where the
// configuration says port 0. Data and Control are written as in the
// configuration, "unix:///path" or "tcp://host:port"; Admin is "host:port".
type Addrs struct {
	Data    []string
	Control []string // nil: there is no control plane
	Admin   string   // empty: there is no admin listener
}

// Addrs lists what is bound, each list in the configuration's order.
func (s *Sidecar) Addrs() Addrs {
	var a Addrs
	for _, l := range s.listeners {
		switch l.front {
		case frontData:
			a.Data = append(a.Data, l.address)
		case frontControl:
			a.Control = append(a.Control, l.address)
		case frontAdmin:
			a.Admin = l.Addr().String()
		}
	}
	return a
}

// announce logs what was set up: a line for each upstream and each listener.
func (s *Sidecar) announce() {
	for _, e := range s.book.list() {
		p := e.upstream.Policy()
		s.log.Info("upstream", "name", p.Name, "url", p.URL, "warm", p.Warm, "max", p.Max,
			"max_waiting", p.MaxWaiting, "max_wait", p.MaxWait, "max_idle_time", p.MaxIdleTime,
			"max_lifetime", p.MaxLifetime, "buffered_body_bytes", p.MaxBufferedBody)
	}
	if d := s.settings.now.Load().GetDynamicOrigins(); len(d.GetAllow()) > 0 {
		s.log.Info("callers may name origins", "allow", d.GetAllow(), "max", d.GetMax(), "max_idle_time", d.GetMaxIdleTime().AsDuration(), "like", d.GetLike())
	}
	if k := pool.LookAtKernel(); k.Known && len(s.book.list()) > 0 {
		s.log.Info("idle connections", "tcp_slow_start_after_idle", k.SlowStartAfterIdle, "tcp_congestion_control", k.Congestion,
			"means", IdleWindows(k))
	}
	s.announceFiles()
	for _, l := range s.listeners {
		s.log.Info("listening", "front", string(l.front), "address", l.address)
		if l.front != frontAdmin && config.BeyondLoopback(l.address) && s.settings.now.Load().GetDangerouslyUnprotected() != "" {
			s.log.Warn("whoever reaches this listener may send in the sidecar's name, unencrypted: dangerously_unprotected is set",
				"front", string(l.front), "address", l.address)
		}
	}
}

// limitConnections bounds the connections of the data listeners together. It says
// once that the bound is met, and again after it has not been for a while.
func (s *Sidecar) limitConnections(most int64) {
	var often pauses
	r := &room{most: most, full: func() {
		if !often.now() {
			return
		}
		s.log.Warn("a connection was turned away: grpc.max_connections are open", "max_connections", most)
	}}
	for _, l := range s.listeners {
		l.files = s.files
		if l.front == frontData {
			l.room = r
		}
	}
}

// pauses says when what happens often is worth another line in the log: at once,
// and then when there has been none for fullLogPause.
type pauses struct {
	until atomic.Int64 // in nanoseconds of the wall clock
}

func (p *pauses) now() bool {
	now, until := time.Now(), p.until.Load()
	return now.UnixNano() >= until && p.until.CompareAndSwap(until, now.Add(fullLogPause).UnixNano())
}

// fullLogPause is the time in which connections that are turned away get one line.
const fullLogPause = 10 * time.Second

// setting names a configuration key in an error.
func setting(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
