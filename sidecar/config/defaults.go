package config

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// WithDefaults is a copy of the message in which every setting that was absent
// has its default, in sections that were absent too. A setting without a default
// stays absent. The message itself is not touched.
func WithDefaults[M *warmpoolv1.Config | *warmpoolv1.Upstream](m M) M {
	full := proto.Clone(any(m).(proto.Message)) //nolint:forcetypeassert // both types of the constraint are messages
	s := upstreamSchema()
	if _, ok := full.(*warmpoolv1.Config); ok {
		s = schema()
	}
	if r := full.ProtoReflect(); r.IsValid() {
		fillDefaults(s, r)
		return any(full).(M) //nolint:forcetypeassert // a clone has its original's type
	}
	r := full.ProtoReflect().New()
	fillDefaults(s, r)
	return r.Interface().(M) //nolint:forcetypeassert // New makes the type it is called on
}

func fillDefaults(s *section, m protoreflect.Message) {
	for _, e := range s.entries {
		switch {
		case e.setting != nil:
			if !m.Has(e.field) {
				setTexts(e, m, e.setting.defaults)
			}
		case e.list():
			list := m.Mutable(e.field).List()
			for i := range list.Len() {
				if item := list.Get(i).Message(); item.IsValid() {
					fillDefaults(e.section, item)
				}
			}
		default:
			fillDefaults(e.section, m.Mutable(e.field).Message())
		}
	}
}

// setTexts sets a setting to what was found valid before. No text: it stays
// absent.
func setTexts(e *entry, m protoreflect.Message, texts []string) {
	for _, text := range texts {
		v, err := e.setting.parse(text)
		if err != nil {
			panic(fmt.Sprintf("config: %s: %q was taken for valid: %v", e.field.FullName(), text, err))
		}
		if e.list() {
			m.Mutable(e.field).List().Append(v)
		} else {
			m.Set(e.field, v)
		}
	}
}
