// Package config reads the sidecar's configuration: from a file, the
// environment and flags, strictly and completely.
//
// The schema is Config of warmpool.v1. Its messages are what the file holds and
// what PoolService takes, and the option `setting` on each field is the one
// place for a setting's default, bounds, form and effect: everything here is
// driven by it.
//
// A source is read against the schema before viper merges it with the others,
// because viper folds keys to lower case, splits them at dots, takes 5 for 5 ns
// and passes unknown keys that hold nothing. What reaches it are known keys with
// values found valid, as texts. Reading order: Load, decode (yaml.go, toml.go,
// json.go), read.go, environ.go, merge.go, validate.go, rules.go, policy.go.
package config

import (
	"crypto/sha256"
	"path/filepath"

	"github.com/spf13/pflag"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// Source says where the configuration comes from. A flag wins over the
// environment, that over the file, that over the default.
type Source struct {
	// File is the configuration file, YAML, TOML or JSON by its extension. Empty:
	// there is none.
	File string
	// Flags may hold flags whose names are paths of settings, as AddFlags makes
	// them. Those that were set count; others are ignored. It may be nil.
	Flags *pflag.FlagSet
	// Environ is the environment as os.Environ gives it. Variables whose names begin
	// with WARMPOOL_ must be settings, with exceptions: see Variables.
	Environ []string
	// Variables are names of the environment that begin with WARMPOOL_ and are not
	// settings, but of use to the command itself.
	Variables []string
}

// Loaded is a configuration that was found valid.
type Loaded struct {
	// Config has every default filled in.
	Config *warmpoolv1.Config
	// Warnings are what is allowed and yet worth a line in the log.
	Warnings []string
	// File is Source.File.
	File string
	// Dir is the folder that relative paths in the configuration start from; Policy
	// takes it.
	Dir string
	// Files are all files read, the configuration file first. A later Load gives the
	// same result as long as they and the other sources are the same.
	Files []File
}

// File is a file that was read.
type File struct {
	Path   string
	SHA256 [sha256.Size]byte // of its content
}

// Load reads, merges and validates the configuration, and opens the files that
// it names. Everything that is wrong is in the *Error that it returns.
func Load(source Source) (*Loaded, error) {
	p := newProblems()
	loaded := &Loaded{File: source.File}
	var document map[string]any
	if source.File != "" {
		loaded.Dir = filepath.Dir(source.File)
		document = p.file(source.File, &loaded.Files)
	}
	environ := p.environ(source.Environ, source.Variables)
	flags := p.flags(source.Flags)
	if p.bad[""] {
		return nil, p.err(source.File)
	}

	c := merge(document, environ, flags)
	p.config(c)
	for i, u := range c.GetUpstreams() {
		p.credentials(upstreamFiles(u.GetTls()), loaded.Dir, join(at(upstreamsKey, i), "tls"), &loaded.Files)
	}
	p.access(c, loaded.Dir, &loaded.Files)
	if err := p.err(source.File); err != nil {
		return nil, err
	}
	loaded.Config = WithDefaults(c)
	loaded.Warnings = warnings(loaded.Config)
	return loaded, nil
}
