package sidecar_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// filed is a sidecar whose configuration is a file.
type filed struct {
	*house
	dir, file string
	level     *slog.LevelVar
}

// startFiled runs a sidecar on dir/file, whose listeners are added to the text.
func startFiled(t *testing.T, dir, file, text string) *filed {
	t.Helper()
	f := &filed{house: &house{log: &logBuffer{}, done: make(chan struct{})}, dir: dir, file: file, level: new(slog.LevelVar)}
	f.write(t, text)
	source := config.Source{File: file}
	loaded, err := config.Load(source)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: f.level}))
	f.Sidecar, err = sidecar.New(loaded.Config, sidecar.Options{
		Logger: log, Version: "test", ConfigDir: loaded.Dir, Source: &source, Loaded: loaded, Level: f.level,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	go func() {
		defer close(f.done)
		f.err = f.Serve(ctx)
	}()
	t.Cleanup(func() {
		f.stop()
		f.wait(t)
		if t.Failed() {
			t.Logf("the sidecar's log:\n%s", f.log)
		}
	})
	return f
}

// text is a configuration with the listeners that tests use.
func (f *filed) text(text string) string {
	return fmt.Sprintf("listen: [\"unix://%s/data.sock\"]\ncontrol: [\"unix://%[1]s/control.sock\"]\nadmin: \"127.0.0.1:0\"\n%s", f.dir, text)
}

func (f *filed) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(f.file, []byte(f.text(text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace puts another file in the place, as editors do.
func (f *filed) replace(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(f.file+".new", []byte(f.text(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.file+".new", f.file); err != nil {
		t.Fatal(err)
	}
}

func (f *filed) status(t *testing.T) *warmpoolv1.GetConfigResponse {
	t.Helper()
	return must[*warmpoolv1.GetConfigResponse](t)(f.control(t).GetConfig(within(t), &warmpoolv1.GetConfigRequest{}))
}

// generation waits until so many files were applied.
func (f *filed) generation(t *testing.T, n uint64) *warmpoolv1.GetConfigResponse {
	t.Helper()
	var got *warmpoolv1.GetConfigResponse
	eventually(t, fmt.Sprintf("generation %d", n), func() bool {
		got = f.status(t)
		return got.GetStatus().GetGeneration() >= n
	})
	if got.GetStatus().GetGeneration() != n {
		t.Errorf("generation %d, want %d", got.GetStatus().GetGeneration(), n)
	}
	return got
}

// counted checks what the metrics tell of the files that were read.
func (f *filed) counted(t *testing.T, applied, refused, now float64) {
	t.Helper()
	figures := scrape(t, f.house)
	reloads := func(result string) float64 {
		return sample(t, figures, "warmpool_config_reloads_total", "result", result).GetCounter().GetValue()
	}
	is := sample(t, figures, "warmpool_config_refused").GetGauge().GetValue()
	if reloads("applied") != applied || reloads("refused") != refused || is != now {
		t.Errorf("%v applied, %v refused, refused now: %v; want %v, %v, %v", reloads("applied"), reloads("refused"), is, applied, refused, now)
	}
}

func origins(t *testing.T, n int) []string {
	t.Helper()
	urls := make([]string, n)
	for i := range n {
		urls[i] = web(t, echoPath).GetUrl()
	}
	return urls
}

func listed(urls ...string) string {
	var b strings.Builder
	b.WriteString("upstreams:\n")
	for i, url := range urls {
		name := "web"
		if i > 0 {
			name = fmt.Sprintf("web%d", i)
		}
		fmt.Fprintf(&b, "  - {name: %s, url: \"%s\"}\n", name, url)
	}
	return b.String()
}

func TestAReloadAppliesWhatTheFileChangesAndListsTheRest(t *testing.T) {
	urls := origins(t, 3)
	dir := shortDir(t)
	f := startFiled(t, dir, filepath.Join(dir, "w.yaml"), listed(urls[0], urls[1]))
	c := f.control(t)
	f.write(t, "procs: 2\nlog: {level: debug}\ndrain: {grace: 3s}\nupstreams:\n  - {name: web, url: \""+urls[0]+"\", connections: {max: 3}}\n  - {name: fresh, url: \""+urls[2]+"\"}\n")
	check := must[*warmpoolv1.ReloadConfigResponse](t)(c.ReloadConfig(within(t), &warmpoolv1.ReloadConfigRequest{ValidateOnly: true}))
	if f.level.Level() != slog.LevelInfo {
		t.Error("a check has changed the log's level")
	}
	done := must[*warmpoolv1.ReloadConfigResponse](t)(c.ReloadConfig(within(t), &warmpoolv1.ReloadConfigRequest{}))
	for _, out := range []*warmpoolv1.ReloadConfigResponse{check, done} {
		if !slices.Equal(out.GetCreated(), []string{"fresh"}) || !slices.Equal(out.GetUpdated(), []string{"web"}) || !slices.Equal(out.GetDeleted(), []string{"web1"}) ||
			!slices.Equal(out.GetChanged(), []string{"drain.grace", "log.level"}) || !slices.Equal(out.GetPendingRestart(), []string{"procs"}) {
			t.Errorf("%v", out)
		}
	}
	if check.GetGeneration() != 1 || done.GetGeneration() != 2 || f.level.Level() != slog.LevelDebug {
		t.Errorf("generations %d and %d, level %v", check.GetGeneration(), done.GetGeneration(), f.level.Level())
	}
	send(t, f.client(t), &warmpoolv1.HttpRequest{Upstream: "fresh", Path: "/x"})
	refused(t, f.client(t), &warmpoolv1.HttpRequest{Upstream: "web1"}).want(t, codes.NotFound, warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	is := f.status(t)
	if cfg := is.GetConfig(); cfg.GetProcs() != 1 || cfg.GetDrain().GetGrace().AsDuration() != 3*time.Second || len(cfg.GetUpstreams()) != 2 {
		t.Errorf("in force: %v", cfg)
	}
	if st := is.GetStatus(); !slices.Equal(st.GetPendingRestart(), []string{"procs"}) || st.GetFile() != f.file || len(st.GetErrors()) != 0 {
		t.Errorf("status: %v", st)
	}
	f.counted(t, 1, 0, 0)
}

func TestAFileWithAMistakeChangesNothingAndSaysSo(t *testing.T) {
	urls := origins(t, 1)
	dir := shortDir(t)
	f := startFiled(t, dir, filepath.Join(dir, "w.yaml"), listed(urls...))
	f.write(t, "log: {level: loud}\nupstreams:\n  - {name: web, url: \""+urls[0]+"\", connections: {max: 0, most: 3}}\n")
	_, err := f.control(t).ReloadConfig(within(t), &warmpoolv1.ReloadConfigRequest{})
	refusedFor(t, err, codes.InvalidArgument, []string{"log.level", "upstreams[0] (web).connections.max", "upstreams[0] (web).connections.most"})
	st := f.status(t).GetStatus()
	if len(st.GetErrors()) != 3 || st.GetGeneration() != 1 || st.GetErrors()[0].GetPath() != "log.level" || st.GetErrors()[0].GetMessage() == "" {
		t.Errorf("status: %v", st)
	}
	f.counted(t, 0, 1, 1)
	send(t, f.client(t), &warmpoolv1.HttpRequest{Upstream: "web", Path: "/x"})
	if err := f.Reload("test"); err == nil {
		t.Error("a reload of the same file succeeded")
	}
	f.write(t, listed(urls...))
	if err := f.Reload("test"); err != nil || len(f.status(t).GetStatus().GetErrors()) != 0 {
		t.Errorf("after the correction: %v, %v", err, f.status(t).GetStatus())
	}
	f.counted(t, 1, 2, 0)
}

func TestWhatCameFromTheAPIOutlivesAReload(t *testing.T) {
	urls := origins(t, 3)
	dir := shortDir(t)
	f := startFiled(t, dir, filepath.Join(dir, "w.yaml"), listed(urls[0], urls[1]))
	c := f.control(t)
	must[*warmpoolv1.CreateUpstreamResponse](t)(c.CreateUpstream(within(t), &warmpoolv1.CreateUpstreamRequest{Upstream: &warmpoolv1.Upstream{Name: "mine", Url: urls[2]}}))
	must[*warmpoolv1.UpdateUpstreamResponse](t)(c.UpdateUpstream(within(t), &warmpoolv1.UpdateUpstreamRequest{Upstream: &warmpoolv1.Upstream{Name: "web", Connections: connections(7)}}))
	reload := func() *warmpoolv1.ReloadConfigResponse {
		t.Helper()
		return must[*warmpoolv1.ReloadConfigResponse](t)(c.ReloadConfig(within(t), &warmpoolv1.ReloadConfigRequest{}))
	}
	web := func() *warmpoolv1.UpstreamStatus {
		t.Helper()
		return must[*warmpoolv1.GetUpstreamResponse](t)(c.GetUpstream(within(t), &warmpoolv1.GetUpstreamRequest{Name: "web"})).GetUpstream()
	}
	f.write(t, "# the entry of web is what it was\n"+listed(urls[0]))
	if out := reload(); len(out.GetUpdated()) != 0 || !slices.Equal(out.GetDeleted(), []string{"web1"}) || web().GetUpstream().GetConnections().GetMax() != 7 ||
		web().GetSource() != warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE_CHANGED_BY_API {
		t.Errorf("%v, %v", out, web())
	}
	f.write(t, "upstreams:\n  - {name: web, url: \""+urls[0]+"\", connections: {warm: 1}}\n")
	if out := reload(); !slices.Equal(out.GetUpdated(), []string{"web"}) || web().GetUpstream().GetConnections().GetMax() != 64 ||
		web().GetSource() != warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE {
		t.Errorf("%v, %v", out, web())
	}
	send(t, f.client(t), &warmpoolv1.HttpRequest{Upstream: "mine", Path: "/x"})
	f.write(t, "upstreams:\n  - {name: mine, url: \""+urls[0]+"\"}\n")
	_, err := c.ReloadConfig(within(t), &warmpoolv1.ReloadConfigRequest{})
	refusedFor(t, err, codes.InvalidArgument, []string{"upstreams[0] (mine).name"}, "created through the API")
}

func TestTheFileIsFollowedUnderLoadAndNoRequestFails(t *testing.T) {
	urls := origins(t, 3)
	t.Run("replaced, removed, broken and written anew", func(t *testing.T) {
		dir := shortDir(t)
		f := startFiled(t, dir, filepath.Join(dir, "w.yaml"), listed(urls[0]))
		l := f.load(t, "web")
		l.more(t, 100)
		f.replace(t, listed(urls[1]))
		f.generation(t, 2)
		l.more(t, 100)
		f.replace(t, "upstreams: [}\n")
		eventually(t, "the refusal", func() bool { return len(f.status(t).GetStatus().GetErrors()) > 0 })
		l.more(t, 100)
		if err := os.Remove(f.file); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the refusal of what is not there", func() bool {
			e := f.status(t).GetStatus().GetErrors()
			return len(e) == 1 && strings.Contains(e[0].GetMessage(), "no such file")
		})
		l.more(t, 100)
		f.write(t, listed(urls[2], urls[0]))
		if is := f.generation(t, 3); len(is.GetConfig().GetUpstreams()) != 2 || len(is.GetStatus().GetErrors()) != 0 {
			t.Errorf("in force: %v", is)
		}
		l.more(t, 100)
		l.none(t)
	})
	t.Run("a folder's link is swapped", func(t *testing.T) {
		dir := shortDir(t)
		version := func(name, text string) {
			t.Helper()
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			f := filed{dir: dir, file: filepath.Join(dir, name, "w.yaml")}
			f.write(t, text)
		}
		swap := func(to string) {
			t.Helper()
			if err := os.Symlink(to, filepath.Join(dir, "..data_tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		version("..1", listed(urls[0]))
		swap("..1")
		if err := os.Symlink(filepath.Join("..data", "w.yaml"), filepath.Join(dir, "w.yaml")); err != nil {
			t.Fatal(err)
		}
		f := startFiled(t, dir, filepath.Join(dir, "w.yaml"), listed(urls[0]))
		l := f.load(t, "web")
		l.more(t, 100)
		version("..2", listed(urls[1], urls[2]))
		swap("..2")
		if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
			t.Fatal(err)
		}
		if is := f.generation(t, 2); len(is.GetConfig().GetUpstreams()) != 2 {
			t.Errorf("in force: %v", is)
		}
		l.more(t, 100)
		l.none(t)
	})
}

func TestACertificateThatIsRenewedIsTakenForNewConnections(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	dir := shortDir(t)
	ca := filepath.Join(dir, "ca.pem")
	writePEM(t, ca, s.Certificate().Raw)
	f := startFiled(t, dir, filepath.Join(dir, "w.yaml"), "upstreams:\n  - {name: web, url: \""+s.URL+"\", tls: {ca_file: ca.pem, server_name: example.com}}\n")
	send(t, f.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
	writePEM(t, ca, s.Certificate().Raw, s.Certificate().Raw)
	f.generation(t, 2)
	eventually(t, "the log's word why", func() bool { return strings.Contains(f.log.String(), "the file changed") })
	send(t, f.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
}

func writePEM(t *testing.T, file string, certificates ...[]byte) {
	t.Helper()
	var content []byte
	for _, der := range certificates {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
