package config

import (
	"slices"
	"strings"
)

// suggest words what an unknown key may have meant: a key of the section in
// another spelling, a setting with that name elsewhere, or else all the section's
// keys.
func (s *section) suggest(key string, root *section) string {
	names := make([]string, len(s.entries))
	for i, e := range s.entries {
		names[i] = e.name
	}
	if near := nearest(key, names); near != "" {
		return "did you mean " + near + "?"
	}
	for _, within := range []*section{s, upstreamSchema(), root} {
		var found string
		within.visit("", func(path string) {
			if last := path[strings.LastIndexByte(path, '.')+1:]; found == "" && (plain(last) == plain(key) || plain(path) == plain(key)) {
				found = path
			}
		})
		switch {
		case found == "":
		case within == s:
			return "did you mean " + found + " (one section further in)?"
		case within == root:
			return "there is a setting " + found
		default:
			return "an upstream has a setting " + found
		}
	}
	return "known are " + s.keys()
}

// visit calls f with the path of each key at any depth.
func (s *section) visit(path string, f func(path string)) {
	for _, e := range s.entries {
		path := join(path, e.name)
		f(path)
		if e.section != nil && !e.list() {
			e.section.visit(path, f)
		}
	}
}

// suggestName is suggest for a flat set of names.
func suggestName(name string, names []string) string {
	if near := nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	slices.Sort(names)
	return "known are " + strings.Join(names, ", ")
}

// nearest is the name that differs from key by spelling only, or the one with
// the fewest edits if they are few; empty when there is none.
func nearest(key string, names []string) string {
	best, least := "", max(1, min(len(key), 12)/3)+1
	for _, name := range names {
		if plain(name) == plain(key) {
			return name
		}
		if d := distance(plain(key), plain(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// plain is a key without case and separators: maxIdleTime, max-idle-time and
// max_idle_time are one.
func plain(key string) string {
	return strings.ToLower(separators.Replace(key))
}

var separators = strings.NewReplacer("_", "", "-", "", ".", "", " ", "")

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b. Texts longer than any key are far from all.
func distance(a, b string) int {
	const most = 64
	if len(a) > most || len(b) > most {
		return most
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
