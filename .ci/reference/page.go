package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// page is the reference in Markdown: a heading, an introduction and a table for
// each section.
func page(sections []section) string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "### %s\n\n%s\n\n", title(s.path), markdown(s.intro))
		b.WriteString("| setting | default | allowed | takes effect | meaning |\n|---|---|---|---|---|\n")
		for _, r := range s.rows {
			b.WriteString(line(s.path, r))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// title is a section's heading.
func title(path string) string {
	if path == "" {
		return "Top level"
	}
	return code(path)
}

// line is a row of a table. That of a section links to its heading.
func line(path string, r row) string {
	cells := []string{code(r.name), "", "", "", markdown(r.meaning)}
	if s := r.setting; s != nil {
		cells[1], cells[2], cells[3] = defaultOf(s), allowed(s), effect(s)
	} else {
		cells[0] = "[" + code(r.name) + "](#" + anchor(path+r.name) + ")"
	}
	for i := range cells {
		cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// anchor is what a heading is called in a link: its letters in lower case, its
// digits, and of all else only "-" and "_".
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_' {
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

func defaultOf(s *config.Setting) string {
	switch {
	case s.Required:
		return "required"
	case s.Default == "":
		return "empty"
	}
	return written(s, s.Default)
}

// written is a value as YAML wants it: a text that looks like a number, such as
// the mode 0660, stands in quotes.
func written(s *config.Setting, value string) string {
	if _, err := strconv.ParseFloat(value, 64); err == nil && s.Type == "text" {
		return code(strconv.Quote(value))
	}
	return code(value)
}

// allowed words what a value may be, such as "1s to 720h, or 0s (no limit)".
func allowed(s *config.Setting) string {
	switch {
	case len(s.Allowed) > 0:
		values := make([]string, 0, len(s.Allowed))
		for _, v := range s.Allowed {
			values = append(values, written(s, v))
		}
		return strings.Join(values, ", ")
	case s.List:
		return "a list; each " + form(s)
	}
	return form(s)
}

func form(s *config.Setting) string { return cmp.Or(s.Range(), "any text") }

// effect words when a change takes effect.
func effect(s *config.Setting) string {
	if s.Effect == "live" {
		return "at once"
	}
	return s.Effect
}

func code(text string) string { return "`" + text + "`" }

// markdown keeps a comment's text as it is, save what it marks as code itself:
// elsewhere nothing of it is taken for emphasis or HTML.
func markdown(text string) string {
	parts := strings.Split(text, "`")
	for i := 0; i < len(parts); i += 2 {
		parts[i] = outsideCode.Replace(parts[i])
	}
	return strings.Join(parts, "`")
}

var outsideCode = strings.NewReplacer("&", "&amp;", "<", "&lt;", "*", `\*`)
