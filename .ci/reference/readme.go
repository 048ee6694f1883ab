package main

import (
	"fmt"
	"strings"
)

// The reference stands between these lines of the README; the first one goes on
// to say who writes it.
const (
	begin = "<!-- settings:"
	end   = "<!-- /settings -->"
)

// replace puts the reference between its two lines in the README, which it
// leaves as it is otherwise.
func replace(readme, reference string) (string, error) {
	for _, mark := range []string{begin, end} {
		if n := strings.Count("\n"+readme, "\n"+mark); n != 1 {
			return "", fmt.Errorf("%d lines begin with %q; exactly one must, for the settings to go between it and its counterpart", n, mark)
		}
	}
	before, rest, _ := strings.Cut("\n"+readme, "\n"+begin)
	_, after, ordered := strings.Cut(rest, "\n"+end)
	if !ordered {
		return "", fmt.Errorf("%q stands before %q", end, begin)
	}
	remark, _, _ := strings.Cut(rest, "\n")
	return strings.TrimPrefix(before+"\n"+begin+remark+"\n\n"+reference+end+after, "\n"), nil
}

// difference shows the first line in which two texts differ.
func difference(have, want string) string {
	haves, wants := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range max(len(haves), len(wants)) {
		if h, w := nth(haves, i), nth(wants, i); h != w {
			return fmt.Sprintf("line %d\n- %s\n+ %s", i+1, h, w)
		}
	}
	return ""
}

func nth(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(the end)"
}
