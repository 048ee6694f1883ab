package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// YAML writes a message as the configuration file would have it: what it writes
// of a valid message can be read again, and is the same. An upstream is written as
// a file that holds it alone.
func YAML[M *warmpoolv1.Config | *warmpoolv1.Upstream](m M) ([]byte, error) {
	message := any(m).(proto.Message).ProtoReflect() //nolint:forcetypeassert // both types of the constraint are messages
	if u, ok := any(m).(*warmpoolv1.Upstream); ok {
		message = (&warmpoolv1.Config{Upstreams: []*warmpoolv1.Upstream{u}}).ProtoReflect()
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(written(schema(), message)); err != nil {
		return nil, fmt.Errorf("writing YAML: %w", err)
	}
	return b.Bytes(), nil
}

func written(s *section, m protoreflect.Message) *yaml.Node {
	table := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range s.entries {
		if !m.Has(e.field) {
			continue
		}
		var value *yaml.Node
		switch v := m.Get(e.field); {
		case e.list():
			value = &yaml.Node{Kind: yaml.SequenceNode}
			for i := range v.List().Len() {
				if e.section != nil {
					value.Content = append(value.Content, written(e.section, v.List().Get(i).Message()))
				} else {
					value.Content = append(value.Content, e.setting.written(v.List().Get(i)))
				}
			}
			if e.section == nil {
				value.Style = yaml.FlowStyle
			}
		case e.section != nil:
			if value = written(e.section, v.Message()); len(value.Content) == 0 {
				continue
			}
		default:
			value = e.setting.written(v)
		}
		table.Content = append(table.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: e.name}, value)
	}
	return table
}

// written is a value as the file has it.
func (s *setting) written(v protoreflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch s.kind {
	case kindText:
		n.SetString(v.String())
	case kindDuration:
		n.Value = durationText(asDuration(v).AsDuration())
	case kindSize:
		n.Value = sizeText(v.Uint())
	case kindDecimal:
		n.Value = strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case kindWhole:
		n.Value = strconv.FormatUint(v.Uint(), 10)
	}
	return n
}

// Assign sets the setting of an upstream at that path to what a text says in the
// form of the file, a list separated by commas. An empty text is no value: the
// setting is left absent.
func Assign(u *warmpoolv1.Upstream, path, text string) error {
	e := find(upstreamSchema(), path)
	switch {
	case e == nil || e.setting == nil:
		return fmt.Errorf("%q is no setting of an upstream; it must be a path such as connections.max", path)
	case text == "":
		return nil
	}
	texts := []string{text}
	if e.list() {
		texts = strings.Split(text, ",")
	}
	for _, one := range texts {
		if err := e.setting.judge(strings.TrimSpace(one)); err != nil {
			return fmt.Errorf("%s: %s: %w", path, e.setting.shown(one), err)
		}
	}
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	setTexts(e, mutableHolder(u.ProtoReflect(), path), texts)
	return nil
}
