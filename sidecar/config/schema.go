package config

import (
	"fmt"
	"math"
	"sync"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// section is a message of the schema, compiled for reading: the settings and
// sections it holds, in the order of their declaration.
type section struct {
	descriptor protoreflect.MessageDescriptor
	entries    []*entry
	byName     map[string]*entry
}

// entry is one key of a section: a setting, or else a section, or a list of
// either.
type entry struct {
	name    string // the field's name, which is the file's key
	field   protoreflect.FieldDescriptor
	setting *setting // nil for a section
	section *section // nil for a setting
}

func (e *entry) list() bool { return e.field.IsList() }

// setting is the option of that name, its texts parsed.
type setting struct {
	kind     kind
	field    protoreflect.FieldDescriptor
	options  *warmpoolv1.Setting
	defaults []string // the default's text; one for each element of a list; none: no default
	min, max float64  // bounds of an amount, inclusive
	bounded  bool     // the option gives a bound, so that ranges are worth a word
}

// schema is Config, compiled. Its failure is a defect of the option's values in
// the proto files.
var schema = sync.OnceValue(func() *section {
	s, err := compile((*warmpoolv1.Config)(nil).ProtoReflect().Descriptor())
	if err != nil {
		panic(err)
	}
	return s
})

// upstreamSchema is the part of the schema that describes an upstream.
func upstreamSchema() *section { return schema().byName[upstreamsKey].section }

// upstreamsKey is the key that holds the upstreams.
const upstreamsKey = "upstreams"

func compile(d protoreflect.MessageDescriptor) (*section, error) {
	s := &section{descriptor: d, byName: make(map[string]*entry)}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		e := &entry{name: string(f.Name()), field: f}
		var err error
		if f.Message() == nil || f.Message().FullName() == durationName {
			e.setting, err = compileSetting(f)
		} else {
			e.section, err = compile(f.Message())
		}
		if err != nil {
			return nil, err
		}
		s.entries = append(s.entries, e)
		s.byName[e.name] = e
	}
	return s, nil
}

const durationName protoreflect.FullName = "google.protobuf.Duration"

func compileSetting(f protoreflect.FieldDescriptor) (*setting, error) {
	options, _ := proto.GetExtension(f.Options(), warmpoolv1.E_Setting).(*warmpoolv1.Setting)
	if options == nil {
		return nil, fmt.Errorf("%s has no option `setting`", f.FullName())
	}
	s := &setting{field: f, options: options, min: 0, max: math.Inf(1)}
	switch {
	case f.Message() != nil:
		s.kind = kindDuration
	case f.Kind() == protoreflect.StringKind:
		s.kind = kindText
	case f.Kind() == protoreflect.DoubleKind:
		s.kind = kindDecimal
	case f.Kind() == protoreflect.Uint32Kind, f.Kind() == protoreflect.Uint64Kind:
		s.kind = kindWhole
		if options.GetUnit() == warmpoolv1.Setting_UNIT_BYTES {
			s.kind = kindSize
		}
	default:
		return nil, fmt.Errorf("%s: the loader does not read fields of kind %s", f.FullName(), f.Kind())
	}

	for _, bound := range []struct {
		text string
		to   *float64
	}{{options.GetMin(), &s.min}, {options.GetMax(), &s.max}} {
		if bound.text == "" {
			continue
		}
		v, err := s.parse(bound.text)
		if err != nil {
			return nil, fmt.Errorf("%s: bound %q: %w", f.FullName(), bound.text, err)
		}
		*bound.to, s.bounded = s.amount(v), true
	}

	switch text := options.GetDefault(); {
	case text == "":
	case f.IsList():
		if err := yaml.Unmarshal([]byte(text), &s.defaults); err != nil {
			return nil, fmt.Errorf("%s: default %q: %w", f.FullName(), text, err)
		}
	default:
		s.defaults = []string{text}
	}
	for _, text := range s.defaults {
		if err := s.judge(text); err != nil {
			return nil, fmt.Errorf("%s: default %q: %w", f.FullName(), text, err)
		}
	}
	return s, nil
}
