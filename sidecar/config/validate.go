package config

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// config reports everything that is wrong with a configuration. What is absent counts
// as its default. Files that settings name are not opened: Load and Policy do that.
func (p *problems) config(c *warmpoolv1.Config) {
	for i, u := range c.GetUpstreams() {
		p.nameUpstream(at(upstreamsKey, i), u.GetName())
	}
	p.section(schema(), c.ProtoReflect(), "")
	p.configRules(c)
	for i, u := range c.GetUpstreams() {
		p.upstreamRules(u, at(upstreamsKey, i))
	}
}

// upstream is config for one upstream, whose paths begin with path.
func (p *problems) upstream(u *warmpoolv1.Upstream, path string) {
	p.section(upstreamSchema(), u.ProtoReflect(), path)
	p.upstreamRules(u, path)
}

// nameUpstream makes paths show an upstream's name, if it is one.
func (p *problems) nameUpstream(path, name string) {
	if checkName(name) == nil {
		p.names[path] = name
	}
}

// section checks each setting of a message by itself.
func (p *problems) section(s *section, m protoreflect.Message, path string) {
	if numbers := unknownFields(m); numbers != "" {
		p.addf(path, "", "holds fields that this version does not know (number %s): whoever sent it speaks a newer version", numbers)
	}
	for _, e := range s.entries {
		path := join(path, e.name)
		switch {
		case !m.Has(e.field):
			if e.setting != nil && e.setting.options.GetRequired() && !p.spoiled(path) {
				p.addf(path, "", "is missing; %s", mustBe(e.setting))
			}
		case e.section != nil && e.list():
			list := m.Get(e.field).List()
			for i := range list.Len() {
				p.section(e.section, list.Get(i).Message(), at(path, i))
			}
		case e.section != nil:
			p.section(e.section, m.Get(e.field).Message(), path)
		case e.list():
			list := m.Get(e.field).List()
			for i := range list.Len() {
				p.value(e.setting, list.Get(i), at(path, i))
			}
			p.distinct(e.setting, list, path)
		default:
			p.value(e.setting, m.Get(e.field), path)
		}
	}
}

func (p *problems) value(s *setting, v protoreflect.Value, path string) {
	if err := s.check(v); err != nil {
		p.addf(path, s.text(v), "%s", err)
	}
}

// distinct reports what stands in a list twice.
func (p *problems) distinct(s *setting, list protoreflect.List, path string) {
	first := make(map[string]int)
	for i := range list.Len() {
		text := list.Get(i).String()
		if j, ok := first[text]; ok {
			p.addf(at(path, i), s.text(list.Get(i)), "is in the list already, at %d", j)
			continue
		}
		first[text] = i
	}
}

// mustBe words what is allowed for a setting of which nothing is known yet.
func mustBe(s *setting) string {
	if s.kind == kindText {
		if err := s.check(protoreflect.ValueOfString("")); err != nil {
			return err.Error()
		}
	}
	return "must be " + s.kind.expects() + s.within(": ")
}

// unknownFields lists the numbers of fields that the message's sender knew and
// this program does not.
func unknownFields(m protoreflect.Message) string {
	var numbers []string
	for raw := m.GetUnknown(); len(raw) > 0; {
		number, _, n := protowire.ConsumeField(raw)
		if n < 0 {
			break
		}
		numbers = append(numbers, strconv.Itoa(int(number)))
		raw = raw[n:]
	}
	return strings.Join(numbers, ", ")
}
