package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

func (p *problems) decodeJSON(content []byte) *node {
	index := indexLines(content)
	var whole json.RawMessage
	if err := json.Unmarshal(content, &whole); err != nil {
		line := 0
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line = index.line(int(syntax.Offset) - 1)
		}
		p.addAtf(line, "", "", "is not JSON: %s", err)
		return nil
	}
	j := jsonReader{problems: p, index: index, tokens: json.NewDecoder(bytes.NewReader(content))}
	j.tokens.UseNumber()
	n, err := j.value("", 0)
	if err != nil {
		p.addAtf(j.line(), "", "", "%s", err)
		return nil
	}
	return p.root(n)
}

// jsonReader builds the document from tokens, because decoding into a map keeps
// the last of several equal keys and says nothing.
type jsonReader struct {
	*problems
	index  lineIndex
	tokens *json.Decoder
}

// line is that of the last token.
func (j *jsonReader) line() int { return j.index.line(int(j.tokens.InputOffset()) - 1) }

func (j *jsonReader) value(path string, depth int) (*node, error) {
	token, err := j.tokens.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxNesting {
		return nil, errors.New("lists and tables lie more than " + strconv.Itoa(maxNesting) + " deep in each other")
	}
	n := &node{line: j.line()}
	switch token := token.(type) {
	case nil:
	case bool:
		n.kind, n.text = nodeBool, strconv.FormatBool(token)
	case string:
		n.kind, n.text = nodeText, token
	case json.Number:
		n.kind, n.text = nodeInteger, token.String()
		if strings.ContainsAny(n.text, ".eE") {
			n.kind = nodeFloat
		}
	case json.Delim:
		if token == '[' {
			n.kind = nodeList
			err = j.items(n, path, depth)
		} else {
			n.kind = nodeTable
			err = j.pairs(n, path, depth)
		}
	}
	return n, err
}

func (j *jsonReader) items(n *node, path string, depth int) error {
	for j.tokens.More() {
		item, err := j.value(at(path, len(n.items)), depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, err := j.tokens.Token()
	return err
}

func (j *jsonReader) pairs(n *node, path string, depth int) error {
	for j.tokens.More() {
		token, err := j.tokens.Token()
		if err != nil {
			return err
		}
		key, line := token.(string), j.line() //nolint:forcetypeassert // the decoder gives nothing else as a key
		path := join(path, keyText(key))
		value, err := j.value(path, depth+1)
		if err != nil {
			return err
		}
		n.put(j.problems, pair{key, line, value}, path)
	}
	_, err := j.tokens.Token()
	return err
}
