package sidecar_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar"
)

func TestSocketsHaveTheModeAndGroupOfTheConfiguration(t *testing.T) {
	dir := shortDir(t)
	cfg := settings(dir)
	cfg.Socket = &warmpoolv1.Socket{Mode: "0666", Group: strconv.Itoa(os.Getgid())}
	startWith(t, cfg)
	for name, want := range map[string]fs.FileMode{"data.sock": 0o666, "control.sock": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want|fs.ModeSocket {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
		if gid := info.Sys().(*syscall.Stat_t).Gid; int(gid) != os.Getgid() {
			t.Errorf("%s has group %d", name, gid)
		}
	}
	if names := namesIn(t, dir); len(names) != 2 {
		t.Errorf("the folder has %q, want the two sockets alone", names)
	}
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAStaleSocketIsReplacedAndTheOwnOneRemoved(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "data.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close() // as a crash leaves it
	if _, err := net.Dial("unix", path); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("the socket is not stale: %v", err)
	}
	h := start(t)
	h.stop()
	h.wait(t)

	h = startWith(t, settings(dir, web(t, func(http.ResponseWriter, *http.Request) {})))
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
	h.stop()
	h.wait(t)
	if names := namesIn(t, dir); names != nil {
		t.Errorf("%q were left behind", names)
	}
}

func TestASuccessorTakesThePathAndThePredecessorLeavesItThere(t *testing.T) {
	answers := func(text string) *warmpoolv1.Upstream {
		return web(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	}
	dir := shortDir(t)
	request := &warmpoolv1.HttpRequest{Upstream: "web"}
	old := startWith(t, settings(dir, answers("old")))
	oldClient := old.client(t)
	if got := send(t, oldClient, request); string(got.GetBody()) != "old" {
		t.Fatalf("got %q", got.GetBody())
	}

	young := startWith(t, settings(dir, answers("young")))
	if got := send(t, oldClient, request); string(got.GetBody()) != "old" {
		t.Errorf("a connection that was open is answered by %q, want the predecessor", got.GetBody())
	}
	if got := send(t, young.client(t), request); string(got.GetBody()) != "young" {
		t.Errorf("a new connection is answered by %q, want the successor", got.GetBody())
	}

	eventually(t, "the predecessor's word on both sockets", func() bool {
		return strings.Count(old.log.String(), "another process has taken a socket") == 2
	})

	old.stop()
	old.wait(t)
	if got := send(t, young.client(t), request); string(got.GetBody()) != "young" {
		t.Errorf("after the predecessor's end a new connection is answered by %q", got.GetBody())
	}
	// The client of the predecessor finds the successor by the same path.
	if got := send(t, oldClient, request); string(got.GetBody()) != "young" {
		t.Errorf("the predecessor's client is answered by %q", got.GetBody())
	}
}

func TestAnAddressThatCannotBeBoundIsNamedAndNothingIsLeft(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.sock")
	deep := filepath.Join(dir, strings.Repeat("d", 90))
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		change  func(*warmpoolv1.Config)
		setting string
		says    string
	}{
		{"port in use", func(c *warmpoolv1.Config) { c.Listen = []string{"unix://" + good, "tcp://" + busy.Addr().String()} }, "listen[1]", "another process listens there"},
		{"admin port in use", func(c *warmpoolv1.Config) { c.Admin = busy.Addr().String() }, "admin", "another process listens there"},
		{"address of another machine", func(c *warmpoolv1.Config) { c.Admin = "192.0.2.1:7601" }, "admin", "no address of this machine"},
		{"missing folder", func(c *warmpoolv1.Config) { c.Control = []string{"unix://" + dir + "/absent/c.sock"} }, "control[0]", dir + "/absent does not exist"},
		{"folder that is a file", func(c *warmpoolv1.Config) { c.Listen[0] = "unix://" + file + "/s" }, "listen[0]", file},
		{"path of a file", func(c *warmpoolv1.Config) { c.Listen[0] = "unix://" + file }, "listen[0]", "not a socket"},
		{"path too long", func(c *warmpoolv1.Config) { c.Listen[0] = "unix://" + deep + "/warmpool.sock" }, "listen[0]", "107"},
		{"relative path", func(c *warmpoolv1.Config) { c.Listen[0] = "unix://warmpool.sock" }, "listen[0]", "absolute"},
		{"no scheme", func(c *warmpoolv1.Config) { c.Listen[0] = "127.0.0.1:0" }, "listen[0]", "tcp://"},
		{"mode that is none", func(c *warmpoolv1.Config) { c.Socket = &warmpoolv1.Socket{Mode: "rw"} }, "socket.mode", "octal"},
		{"group that is none", func(c *warmpoolv1.Config) { c.Socket = &warmpoolv1.Socket{ControlGroup: "no-such-group"} }, "socket.control_group", "no-such-group"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := settings(dir, at("http://127.0.0.1:9"))
			tt.change(cfg)
			_, err := sidecar.New(cfg, sidecar.Options{})
			if err == nil {
				t.Fatal("it started")
			}
			for _, text := range []string{tt.setting, tt.says} {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
			if names := namesIn(t, dir); len(names) != 2 {
				t.Errorf("left behind: %q", names)
			}
		})
	}
}

func TestASecondSidecarThatFailsOnItsPortsDoesNotTakeTheSocket(t *testing.T) {
	dir := shortDir(t)
	h := startWith(t, settings(dir, web(t, func(http.ResponseWriter, *http.Request) {})))
	cfg := settings(dir)
	cfg.Admin = h.Addrs().Admin
	if _, err := sidecar.New(cfg, sidecar.Options{}); err == nil {
		t.Fatal("two sidecars have one admin port")
	}
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
}

func TestAListenerBeyondLoopbackIsWarnedOf(t *testing.T) {
	cfg := settings(shortDir(t))
	cfg.Listen, cfg.DangerouslyUnprotected = []string{"tcp://0.0.0.0:0"}, "serve-anybody"
	h := startWith(t, cfg)
	if !strings.Contains(h.log.String(), `level=WARN msg="whoever reaches this listener may send in the sidecar's name`) {
		t.Errorf("log:\n%s", h.log)
	}
}

func TestEveryUpstreamThatIsWrongIsReported(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	same := []*warmpoolv1.Upstream{at("http://127.0.0.1:9"), at("http://127.0.0.1:9"), {Name: "other", Url: "ftp://x"}}
	_, err := sidecar.New(settings(shortDir(t), same...), sidecar.Options{Logger: log})
	if err == nil {
		t.Fatal("it started")
	}
	for _, text := range []string{"upstreams[1] (web)", "unique", "upstreams[2] (other)", "ftp"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}
