package config

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// Change is a setting that differs between two configurations.
type Change struct {
	Path string // as in the file
	// Restart says that it takes effect after a restart only.
	Restart bool
}

// Changes lists the settings in which two configurations, or two upstreams,
// differ once their defaults are filled in, sorted by path. The upstreams of a
// configuration are not compared.
func Changes[M *warmpoolv1.Config | *warmpoolv1.Upstream](before, after M) []Change {
	a, b := any(WithDefaults(before)).(proto.Message), any(WithDefaults(after)).(proto.Message) //nolint:forcetypeassert // both types of the constraint are messages
	s := upstreamSchema()
	if _, ok := a.(*warmpoolv1.Config); ok {
		s = schema()
	}
	var all []Change
	visitSettings(s, "", func(path string, e *entry) {
		if !sameValue(e, holder(a.ProtoReflect(), path), holder(b.ProtoReflect(), path)) {
			all = append(all, Change{Path: path, Restart: e.setting.options.GetEffect() == warmpoolv1.Setting_EFFECT_RESTART})
		}
	})
	for _, e := range s.entries { // a list of sections counts as a whole
		if e.section != nil && e.list() && e.name != upstreamsKey && !sameValue(e, a.ProtoReflect(), b.ProtoReflect()) {
			all = append(all, Change{Path: e.name, Restart: e.section.restarts()})
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// restarts reports whether a setting of the section takes effect after a restart.
func (s *section) restarts() bool {
	return slices.ContainsFunc(s.entries, func(e *entry) bool {
		return e.setting != nil && e.setting.options.GetEffect() == warmpoolv1.Setting_EFFECT_RESTART
	})
}

// holder is the message, within m, that has the setting of that path.
func holder(m protoreflect.Message, path string) protoreflect.Message {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		m = m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(key))).Message()
	}
	return m
}

func sameValue(e *entry, a, b protoreflect.Message) bool {
	return a.Has(e.field) == b.Has(e.field) && a.Get(e.field).Equal(b.Get(e.field))
}

// Take copies the settings of those paths from one message to another of the same
// type: what from does not have, to has no more.
func Take(to, from *warmpoolv1.Config, changes []Change) {
	for _, c := range changes {
		e := find(schema(), c.Path)
		take(e, mutableHolder(to.ProtoReflect(), c.Path), holder(from.ProtoReflect(), c.Path))
	}
}

func take(e *entry, to, from protoreflect.Message) {
	if !from.Has(e.field) {
		to.Clear(e.field)
		return
	}
	// A clone, so that the two share nothing.
	clone := proto.Clone(from.Interface()).ProtoReflect()
	to.Set(e.field, clone.Get(e.field))
}

func mutableHolder(m protoreflect.Message, path string) protoreflect.Message {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		m = m.Mutable(m.Descriptor().Fields().ByName(protoreflect.Name(key))).Message()
	}
	return m
}

// find is the key of a path; nil when there is none.
func find(s *section, path string) *entry {
	key, rest, deeper := strings.Cut(path, ".")
	e := s.byName[key]
	if e == nil || !deeper {
		return e
	}
	if e.section == nil || e.list() {
		return nil
	}
	return find(e.section, rest)
}

// Changed is an upstream with the settings that a mask names taken from change:
// one that change does not have returns to its default. An empty mask names every
// setting that change has, and "*" all there are. The name is never changed. The
// error, an *Error, lists the paths that name nothing.
func Changed(u, change *warmpoolv1.Upstream, mask []string) (*warmpoolv1.Upstream, error) {
	p := newProblems()
	var paths []string
	switch {
	case slices.Equal(mask, []string{"*"}):
		visitSettings(upstreamSchema(), "", func(path string, _ *entry) { paths = append(paths, path) })
	case len(mask) == 0:
		visitSettings(upstreamSchema(), "", func(path string, e *entry) {
			if holder(change.ProtoReflect(), path).Has(e.field) {
				paths = append(paths, path)
			}
		})
	default:
		for i, path := range mask {
			e := find(upstreamSchema(), path)
			if e == nil {
				p.addf(at("update_mask.paths", i), quoted(path), "names no setting of an upstream; "+maskHelp)
				continue
			}
			if e.section == nil {
				paths = append(paths, path)
				continue
			}
			visitSettings(e.section, path, func(path string, _ *entry) { paths = append(paths, path) })
		}
	}
	if err := p.err(""); err != nil {
		return nil, err
	}
	changed := proto.CloneOf(u)
	for _, path := range paths {
		if path != "name" {
			take(find(upstreamSchema(), path), mutableHolder(changed.ProtoReflect(), path), holder(change.ProtoReflect(), path))
		}
	}
	return changed, nil
}

const maskHelp = `it may be a section ("queue"), a setting ("connections.max"), or "*" alone for all`

// Hidden is a copy of the message in which secrets show only that they are set.
func Hidden[M *warmpoolv1.Config | *warmpoolv1.Upstream](m M) M {
	copied := proto.Clone(any(m).(proto.Message)) //nolint:forcetypeassert // both types of the constraint are messages
	s := upstreamSchema()
	if _, ok := copied.(*warmpoolv1.Config); ok {
		s = schema()
	}
	hide(s, copied.ProtoReflect())
	return any(copied).(M) //nolint:forcetypeassert // a clone has its original's type
}

func hide(s *section, m protoreflect.Message) {
	for _, e := range s.entries {
		switch {
		case !m.Has(e.field):
		case e.setting != nil && e.setting.options.GetSecret():
			if e.list() {
				list := m.Mutable(e.field).List()
				for i := range list.Len() {
					list.Set(i, protoreflect.ValueOfString(hidden))
				}
			} else {
				m.Set(e.field, protoreflect.ValueOfString(hidden))
			}
		case e.setting != nil:
		case e.list():
			list := m.Mutable(e.field).List()
			for i := range list.Len() {
				hide(e.section, list.Get(i).Message())
			}
		default:
			hide(e.section, m.Mutable(e.field).Message())
		}
	}
}

// Refused is the error of a configuration that is refused for what an upstream's
// name is.
func Refused(file string, i int, name, format string, args ...any) *Error {
	p := newProblems()
	path := at(upstreamsKey, i)
	p.nameUpstream(path, name)
	p.addf(join(path, "name"), quoted(name), "%s", fmt.Sprintf(format, args...))
	return &Error{File: file, Problems: p.err("").(*Error).Problems} //nolint:errorlint,forcetypeassert // it is what err returns
}
