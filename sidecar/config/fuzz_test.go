package config

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
)

// FuzzLoad feeds any bytes as a file of each format. Nothing may panic, every
// failure is an Error, and what loads is valid as a message, alone and with its
// defaults.
func FuzzLoad(f *testing.F) {
	for i, extension := range []string{".yaml", ".json", ".toml"} {
		for _, c := range rejected {
			if content, ok := in(f, extension, c.document); ok && !(extension == ".toml" && c.path == "") {
				f.Add(uint8(i), []byte(content))
			}
		}
	}
	for _, example := range []string{"minimal", "full"} {
		content, err := os.ReadFile("../../deploy/examples/" + example + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(0), content)
	}
	f.Add(uint8(0), []byte("upstreams: [&a {name: a, url: http://a, queue: &q {max_wait: 1s}}, {<<: [*a, *a], name: b, queue: *q}]"))
	f.Add(uint8(2), []byte("[[upstreams]]\nname='a'\nurl='http://a'\n[upstreams.queue]\nmax_wait='1s'\n[log]\nlevel=\"\"\"warn\"\"\"\n"))

	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, format uint8, content []byte) {
		extension := []string{".yaml", ".json", ".toml"}[int(format)%3]
		file := filepath.Join(dir, "warmpool"+extension)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := Load(Source{File: file})
		if err != nil {
			for _, p := range problemsOf(t, err) {
				if p.Message == "" || p.Line < 0 {
					t.Errorf("%+v", p)
				}
			}
			return
		}
		if err := checked(loaded.Config); err != nil {
			t.Errorf("it loads, but is not valid: %v", err)
		}
		if !proto.Equal(WithDefaults(loaded.Config), loaded.Config) {
			t.Error("a default is missing")
		}
		for _, u := range loaded.Config.GetUpstreams() {
			policy, _, err := Policy(u, dir)
			if err != nil {
				t.Errorf("it loads, but has no policy: %v", err)
			} else if err := policy.Validate(); err != nil {
				t.Errorf("the engine refuses what loads: %v", err)
			}
		}
	})
}
