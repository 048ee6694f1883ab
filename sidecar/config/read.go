package config

import (
	"fmt"
	"regexp"
	"strings"
)

// table reads a table of the file against its section: each key known, each
// value of its kind and found valid by itself. The tree holds what is right, as
// texts; the problems tell the rest.
func (p *problems) table(s *section, n *node, path string) map[string]any {
	tree := make(map[string]any, len(n.pairs))
	for _, pair := range n.pairs {
		path := join(path, keyText(pair.key))
		p.lines[path] = pair.line
		e := s.byName[pair.key]
		switch {
		case e == nil:
			p.addf(path, "", "unknown key; %s", s.suggest(pair.key, schema()))
		case pair.value.kind == nodeNull:
			p.addf(path, "null", "has no value; give it one or remove the key")
		case e.setting != nil && e.list():
			if texts := p.list(e.setting, pair.value, path); len(texts) > 0 {
				tree[e.name] = texts
			}
		case e.setting != nil:
			if text, ok := p.scalar(e.setting, pair.value, path); ok {
				tree[e.name] = text
			}
		case e.list():
			tree[e.name] = p.tables(e, pair.value, path)
		case pair.value.kind != nodeTable:
			p.addf(path, pair.value.shown(), "must be a table with %s", e.section.keys())
		default:
			tree[e.name] = p.table(e.section, pair.value, path)
		}
	}
	return tree
}

// keys lists what a section may hold.
func (s *section) keys() string {
	names := make([]string, len(s.entries))
	for i, e := range s.entries {
		names[i] = e.name
	}
	return strings.Join(names, ", ")
}

// tables reads a list of sections. A place whose table is wrong is kept, so that
// the others keep their position.
func (p *problems) tables(e *entry, n *node, path string) []any {
	if n.kind != nodeList {
		p.addf(path, n.shown(), "must be a list of tables, each with %s", e.section.keys())
		return nil
	}
	trees := make([]any, len(n.items))
	for i, item := range n.items {
		path := at(path, i)
		p.lines[path] = item.line
		if item.kind != nodeTable {
			p.addf(path, item.shown(), "must be a table with %s", e.section.keys())
			trees[i] = map[string]any{}
			continue
		}
		if i := item.find("name"); i >= 0 {
			p.nameUpstream(path, item.pairs[i].value.text)
		}
		trees[i] = p.table(e.section, item, path)
	}
	return trees
}

func (p *problems) list(s *setting, n *node, path string) []string {
	switch {
	case n.kind != nodeList:
		p.addf(path, s.shownNode(n), "must be a list of %ss", s.kind)
		return nil
	case len(n.items) == 0 && len(s.defaults) > 0:
		p.addf(path, "[]", "must not be empty; remove the key to have the default")
		return nil
	}
	var texts []string
	for i, item := range n.items {
		p.lines[at(path, i)] = item.line
		if text, ok := p.scalar(s, item, at(path, i)); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// scalar reads one value. An empty text where there is no default is the same as
// no text, and not ok.
func (p *problems) scalar(s *setting, n *node, path string) (string, bool) {
	if n.kind == nodeText && n.text == "" && s.kind == kindText && len(s.defaults) == 0 && !s.options.GetRequired() && !s.field.IsList() {
		return "", false
	}
	err := s.malformed()
	switch {
	case s.takes(n):
		err = s.judge(n.text)
	case s.kind == kindText && n.text != "" && !s.options.GetSecret():
		err = fmt.Errorf("must be a text: write it in quotes, %s", quoted(n.text))
	}
	if err != nil {
		p.addf(path, s.shownNode(n), "%s", err)
		return "", false
	}
	return n.text, true
}

// takes reports whether a node is of the type in which the setting is written.
func (s *setting) takes(n *node) bool {
	switch s.kind {
	case kindText, kindDuration:
		return n.kind == nodeText
	case kindWhole:
		return n.kind == nodeInteger
	case kindSize:
		return n.kind == nodeInteger || n.kind == nodeText
	case kindDecimal:
		return n.kind == nodeInteger || n.kind == nodeFloat
	}
	return false
}

func (s *setting) shownNode(n *node) string {
	if s.options.GetSecret() {
		return hidden
	}
	return n.shown()
}

// shown is a text of the environment or a flag as a problem shows it.
func (s *setting) shown(text string) string {
	if s.options.GetSecret() {
		return hidden
	}
	return quoted(redactURL(text))
}

var keyForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// keyText is a key as paths show it: in quotes when it could be taken for
// something else.
func keyText(key string) string {
	if len(key) <= 64 && keyForm.MatchString(key) {
		return key
	}
	return quoted(key)
}
