package config

import (
	"github.com/spf13/pflag"
)

const flagPrefix = "--"

// AddFlags adds a flag for each setting outside lists of sections, named by its path
// (--log.level). They have no value until they are set: the defaults are the
// schema's, and the usage says them.
func AddFlags(flags *pflag.FlagSet) {
	for _, s := range Describe() {
		if s.Flag == "" {
			continue
		}
		usage := s.Summary()
		if s.List {
			flags.StringSlice(s.Path, nil, usage)
		} else {
			flags.String(s.Path, "", usage)
		}
	}
}

// flags reads the settings among the flags that were set, by path.
func (p *problems) flags(set *pflag.FlagSet) map[string]flagValue {
	if set == nil {
		return nil
	}
	values := make(map[string]flagValue)
	visitSettings(schema(), "", func(path string, e *entry) {
		flag := set.Lookup(path)
		if flag == nil || !flag.Changed {
			return
		}
		texts := []string{flag.Value.String()}
		if slice, ok := flag.Value.(pflag.SliceValue); ok {
			texts = slice.GetSlice()
		}
		name := flagPrefix + path
		switch {
		case e.list() && len(texts) == 0:
			p.addAtf(0, name, "", "must not be empty")
		case !e.list() && len(texts) != 1:
			p.addAtf(0, name, "", "takes one value, not %d", len(texts))
		case p.texts(e, name, path, texts):
			values[path] = flagValue{path: path, texts: texts, list: e.list()}
		}
	})
	return values
}
