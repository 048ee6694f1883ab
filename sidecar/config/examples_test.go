package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestExamplesLoadWithoutAWarning(t *testing.T) {
	files, err := filepath.Glob("../../deploy/examples/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		loaded, err := Load(Source{File: file})
		if err != nil {
			t.Errorf("%v", err)
		} else if len(loaded.Warnings) > 0 {
			t.Errorf("%s: %q", file, loaded.Warnings)
		}
	}
}

func TestTheFullExampleShowsEverySettingWithItsDefault(t *testing.T) {
	const file = "../../deploy/examples/full.yaml"
	loaded, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	u := loaded.Config.GetUpstreams()[0]
	want := WithDefaults(&warmpoolv1.Config{Upstreams: []*warmpoolv1.Upstream{{Name: u.GetName(), Url: u.GetUrl()}}})
	if diff := cmp.Diff(want, loaded.Config, protocmp.Transform()); diff != "" {
		t.Errorf("it says something else than the defaults: %s", diff)
	}

	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := newProblems()
	document := p.decodeYAML(content)
	p.table(schema(), document, "")
	for _, s := range Describe() {
		path := strings.Replace(s.Path, "[]", "[0]", 1)
		key := path[strings.LastIndexByte(path, '.')+1:] + ": "
		_, written := p.lines[path]
		switch {
		case (s.Default != "" || s.Required) && !written:
			t.Errorf("%s is missing", s.Path)
		case !written && !regexp.MustCompile(`(?m)^ *#[ -]*`+key).Match(content):
			t.Errorf("%s is not even mentioned in a comment", s.Path)
		}
	}
}

func TestTheFullExampleSaysWhatEachAmountMayBe(t *testing.T) {
	content, err := os.ReadFile("../../deploy/examples/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := newProblems()
	p.table(schema(), p.decodeYAML(content), "")
	lines := strings.Split(string(content), "\n")
	for _, s := range Describe() {
		line, written := p.lines[strings.Replace(s.Path, "[]", "[0]", 1)]
		if !written || s.Type == kindText.String() {
			continue
		}
		var words []string // of the comment above it
		for i := line - 2; i >= 0; i-- {
			text, commented := strings.CutPrefix(strings.TrimLeft(lines[i], " -"), "# ")
			if !commented {
				break
			}
			words = append(strings.Fields(text), words...)
		}
		if want := "Allowed: " + s.Range() + "."; !strings.Contains(strings.Join(words, " "), want) {
			t.Errorf("line %d, %s: want %q, got %q", line, s.Path, want, strings.Join(words, " "))
		}
	}
}
