package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (p *problems) decodeYAML(content []byte) *node {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF): // comments only
		return &node{kind: nodeTable, line: 1}
	case err != nil:
		p.yamlError(err, content)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.yamlError(err, content)
		return nil
	default:
		p.addAtf(second.Line, "", "", "a second document begins here; a configuration is one document")
		return nil
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" && root.Value == "" { // nothing after "---"
		return &node{kind: nodeTable, line: 1}
	}
	y := yamlReader{problems: p, open: make(map[*yaml.Node]bool)}
	n := y.read(root, "", 0)
	if p.bad[""] {
		return nil
	}
	return p.root(n)
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// yamlError notes a syntax error, whose line stands in its text only. A tab that
// begins an indentation cannot be seen, and the parser does not name it.
func (p *problems) yamlError(err error, content []byte) {
	text := err.Error()
	match := yamlLine.FindStringSubmatch(text)
	line, _ := strconv.Atoi(match[1])
	if lines := bytes.Split(content, []byte("\n")); line >= 1 && line <= len(lines) && indentedByTab(lines[line-1]) {
		p.addAtf(line, "", "", "is not YAML: a tab indents this line, where YAML takes spaces alone")
		return
	}
	p.addAtf(line, "", "", "is not YAML: %s", strings.TrimPrefix(text, match[0]))
}

func indentedByTab(line []byte) bool {
	indentation := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
	return bytes.IndexByte(indentation, '\t') >= 0
}

// maxAliased bounds the nodes that aliases stand for, so that a small file cannot
// grow without end.
const maxAliased = 100_000

// yamlReader turns YAML nodes into ours, aliases and merge keys replaced by what
// they stand for.
type yamlReader struct {
	*problems
	open    map[*yaml.Node]bool // anchors that are being expanded
	aliased int
}

func (y *yamlReader) read(n *yaml.Node, path string, depth int) *node {
	switch {
	case y.bad[""]:
		return &node{line: n.Line}
	case depth > maxNesting:
		y.addAtf(n.Line, "", "", "lists and tables lie more than %d deep in each other", maxNesting)
		return &node{line: n.Line}
	}
	if len(y.open) > 0 {
		if y.aliased++; y.aliased > maxAliased {
			y.addAtf(n.Line, "", "", "aliases stand for more than %d values", maxAliased)
			return &node{line: n.Line}
		}
	}

	out := &node{line: n.Line}
	switch n.Kind {
	case yaml.AliasNode:
		if y.open[n.Alias] {
			y.addAtf(n.Line, "", "", "anchor %q contains itself", n.Value)
			return out
		}
		y.open[n.Alias] = true
		out = y.read(n.Alias, path, depth+1)
		delete(y.open, n.Alias)
		out.line = n.Line
	case yaml.SequenceNode:
		out.kind = nodeList
		y.untagged(n, "!!seq", path)
		for i, item := range n.Content {
			out.items = append(out.items, y.read(item, at(path, i), depth+1))
		}
	case yaml.MappingNode:
		out.kind = nodeTable
		y.untagged(n, "!!map", path)
		y.pairs(out, n, path, depth)
	case yaml.ScalarNode:
		out.kind, out.text = y.scalarKind(n, path), n.Value
	case yaml.DocumentNode:
	}
	return out
}

// pairs reads a mapping. What "<<" merges in comes last and never replaces.
func (y *yamlReader) pairs(out *node, n *yaml.Node, path string, depth int) {
	var merged []*node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			y.addAtf(key.Line, path, "", "a key must be a text")
		case key.ShortTag() == "!!merge":
			from := y.read(value, join(path, key.Value), depth+1)
			if from.kind == nodeTable {
				merged = append(merged, from)
				continue
			}
			for _, item := range from.items {
				if item.kind == nodeTable {
					merged = append(merged, item)
				} else {
					y.addAtf(key.Line, join(path, key.Value), item.shown(), "must be an alias of a table, or a list of such")
				}
			}
			if from.kind != nodeList {
				y.addAtf(key.Line, join(path, key.Value), from.shown(), "must be an alias of a table, or a list of such")
			}
		default:
			path := join(path, keyText(key.Value))
			out.put(y.problems, pair{key.Value, key.Line, y.read(value, path, depth+1)}, path)
		}
	}
	for _, from := range merged {
		for _, pair := range from.pairs {
			if out.find(pair.key) < 0 {
				out.append(pair)
			}
		}
	}
}

func (y *yamlReader) scalarKind(n *yaml.Node, path string) nodeKind {
	switch n.ShortTag() {
	case "!!null":
		return nodeNull
	case "!!bool":
		return nodeBool
	case "!!int":
		return nodeInteger
	case "!!float":
		return nodeFloat
	case "!!timestamp":
		return nodeTime
	case "!!merge":
		return nodeText
	}
	y.untagged(n, "!!str", path)
	return nodeText
}

// untagged reports a tag that asks for another type than the node's own.
func (y *yamlReader) untagged(n *yaml.Node, own, path string) {
	if tag := n.ShortTag(); tag != own {
		y.addAtf(n.Line, path, quoted(tag), "YAML tags have no meaning here; write the plain value")
	}
}
