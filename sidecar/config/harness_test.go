package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// write puts a file into a folder of the test's own.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads a file of the given extension and content, and nothing else.
func load(t testing.TB, extension, content string) (*Loaded, error) {
	t.Helper()
	return Load(Source{File: write(t, "warmpool"+extension, content)})
}

// checked is what is wrong with a configuration that was not loaded from a file.
func checked(c *warmpoolv1.Config) error {
	p := newProblems()
	p.config(c)
	return p.err("")
}

// problemsOf is what an error lists.
func problemsOf(t testing.TB, err error) []Problem {
	t.Helper()
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("the error is a %T, not a *config.Error: %v", err, err)
	}
	if len(e.Problems) == 0 {
		t.Fatal("an Error without problems")
	}
	return e.Problems
}

// in writes a YAML document as another format. TOML has no null: ok is false for
// a document with one.
func in(t testing.TB, extension, document string) (content string, ok bool) {
	t.Helper()
	if extension == ".yaml" {
		return document, true
	}
	var tree any
	if err := yaml.Unmarshal([]byte(document), &tree); err != nil {
		t.Fatal(err)
	}
	var out []byte
	var err error
	if extension == ".json" {
		out, err = json.MarshalIndent(tree, "", " ")
	} else {
		if strings.Contains(document, "null") {
			return "", false
		}
		out, err = toml.Marshal(tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), true
}

// upstream is a document with one upstream that has what is given besides its
// name and URL.
func upstream(settings string) string {
	return "upstreams:\n  - name: payments\n    url: https://payments.internal\n    " +
		strings.ReplaceAll(settings, "\n", "\n    ") + "\n"
}
