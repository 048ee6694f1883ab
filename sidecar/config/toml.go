package config

import (
	"bytes"
	"errors"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

func (p *problems) decodeTOML(content []byte) *node {
	index := indexLines(content)
	if offset := tooDeep(content); offset >= 0 {
		p.addAtf(index.line(offset), "", "", "lists and tables lie more than %d deep in each other", maxNesting)
		return nil
	}

	t := tomlReader{problems: p, index: index, line: 1, written: make(map[*node]bool)}
	root := &node{kind: nodeTable, line: 1}
	t.table, t.path = root, ""
	before := len(p.found)
	t.parser.Reset(content)
	for t.parser.NextExpression() {
		t.expression(root, t.parser.Expression())
	}
	if t.parser.Error() == nil && len(p.found) > before {
		return root
	}
	if t.widest > maxKeys { // the decoder looks for each key among all before it
		p.addAtf(0, "", "", "a table holds more than %d keys", maxKeys)
		return nil
	}

	// The parser knows the grammar only. What else TOML forbids, such as adding to an
	// inline table, the decoder says, and it knows the line of every error.
	var discard map[string]any
	err := toml.Unmarshal(content, &discard)
	if err == nil {
		err = t.parser.Error()
	}
	if err != nil {
		line := 0
		if where, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ = where.Position()
		}
		p.addAtf(line, "", "", "is not TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
		return nil
	}
	return root
}

// maxKeys bounds the keys of one TOML table.
const maxKeys = 10_000

// tomlReader builds the document from the parser's expressions. The decoder of
// go-toml would give maps, in which neither lines nor duplicate keys are left.
type tomlReader struct {
	*problems
	parser  unstable.Parser
	index   lineIndex
	line    int            // of the last node that had a place
	table   *node          // the one that the last header opened
	path    string         // of table
	widest  int            // most keys in one table
	written map[*node]bool // tables and lists that no header may name again
}

func (t *tomlReader) expression(root *node, e *unstable.Node) {
	var keys []pair
	for it := e.Key(); it.Next(); {
		keys = append(keys, pair{key: string(it.Node().Data), line: t.place(it.Node())})
	}
	last := keys[len(keys)-1]
	switch e.Kind {
	case unstable.KeyValue:
		t.assign(t.table, t.path, keys, e.Value())
	case unstable.Table:
		outer, path, ok := t.descend(root, "", keys[:len(keys)-1], false)
		t.path = join(path, keyText(last.key))
		t.table = &node{kind: nodeTable, line: last.line}
		if i := outer.find(last.key); ok && i >= 0 {
			if there := outer.pairs[i].value; there.kind == nodeTable && !t.written[there] {
				t.table = there
				t.written[there] = true
				return
			}
		}
		t.written[t.table] = true
		if ok {
			last.value = t.table
			outer.put(t.problems, last, t.path)
			t.widest = max(t.widest, len(outer.pairs))
		}
	case unstable.ArrayTable:
		outer, path, ok := t.descend(root, "", keys[:len(keys)-1], false)
		t.path = join(path, keyText(last.key))
		t.table = &node{kind: nodeTable, line: last.line}
		t.written[t.table] = true
		if !ok {
			return
		}
		i := outer.find(last.key)
		if i < 0 {
			last.value = &node{kind: nodeList, line: last.line}
			i = outer.append(last)
			t.written[last.value] = true
		}
		list := outer.pairs[i].value
		if !t.written[list] || list.kind != nodeList {
			outer.put(t.problems, last, t.path)
			return
		}
		t.path = at(t.path, len(list.items))
		list.items = append(list.items, t.table)
	default:
	}
}

// descend finds the table that a dotted key leads to, making what is missing; it
// is closed to headers when it belongs to an assignment. ok is false when
// something else than a table is in the way, which is then a problem.
func (t *tomlReader) descend(from *node, path string, keys []pair, closed bool) (to *node, toPath string, ok bool) {
	for _, key := range keys {
		path = join(path, keyText(key.key))
		i := from.find(key.key)
		if i < 0 {
			key.value = &node{kind: nodeTable, line: key.line}
			t.written[key.value] = closed
			i = from.append(key)
		}
		next := from.pairs[i].value
		if next.kind == nodeList && t.written[next] {
			path = at(path, len(next.items)-1)
			next = next.items[len(next.items)-1]
		}
		if next.kind != nodeTable {
			t.addAtf(key.line, path, "", "stands here twice; the first is in line %d and is %s", from.pairs[i].line, next.kind)
			return &node{kind: nodeTable}, path, false
		}
		from = next
	}
	return from, path, true
}

func (t *tomlReader) assign(to *node, path string, keys []pair, value *unstable.Node) {
	outer, path, ok := t.descend(to, path, keys[:len(keys)-1], true)
	last := keys[len(keys)-1]
	path = join(path, keyText(last.key))
	last.value = t.read(value, path)
	if ok {
		outer.put(t.problems, last, path)
		t.widest = max(t.widest, len(outer.pairs))
	}
}

func (t *tomlReader) read(n *unstable.Node, path string) *node {
	out := &node{line: t.place(n), text: string(n.Data)}
	switch n.Kind {
	case unstable.String:
		out.kind = nodeText
	case unstable.Integer:
		out.kind, out.text = nodeInteger, strings.TrimPrefix(strings.ReplaceAll(out.text, "_", ""), "+")
	case unstable.Float:
		out.kind, out.text = nodeFloat, strings.ReplaceAll(out.text, "_", "")
	case unstable.Bool:
		out.kind = nodeBool
	case unstable.Array:
		out.kind = nodeList
		for it := n.Children(); it.Next(); {
			out.items = append(out.items, t.read(it.Node(), at(path, len(out.items))))
		}
	case unstable.InlineTable:
		out.kind = nodeTable
		t.written[out] = true
		for it := n.Children(); it.Next(); {
			var keys []pair
			for key := it.Node().Key(); key.Next(); {
				keys = append(keys, pair{key: string(key.Node().Data), line: t.place(key.Node())})
			}
			t.assign(out, path, keys, it.Node().Value())
		}
	default:
		out.kind = nodeTime
	}
	return out
}

// place is a node's line. Not every node has one: those follow one that has.
func (t *tomlReader) place(n *unstable.Node) int {
	if n.Raw.Length > 0 {
		t.line = t.index.line(int(n.Raw.Offset))
	}
	return t.line
}

// tooDeep is where brackets are nested deeper than maxNesting, or -1. The parser
// recurses for each without a bound, and a stack that overflows ends the process.
func tooDeep(content []byte) int {
	depth := 0
	for i := 0; i < len(content); i++ {
		switch c := content[i]; c {
		case '[', '{':
			if depth++; depth > maxNesting {
				return i
			}
		case ']', '}':
			depth = max(0, depth-1)
		case '#':
			i += lineEnd(content[i:])
		case '"', '\'':
			i += stringEnd(content[i:])
		}
	}
	return -1
}

func lineEnd(b []byte) int {
	if n := bytes.IndexByte(b, '\n'); n >= 0 {
		return n
	}
	return len(b)
}

// stringEnd is the position of the last byte of the TOML string that b begins
// with. A string of one line ends with the line when it does not end before.
func stringEnd(b []byte) int {
	quote := b[:1]
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(b, triple) {
		quote = triple
	}
	for i := len(quote); i < len(b); i++ {
		switch {
		case b[i] == '\\' && quote[0] == '"':
			i++
		case b[i] == '\n' && len(quote) == 1:
			return i
		case bytes.HasPrefix(b[i:], quote):
			return i + len(quote) - 1
		}
	}
	return len(b)
}
