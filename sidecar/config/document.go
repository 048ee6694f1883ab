package config

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// node is a piece of a document, whatever its format.
type node struct {
	kind  nodeKind
	line  int            // where it begins, counted from 1
	text  string         // of a scalar: a text's value, or how anything else is written
	items []*node        // of a list
	pairs []pair         // of a table, in order, each key once
	where map[string]int // position of each key in pairs
}

type pair struct {
	key   string
	line  int
	value *node
}

type nodeKind uint8

const (
	nodeNull nodeKind = iota
	nodeBool
	nodeInteger
	nodeFloat
	nodeText
	nodeTime
	nodeList
	nodeTable
)

func (k nodeKind) String() string {
	return [...]string{"null", "a truth value", "a whole number", "a number", "a text", "a date or time", "a list", "a table"}[k]
}

// shown is the node as a problem shows it.
func (n *node) shown() string {
	switch n.kind {
	case nodeText:
		return quoted(redactURL(n.text))
	case nodeList, nodeTable, nodeNull:
		return n.kind.String()
	case nodeBool, nodeInteger, nodeFloat, nodeTime:
	}
	return strings.Trim(quoted(n.text), `"`)
}

// find is the position of a key's pair, or -1.
func (n *node) find(key string) int {
	if i, ok := n.where[key]; ok {
		return i
	}
	return -1
}

// append adds a pair whose key is not there yet, and tells its position.
func (n *node) append(one pair) int {
	if n.where == nil {
		n.where = make(map[string]int)
	}
	n.pairs = append(n.pairs, one)
	n.where[one.key] = len(n.pairs) - 1
	return len(n.pairs) - 1
}

// maxNesting bounds how deep lists and tables lie in each other. The schema
// needs five.
const maxNesting = 100

// decoders read a document of a format into a table. They report every key that
// stands twice and go on; a document that cannot be read is nil, with a problem.
var decoders = map[string]func(*problems, []byte) *node{
	".yaml": (*problems).decodeYAML,
	".yml":  (*problems).decodeYAML,
	".toml": (*problems).decodeTOML,
	".json": (*problems).decodeJSON,
}

// file reads the configuration file into a tree for merge. A file that cannot be
// read or decoded is a problem of the file as a whole.
func (p *problems) file(name string, files *[]File) map[string]any {
	decode := decoders[filepath.Ext(name)]
	if decode == nil {
		p.addAtf(0, "", "", "the extension %q names no format; it must be .yaml (or .yml), .toml or .json", filepath.Ext(name))
		return nil
	}
	content, err := readFile(name)
	if err != nil {
		p.addAtf(0, "", "", "%s", err)
		return nil
	}
	*files = append(*files, File{Path: name, SHA256: sha256.Sum256(content)})
	if line, err := checkText(content); err != nil {
		p.addAtf(line, "", "", "%s", err)
		return nil
	}
	document := decode(p, bytes.TrimPrefix(content, byteOrderMark))
	if document == nil {
		return nil
	}
	return p.table(schema(), document, "")
}

var byteOrderMark = []byte("\ufeff")

// checkText refuses what no format means. An empty file is one that is just
// being written, or was cut: taken for a configuration it would delete every
// upstream on reload.
func checkText(content []byte) (line int, err error) {
	if len(bytes.TrimSpace(bytes.TrimPrefix(content, byteOrderMark))) == 0 {
		return 0, errors.New("is empty; a configuration that keeps every default holds at least a comment, or {} in JSON")
	}
	rest := content
	for len(rest) > 0 {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			return lineAt(content, len(content)-len(rest)), errors.New("is not UTF-8")
		}
		rest = rest[size:]
	}
	return 0, nil
}

// lineAt is the line, counted from 1, of a position.
func lineAt(content []byte, offset int) int {
	return 1 + bytes.Count(content[:min(offset, len(content))], []byte("\n"))
}

// lineIndex holds where each line but the first begins.
type lineIndex []int

func indexLines(content []byte) lineIndex {
	var index lineIndex
	for i, c := range content {
		if c == '\n' {
			index = append(index, i+1)
		}
	}
	return index
}

// line is lineAt for many positions of one content.
func (index lineIndex) line(offset int) int {
	begun, exact := slices.BinarySearch(index, offset)
	if exact {
		begun++
	}
	return begun + 1
}

// root checks that a document is a table.
func (p *problems) root(n *node) *node {
	if n.kind != nodeTable {
		p.addAtf(n.line, "", n.shown(), "the document must be a table with %s", schema().keys())
		return nil
	}
	return n
}

// put adds a pair to a table, or reports that the key stands there already.
func (n *node) put(p *problems, one pair, path string) {
	if i := n.find(one.key); i >= 0 {
		p.addAtf(one.line, path, "", "stands here twice; the first is in line %d", n.pairs[i].line)
		return
	}
	n.append(one)
}
