package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// reloader reads the configuration file again and applies it. A file with any
// mistake changes nothing.
type reloader struct {
	source   config.Source // File is empty when there is nothing to reload
	log      *slog.Logger
	level    *slog.LevelVar // of the log; nil: it cannot be changed
	callers  *callers
	pool     *pool.Pool
	book     *book
	origins  *origins
	settings *settings
	events   *hub

	reading sync.Mutex // held for a whole reload, before book.changing

	mu struct {
		sync.Mutex
		generation uint64
		files      []config.File // of the file in force
		appliedAt  time.Time
		readAt     time.Time
		problems   []config.Problem // of the file that was read last
		pending    []string         // settings whose value in the file waits for a restart
		read       filesRead
	}
}

// filesRead is what became of the files that were read again since the start.
type filesRead struct {
	applied, refused uint64
	refusedNow       uint8 // 1: the last one was refused
}

// errNoFile says that there is nothing to reload.
var errNoFile = errors.New("the sidecar was started without a configuration file")

// outcome is what a reload changed, or would.
type outcome struct {
	created, updated, deleted, changed, pending []string
	generation                                  uint64
}

// started takes note of the configuration that the sidecar started with.
func (r *reloader) started(loaded *config.Loaded) {
	r.mu.generation = 1
	r.mu.appliedAt = time.Now()
	r.mu.readAt = r.mu.appliedAt
	if loaded != nil {
		r.mu.files = loaded.Files
	}
}

// reload reads the file and, unless it is only to be checked, applies it. why is
// for the log. The error is errNoFile, or a *config.Error with every mistake.
func (r *reloader) reload(why string, checkOnly bool) (*outcome, error) {
	if r.source.File == "" {
		return nil, errNoFile
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	loaded, err := config.Load(r.source)
	if err == nil {
		r.book.changing.Lock()
		defer r.book.changing.Unlock()
		err = r.conflicts(loaded)
	}
	if err != nil {
		if !checkOnly {
			r.refuse(why, err)
		}
		return nil, err
	}
	plan := r.plan(loaded)
	if err := plan.prepare(r.book); err != nil { // a file that was exchanged at this moment
		if !checkOnly {
			r.refuse(why, err)
		}
		return nil, err
	}
	if !checkOnly {
		err = r.apply(why, loaded, plan)
	}
	return &plan.outcome, err
}

// conflicts refuses a file that has the name of an upstream which CreateUpstream
// added: whoever did that must not lose it to a reload.
func (r *reloader) conflicts(loaded *config.Loaded) error {
	for i, u := range loaded.Config.GetUpstreams() {
		if e := r.book.get(u.GetName()); e != nil && e.source == warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_API {
			return config.Refused(loaded.File, i, u.GetName(),
				"is the name of an upstream that was created through the API; delete that one first, or name this one otherwise")
		}
	}
	return nil
}

// plan is what a file asks for.
type plan struct {
	outcome
	creates []*create
	updates []*update
	deletes []*entry
	live    []config.Change // settings outside the upstreams
}

type create struct {
	config *warmpoolv1.Upstream
	ready  *prepared
}

// update is an entry that gets another policy, or only another record of what the
// file says.
type update struct {
	entry  *entry
	config *warmpoolv1.Upstream
	source warmpoolv1.UpstreamSource
	filed  *warmpoolv1.Upstream
	ready  *prepared
}

// prepare reads what the upstreams name, before anything is changed.
func (p *plan) prepare(b *book) (err error) {
	for _, c := range p.creates {
		if c.ready, err = b.prepare(c.config, warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE); err != nil {
			return err
		}
	}
	for _, u := range p.updates {
		if u.ready, err = b.prepare(u.config, u.source); err != nil {
			return err
		}
	}
	return nil
}

func (r *reloader) plan(loaded *config.Loaded) *plan {
	p := &plan{}
	p.generation, p.pending = r.generation(), nil
	filed := make(map[string]bool)
	for _, u := range loaded.Config.GetUpstreams() {
		filed[u.GetName()] = true
		e := r.book.get(u.GetName())
		switch {
		case e == nil:
			p.creates = append(p.creates, &create{config: u})
			p.created = append(p.created, u.GetName())
			continue
		case e.source == warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE_CHANGED_BY_API && proto.Equal(u, e.filed):
			u = e.config // what the API said holds; but files that it names are read again
			p.updates = append(p.updates, &update{entry: e, config: u, source: e.source, filed: e.filed})
		default:
			p.updates = append(p.updates, &update{entry: e, config: u, source: warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE, filed: u})
		}
		if len(config.Changes(e.config, u)) > 0 {
			p.updated = append(p.updated, e.name())
		}
	}
	allowed := config.NewOrigins(loaded.Config.GetDynamicOrigins().GetAllow())
	for _, e := range r.book.list() {
		switch {
		case filed[e.name()] || r.book.get(e.name()) != e:
		case e.source == warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_API:
			p.updates = append(p.updates, &update{entry: e, config: e.config, source: e.source, filed: e.filed})
		case e.source == warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_DYNAMIC && allowed.Allow(e.name()):
			u := config.OriginUpstream(loaded.Config, e.name())
			p.updates = append(p.updates, &update{entry: e, config: u, source: e.source})
			if len(config.Changes(e.config, u)) > 0 {
				p.updated = append(p.updated, e.name())
			}
		default:
			p.deletes = append(p.deletes, e)
			p.deleted = append(p.deleted, e.name())
		}
	}
	for _, c := range config.Changes(r.settings.now.Load(), loaded.Config) {
		switch {
		case c.Restart:
			p.pending = append(p.pending, c.Path)
		default:
			p.live = append(p.live, c)
			p.changed = append(p.changed, c.Path)
		}
	}
	for _, list := range [][]string{p.created, p.updated, p.deleted, p.changed, p.pending} {
		slices.Sort(list)
	}
	return p
}

// apply carries out a plan: what is new first, what goes last. Everything in it
// was found valid.
func (r *reloader) apply(why string, loaded *config.Loaded, p *plan) error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, c := range p.creates {
		_, err := r.book.add(c.ready, warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE)
		note(err)
	}
	for _, u := range p.updates {
		_, err := r.book.change(u.entry, u.ready, u.source, u.filed)
		note(err)
	}
	next := proto.CloneOf(r.settings.now.Load())
	config.Take(next, loaded.Config, p.live)
	r.settings.set(next)
	r.origins.apply(loaded.Config)
	note(r.callers.apply(next, r.book.dir))
	if r.level != nil {
		note(r.level.UnmarshalText([]byte(next.GetLog().GetLevel())))
	}
	for _, e := range p.deletes {
		wait := r.book.remove(e)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), next.GetDrain().GetGrace().AsDuration())
			defer cancel()
			if cut := wait(ctx); cut > 0 {
				r.log.Warn("running exchanges were cut", "reason", pool.ReasonUpstreamDeleted.String(), "upstream", e.name(), "exchanges", cut)
			}
		}()
	}
	r.done(why, loaded, p)
	return errors.Join(errs...)
}

func (r *reloader) generation() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.generation
}

func (r *reloader) read() filesRead {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.read
}

// done takes note of a file that was applied, and tells of it.
func (r *reloader) done(why string, loaded *config.Loaded, p *plan) {
	r.mu.Lock()
	r.mu.generation++
	r.mu.read.applied++
	r.mu.read.refusedNow = 0
	p.generation = r.mu.generation
	r.mu.files, r.mu.problems, r.mu.pending = loaded.Files, nil, p.pending
	r.mu.appliedAt = time.Now()
	r.mu.readAt = r.mu.appliedAt
	r.mu.Unlock()
	attrs := []any{"file", loaded.File, "because", why, "generation", p.generation}
	for _, list := range []struct {
		what  string
		names []string
	}{
		{"created", p.created},
		{"updated", p.updated},
		{"deleted", p.deleted},
		{"changed", p.changed},
		{"pending_restart", p.pending},
	} {
		if len(list.names) > 0 {
			attrs = append(attrs, list.what, list.names)
		}
	}
	r.log.Info("configuration applied", attrs...)
	for _, warning := range loaded.Warnings {
		r.log.Warn("configuration", "file", loaded.File, "warning", warning)
	}
	r.events.publish(&warmpoolv1.Event{Kind: warmpoolv1.EventKind_EVENT_KIND_CONFIG_APPLIED, Message: why})
}

// refuse takes note of a file that changes nothing, and tells of it.
func (r *reloader) refuse(why string, err error) {
	var problems []config.Problem
	if e, ok := errors.AsType[*config.Error](err); ok {
		problems = e.Problems
	} else {
		problems = []config.Problem{{Message: err.Error()}}
	}
	r.mu.Lock()
	r.mu.problems, r.mu.readAt = problems, time.Now()
	r.mu.read.refused++
	r.mu.read.refusedNow = 1
	r.mu.Unlock()
	r.log.Error("configuration refused; what was in force stays", "file", r.source.File, "because", why, "problems", len(problems))
	for _, one := range problems {
		r.log.Error("configuration", "file", r.source.File, "line", one.Line, "path", one.Path, "problem", one.Text())
	}
	r.events.publish(&warmpoolv1.Event{
		Kind: warmpoolv1.EventKind_EVENT_KIND_CONFIG_REFUSED, Message: clip(err.Error(), maxMessage),
	})
}
