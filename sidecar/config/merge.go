package config

import (
	"bytes"
	"encoding/csv"
	"strings"

	"github.com/spf13/viper"
	"google.golang.org/protobuf/reflect/protoreflect"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// delimiter separates the keys of a path inside viper. No key of the schema
// contains it, and no other key gets there.
const delimiter = "/"

// merge lets viper lay the sources over each other and over the defaults.
// Values are texts, found valid before: a string, or []string for a list; a
// section is a map, the upstreams a list of maps.
//
// The environment is merged over the file instead of being bound, because viper
// would read it from the process: what a load reads is what its caller passed.
func merge(document, environ map[string]any, flags map[string]flagValue) *warmpoolv1.Config {
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	visitSettings(schema(), "", func(path string, e *entry) {
		if e.setting.defaults != nil {
			v.SetDefault(viperKey(path), e.value(e.setting.defaults))
		}
	})
	for _, layer := range []map[string]any{document, environ} {
		if err := v.MergeConfigMap(layer); err != nil {
			panic("config: viper cannot merge a checked tree: " + err.Error())
		}
	}
	for path, flag := range flags {
		if err := v.BindFlagValue(viperKey(path), flag); err != nil {
			panic("config: viper cannot bind a checked flag: " + err.Error())
		}
	}

	c := new(warmpoolv1.Config)
	fill(schema(), c.ProtoReflect(), func(path string) any { return v.Get(viperKey(path)) }, "")
	return c
}

func viperKey(path string) string { return strings.ReplaceAll(path, ".", delimiter) }

// visitSettings calls f for each setting that stands in no list of sections.
func visitSettings(s *section, path string, f func(path string, e *entry)) {
	for _, e := range s.entries {
		switch path := join(path, e.name); {
		case e.setting != nil:
			f(path, e)
		case !e.list():
			visitSettings(e.section, path, f)
		}
	}
}

// value is a setting's texts as the tree holds them.
func (e *entry) value(texts []string) any {
	if e.list() {
		return texts
	}
	return texts[0]
}

// fill sets a message's fields to the texts that get has for their paths.
func fill(s *section, m protoreflect.Message, get func(path string) any, path string) {
	for _, e := range s.entries {
		path := join(path, e.name)
		switch {
		case e.setting != nil:
			switch v := get(path).(type) {
			case string:
				setTexts(e, m, []string{v})
			case []string:
				setTexts(e, m, v)
			}
		case e.list():
			items, _ := get(path).([]any)
			for _, item := range items {
				tree, _ := item.(map[string]any)
				fill(e.section, m.Mutable(e.field).List().AppendMutable().Message(), lookup(tree), "")
			}
		default:
			fill(e.section, m.Mutable(e.field).Message(), get, path)
		}
	}
}

// lookup finds values in a tree by path.
func lookup(tree map[string]any) func(path string) any {
	return func(path string) any {
		keys := strings.Split(path, ".")
		inner := tree
		for _, key := range keys[:len(keys)-1] {
			inner, _ = inner[key].(map[string]any)
		}
		return inner[keys[len(keys)-1]]
	}
}

// flagValue is a flag that was set, as viper takes it.
type flagValue struct {
	path  string
	texts []string
	list  bool
}

func (f flagValue) HasChanged() bool { return true }
func (f flagValue) Name() string     { return f.path }

func (f flagValue) ValueType() string {
	if f.list {
		return "stringSlice"
	}
	return "string"
}

// ValueString is the value as pflag would write it: a list as a line of CSV in
// brackets.
func (f flagValue) ValueString() string {
	if !f.list {
		return f.texts[0]
	}
	var line bytes.Buffer
	w := csv.NewWriter(&line)
	if err := w.Write(f.texts); err != nil {
		panic("config: " + err.Error())
	}
	w.Flush()
	return "[" + strings.TrimSuffix(line.String(), "\n") + "]"
}
