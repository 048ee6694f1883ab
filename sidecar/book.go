package sidecar

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// book is the record of the pool's upstreams: what each is configured with, where
// that came from, and what that means for the next reload. Whatever adds, changes
// or removes an upstream goes through it.
//
//	where it came from   CreateUpstream        UpdateUpstream            a reload
//	nowhere              API                   –                         FILE, when the file has it
//	FILE                 –                     FILE_CHANGED_BY_API       as the file says
//	API                  –                     API                       left alone; a file that has the name is refused
//	FILE_CHANGED_BY_API  –                     FILE_CHANGED_BY_API       left alone while the file's entry is what it was, else as the file says
//	DYNAMIC              –                     refused                   as dynamic_origins says; deleted when that no longer allows it
//
// Those of DYNAMIC are named by their origin, which is no name that any other can
// have. Requests add them, and origins removes them when nobody uses them.
type book struct {
	pool   *pool.Pool
	dir    string // relative file names in an upstream start here
	events *hub
	// ended is told of an upstream whose last connection has closed after it was
	// removed, and whether another has its name now.
	ended func(e *entry, another bool)

	// changing is held for a whole change, so that each finds what the one before
	// left. Nothing that takes long happens meanwhile.
	changing sync.Mutex

	mu struct {
		sync.RWMutex
		entries map[string]*entry
		leaving map[string]*entry // being deleted
	}
	deletions sync.WaitGroup
}

// entry is one upstream. It is immutable: a change makes another one.
type entry struct {
	upstream *pool.Upstream
	config   *warmpoolv1.Upstream // with its defaults
	source   warmpoolv1.UpstreamSource
	filed    *warmpoolv1.Upstream // the file's word, when it was last taken; nil: it has none
	files    []config.File        // that its settings name, as they were read
	etag     string
	created  time.Time
	updated  time.Time
	origin   *origin // of source DYNAMIC
}

func newBook(p *pool.Pool, dir string, events *hub) *book {
	b := &book{pool: p, dir: dir, events: events, ended: func(*entry, bool) {}}
	b.mu.entries = make(map[string]*entry)
	b.mu.leaving = make(map[string]*entry)
	return b
}

func (e *entry) name() string { return e.config.GetName() }

// etagOf names the state of a policy.
func etagOf(u *warmpoolv1.Upstream) string {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(u)
	if err != nil {
		panic("sidecar: a checked upstream cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8])
}

// get finds an upstream that is not being deleted.
func (b *book) get(name string) *entry {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.mu.entries[name]
}

// list is all upstreams by name, those that are being deleted as well unless
// another has their name already.
func (b *book) list() []*entry {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var all []*entry
	for _, e := range b.mu.entries {
		all = append(all, e)
	}
	for name, e := range b.mu.leaving {
		if b.mu.entries[name] == nil {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.name(), b.name()) })
	return all
}

func (b *book) put(e *entry) {
	b.mu.Lock()
	b.mu.entries[e.name()] = e
	b.mu.Unlock()
}

// prepared is an upstream that was found valid.
type prepared struct {
	config *warmpoolv1.Upstream
	policy pool.Policy
	files  []config.File
}

// prepare checks an upstream that comes from there. The error is a *config.Error
// with all mistakes.
func (b *book) prepare(u *warmpoolv1.Upstream, source warmpoolv1.UpstreamSource) (*prepared, error) {
	policyOf := config.Policy
	if source == warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_DYNAMIC {
		policyOf = config.OriginPolicy
	}
	policy, files, err := policyOf(u, b.dir)
	if err != nil {
		return nil, err
	}
	return &prepared{config.WithDefaults(u), policy, files}, nil
}

// add creates an upstream. changing is held.
func (b *book) add(p *prepared, source warmpoolv1.UpstreamSource) (*entry, error) {
	upstream, err := b.pool.Add(p.policy)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	e := &entry{
		upstream: upstream, config: p.config, source: source, files: p.files, etag: etagOf(p.config),
		created: now, updated: now,
	}
	switch source {
	case warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE:
		e.filed = p.config
	case warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_DYNAMIC:
		e.origin = newOrigin()
	}
	b.put(e)
	b.events.publish(&warmpoolv1.Event{Kind: warmpoolv1.EventKind_EVENT_KIND_UPSTREAM_CREATED, Upstream: e.name()})
	return e, nil
}

// change gives an upstream another policy. changing is held.
func (b *book) change(e *entry, p *prepared, source warmpoolv1.UpstreamSource, filed *warmpoolv1.Upstream) (*entry, error) {
	changed := config.Changes(e.config, p.config)
	next := *e
	next.source, next.filed = source, filed
	if len(changed) > 0 || !slices.Equal(e.files, p.files) {
		if err := e.upstream.Update(p.policy); err != nil {
			return nil, err
		}
		next.config, next.files, next.etag, next.updated = p.config, p.files, etagOf(p.config), time.Now()
		b.events.publish(&warmpoolv1.Event{
			Kind: warmpoolv1.EventKind_EVENT_KIND_UPSTREAM_UPDATED, Upstream: e.name(), Message: changesText(changed),
		})
	}
	b.put(&next)
	return &next, nil
}

func changesText(changed []config.Change) string {
	if len(changed) == 0 {
		return "changed: the files that tls names"
	}
	return "changed: " + strings.Join(paths(changed), ", ")
}

// remove takes an upstream out. What runs on it may finish until ctx ends; wait
// does that, and returns how many exchanges were cut. changing is held, but not
// for wait.
func (b *book) remove(e *entry) (wait func(context.Context) int) {
	if e.origin != nil {
		e.origin.remove()
	}
	b.mu.Lock()
	delete(b.mu.entries, e.name())
	b.mu.leaving[e.name()] = e
	b.mu.Unlock()
	finish, err := b.pool.Withdraw(e.name())
	b.events.publish(&warmpoolv1.Event{Kind: warmpoolv1.EventKind_EVENT_KIND_UPSTREAM_DELETED, Upstream: e.name()})
	b.deletions.Add(1)
	return func(ctx context.Context) int {
		defer b.deletions.Done()
		if err == nil { // else it is not there, which only a pool that is closed could explain
			err = finish(ctx)
		}
		b.mu.Lock()
		if b.mu.leaving[e.name()] == e {
			delete(b.mu.leaving, e.name())
		}
		another := b.mu.entries[e.name()] != nil
		b.mu.Unlock()
		b.ended(e, another)
		if cut, ok := errors.AsType[*pool.CutError](err); ok {
			return cut.Exchanges
		}
		return 0
	}
}
