package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

const variablePrefix = "WARMPOOL_"

// variable is the environment's name of a setting: log.level is
// WARMPOOL_LOG_LEVEL.
func variable(path string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// serviceLink is the form of the variables that Kubernetes gives to each
// container for each Service: one that is called warmpool, or warmpool-NAME,
// must not stop the process.
var serviceLink = regexp.MustCompile(
	`^WARMPOOL_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environ reads the settings among the environment's variables into a tree. A
// list is separated by commas. An empty variable counts as absent.
func (p *problems) environ(environ, others []string) map[string]any {
	settings := make(map[string]*entry)
	paths := make(map[string]string)
	visitSettings(schema(), "", func(path string, e *entry) {
		settings[variable(path)], paths[variable(path)] = e, path
	})

	values := make(map[string]string)
	var names []string
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, variablePrefix) || slices.Contains(others, name) {
			continue
		}
		if _, twice := values[name]; !twice {
			names = append(names, name)
		}
		values[name] = value // the last one holds, as it does for os.Getenv of a child
	}

	tree := make(map[string]any)
	for _, name := range names {
		e, value := settings[name], values[name]
		switch {
		case e == nil && serviceLink.MatchString(name):
		case e == nil && ofList(name) != "":
			p.addAtf(0, name, "", "%s cannot come from the environment; write them into the configuration file", ofList(name))
		case e == nil:
			p.addAtf(0, name, "", "unknown setting; %s", suggestName(name, slices.Collect(maps.Keys(settings))))
		case value == "":
		default:
			texts := []string{value}
			if e.list() {
				texts = strings.Split(value, ",")
				for i := range texts {
					texts[i] = strings.TrimSpace(texts[i])
				}
			}
			if p.texts(e, name, paths[name], texts) {
				put(tree, paths[name], e.value(texts))
			}
		}
	}
	return tree
}

// ofList is the key of the list of sections that a variable seems to mean, which
// the environment has no way to write.
func ofList(name string) string {
	for _, e := range schema().entries {
		if e.section != nil && e.list() && strings.HasPrefix(name, variable(e.name)) {
			return e.name
		}
	}
	return ""
}

// texts checks the texts of a setting that a variable or flag gives.
func (p *problems) texts(e *entry, source, path string, texts []string) bool {
	right := true
	for _, text := range texts {
		if err := e.setting.judge(text); err != nil {
			p.addAtf(0, source, e.setting.shown(text), "%s", err)
			p.mark(path)
			right = false
		}
	}
	return right
}

func put(tree map[string]any, path string, value any) {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		inner, _ := tree[key].(map[string]any)
		if inner == nil {
			inner = make(map[string]any)
			tree[key] = inner
		}
		tree = inner
	}
	tree[keys[len(keys)-1]] = value
}
