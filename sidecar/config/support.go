package config

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// notYet lists the settings of an upstream that the engine does not honour. Such
// a setting may be given with its default only, so that nobody relies on what
// does not happen. A line goes when the engine honours the setting and
// translate passes it on; a test holds the two against each other.
var notYet []string

// unsupported reports each setting of notYet that is not at its default. key is
// the section's path inside the upstream.
func (p *problems) unsupported(s *section, m protoreflect.Message, path, key string) {
	for _, e := range s.entries {
		path, key := join(path, e.name), join(key, e.name)
		switch {
		case !m.Has(e.field):
		case e.section != nil:
			p.unsupported(e.section, m.Get(e.field).Message(), path, key)
		case !slices.Contains(notYet, key):
		case e.list():
			p.rulef([]string{path}, path, "", "is not supported by this version; leave it out")
		default:
			if v := m.Get(e.field); !e.setting.isDefault(v) {
				p.rulef([]string{path}, path, e.setting.text(v), "is not supported by this version, which knows %s only; leave it out",
					e.setting.defaultText())
			}
		}
	}
}

func (s *setting) isDefault(v protoreflect.Value) bool {
	if len(s.defaults) == 0 {
		return false
	}
	d, err := s.parse(s.defaults[0])
	if err != nil {
		return false
	}
	if s.kind == kindText {
		return v.String() == d.String()
	}
	return s.amount(v) == s.amount(d)
}

func (s *setting) defaultText() string {
	if len(s.defaults) == 0 {
		return "its absence"
	}
	return s.defaults[0]
}
