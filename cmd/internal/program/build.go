package program

import (
	"runtime/debug"
	"strings"
)

// Dependency is the version of a module that a binary was built with.
func Dependency(info *debug.BuildInfo, path string) string {
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return "unknown"
}

// Revision is the version of a binary's module and the revision it was built from.
func Revision(info *debug.BuildInfo) string {
	text := []string{info.Main.Version}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text = append(text, s.Value[:min(12, len(s.Value))])
		case s.Key == "vcs.modified" && s.Value == "true":
			text = append(text, "modified")
		}
	}
	return strings.Join(text, " ")
}
