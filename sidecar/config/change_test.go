package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func TestWhatYAMLWritesIsReadBackTheSame(t *testing.T) {
	first, err := config.Load(config.Source{File: "../../deploy/examples/minimal.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again.yaml")
	text, err := config.YAML(first.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(again, text, 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := config.Load(config.Source{File: again})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !proto.Equal(first.Config, second.Config) {
		t.Errorf("%v\nwas written as\n%s\nand read as %v", first.Config, text, second.Config)
	}
	u := &warmpoolv1.Upstream{
		Name: "u", Url: "https://u.test:8443", Endpoints: []string{"10.0.0.1:80", "[::1]:80"},
		Connections: &warmpoolv1.Connections{Max: new(uint32(3)), MaxIdleTime: durationpb.New(1500 * time.Millisecond)},
		Limits:      &warmpoolv1.Limits{BufferedBodyBytes: new(uint64(1500))},
		Retry:       &warmpoolv1.Retry{Budget: new(0.25)},
		Tls:         &warmpoolv1.Tls{MinVersion: "1.3"},
	}
	text, err = config.YAML(u)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "u.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Source{File: file})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !proto.Equal(loaded.Config.GetUpstreams()[0], config.WithDefaults(u)) {
		t.Errorf("%v\nwas written as\n%s\nand read as %v", u, text, loaded.Config.GetUpstreams()[0])
	}
}

func TestASettingIsAssignedByItsPathInTheFormOfTheFile(t *testing.T) {
	u := &warmpoolv1.Upstream{Name: "u"}
	for path, text := range map[string]string{
		"connections.max": "12", "connections.max_idle_time": "1m30s", "limits.buffered_body_bytes": "2MiB",
		"endpoints": "10.0.0.1:80, 10.0.0.2:80", "retry.budget": "0.5", "queue.max_wait": "",
	} {
		if err := config.Assign(u, path, text); err != nil {
			t.Errorf("%s=%s: %v", path, text, err)
		}
	}
	want := &warmpoolv1.Upstream{
		Name: "u", Endpoints: []string{"10.0.0.1:80", "10.0.0.2:80"},
		Connections: &warmpoolv1.Connections{Max: new(uint32(12)), MaxIdleTime: durationpb.New(90 * time.Second)},
		Limits:      &warmpoolv1.Limits{BufferedBodyBytes: new(uint64(2 << 20))}, Retry: &warmpoolv1.Retry{Budget: new(0.5)},
	}
	if !proto.Equal(u, want) {
		t.Errorf("got %v, want %v", u, want)
	}
	for path, text := range map[string]string{"connections.max": "0", "connections": "1", "nothing": "1", "queue.max_wait": "5", "endpoints": "10.0.0.1:80,x"} {
		if err := config.Assign(&warmpoolv1.Upstream{}, path, text); err == nil {
			t.Errorf("%s=%s is taken", path, text)
		}
	}
}

func TestChangesAreFoundWithTheirEffect(t *testing.T) {
	before := &warmpoolv1.Config{Procs: new(uint32(1)), Log: &warmpoolv1.Log{Level: "info"}}
	after := &warmpoolv1.Config{
		Procs: new(uint32(2)), Log: &warmpoolv1.Log{Level: "debug"}, Drain: &warmpoolv1.Drain{Grace: durationpb.New(10 * time.Second)},
		Allow: []*warmpoolv1.Allow{{Uid: new(uint32(5)), Upstreams: []string{"*"}}},
	}
	want := []config.Change{{Path: "allow"}, {Path: "log.level"}, {Path: "procs", Restart: true}}
	changes := config.Changes(before, after)
	if !slices.Equal(changes, want) {
		t.Errorf("changes: %v, want %v", changes, want)
	}
	to := config.WithDefaults(before)
	config.Take(to, config.WithDefaults(after), changes)
	if left := config.Changes(to, after); len(left) != 0 {
		t.Errorf("taken over, they differ in %v", left)
	}
}
