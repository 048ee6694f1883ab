package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is a configuration that was refused, with everything that is wrong with
// it.
type Error struct {
	// File is the file's path as it was given; empty for a message.
	File string
	// Problems are sorted by line, then by path. There is at least one, and there
	// are at most maxProblems; the last one then counts the others.
	Problems []Problem
}

// Problem is one thing that is wrong.
type Problem struct {
	// Path is where: the key's path, such as
	// "upstreams[2] (payments).connections.max" with positions counted from 0, or
	// the name of an environment variable or flag. Empty: the file as a whole.
	Path string
	// Line is the line in the file, counted from 1; 0 when the problem is not in a
	// file or has no place in it.
	Line int
	// Value is what was found, as it was written: texts in quotes, long ones cut,
	// "(set)" for a secret. Empty: there is none to show.
	Value string
	// Message says what is wrong and what is allowed.
	Message string
}

// Error words one problem a line, in columns: place, path, value and message.
func (e *Error) Error() string {
	width := [2]int{}
	rows := make([][3]string, len(e.Problems))
	for i, p := range e.Problems {
		rows[i] = [3]string{e.place(p), p.Path, p.Text()}
		for c := range width {
			width[c] = max(width[c], len([]rune(rows[i][c])))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		if i > 0 {
			b.WriteByte('\n')
		}
		for c, w := range width {
			if w > 0 {
				fmt.Fprintf(&b, "%-*s  ", w, row[c])
			}
		}
		b.WriteString(row[2])
	}
	return b.String()
}

func (e *Error) place(p Problem) string {
	switch {
	case p.Line > 0:
		return e.File + ":" + strconv.Itoa(p.Line)
	case strings.HasPrefix(p.Path, variablePrefix):
		return "environment"
	case strings.HasPrefix(p.Path, flagPrefix):
		return "command line"
	}
	return e.File
}

// Text is the value and the message.
func (p Problem) Text() string {
	if p.Value == "" {
		return p.Message
	}
	return p.Value + ": " + p.Message
}

// problems collects what is wrong. Paths are kept without upstream names until
// the end, because a name may be known only later.
type problems struct {
	found []Problem
	more  int               // found beyond maxProblems
	bad   map[string]bool   // paths about which something was said
	holds map[string]bool   // paths that have a bad one in them
	lines map[string]int    // line of each key that was read from a file
	names map[string]string // path of an upstream -> its name
}

func newProblems() *problems {
	return &problems{bad: make(map[string]bool), holds: make(map[string]bool), lines: make(map[string]int), names: make(map[string]string)}
}

// maxProblems bounds what is listed, for a file that is no configuration at all.
const maxProblems = 1000

// addf notes a problem of a key; its line, or that of what surrounds it, is
// known from reading.
func (p *problems) addf(path, value, format string, args ...any) {
	p.addAtf(p.line(path), path, value, format, args...)
}

func (p *problems) addAtf(line int, path, value, format string, args ...any) {
	p.mark(path)
	if len(p.found) == maxProblems {
		p.more++
		return
	}
	p.found = append(p.found, Problem{Path: path, Line: line, Value: value, Message: fmt.Sprintf(format, args...)})
}

// mark notes that something was said about a path.
func (p *problems) mark(path string) {
	p.bad[path] = true
	for path != "" && !p.holds[path] {
		p.holds[path] = true
		path = outer(path)
	}
}

// spoiled reports whether a key, something around it or something in it is
// already known to be wrong, so that a rule about it would speak of a value
// nobody wrote.
func (p *problems) spoiled(path string) bool {
	if p.holds[path] || p.bad[""] {
		return true
	}
	for ; path != ""; path = outer(path) {
		if p.bad[path] {
			return true
		}
	}
	return false
}

// outer is the path of what surrounds a key.
func outer(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

func (p *problems) line(path string) int {
	for ; path != ""; path = outer(path) {
		if line, ok := p.lines[path]; ok {
			return line
		}
	}
	return 0
}

// err is the Error of all that was found, or nil.
func (p *problems) err(file string) error {
	if len(p.found) == 0 {
		return nil
	}
	e := &Error{File: file}
	for _, problem := range p.found {
		problem.Path = p.named(problem.Path)
		e.Problems = append(e.Problems, problem)
	}
	slices.SortStableFunc(e.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path))
	})
	if p.more > 0 {
		e.Problems = append(e.Problems, Problem{Message: fmt.Sprintf("and %d more", p.more)})
	}
	return e
}

// named puts an upstream's name behind its position.
func (p *problems) named(path string) string {
	end := strings.IndexByte(path, ']') + 1
	if name := p.names[path[:end]]; name != "" {
		return path[:end] + " (" + name + ")" + path[end:]
	}
	return path
}

// join is the path of a key inside a section.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
