package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestServeEndsWithZeroOnASignal(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(echo))
	defer origin.Close()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			s := startSidecar(t, origin.URL, "", "")
			s.send("origin", "/", "-d", "x").expect(t, exitOK, "x")
			s.signal(signal)
			s.wait().expect(t, exitOK, "told to stop")
			if _, err := os.Stat(strings.TrimPrefix(s.target, "unix://")); err == nil {
				t.Errorf("the socket %s was left behind", s.target)
			}
		})
	}
}

func TestSIGHUPAppliesTheFileWhileRequestsAreServed(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(echo))
	defer origin.Close()
	target := "unix://" + socketPath(t)
	head := fmt.Sprintf("listen: [%q]\ncontrol: [\"off\"]\nadmin: \"off\"\nlog: {format: text}\n", target)
	named := func(name string) string { return "upstreams: [{name: " + name + ", url: \"" + origin.URL + "\"}]\n" }
	path := file(t, "warmpool.yaml", head+named("origin"))
	p := start(t, nil, "serve", "-c", path)
	warmpool(t, "wait", "-s", target, "--timeout", "20s").expect(t, exitOK)
	rewrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGHUP)
	}

	rewrite(head + wrongConfigurationTail)
	p.await("configuration refused")
	p.await("colour")
	p.await("drain.grace")
	warmpool(t, "send", "-s", target, "origin", "/", "-d", "x").expect(t, exitOK, "x")

	rewrite(head + "procs: 3\n" + named("other"))
	if line := p.await("configuration applied"); !strings.Contains(line, "created=[other] deleted=[origin] pending_restart=[procs]") || !strings.Contains(line, "because=SIGHUP") {
		t.Errorf("the log says %q", line)
	}
	warmpool(t, "send", "-s", target, "other", "/", "-d", "x").expect(t, exitOK, "x")
	p.signal(syscall.SIGTERM)
	p.wait().expect(t, exitOK, "stopped")
}

func TestTheFirstLineOfTheLogSaysHowTheProcessIsSetUp(t *testing.T) {
	for _, c := range []struct {
		env  []string
		args []string
		want string
	}{
		{nil, []string{"--procs", "2"}, "procs=2 gogc=400 gomemlimit="},
		{[]string{"GOGC=off", "GOMEMLIMIT=100MiB"}, nil, "procs=1 gogc=off gomemlimit=104857600"},
		{[]string{"GOGC=50", "GOMEMLIMIT=off"}, nil, "procs=1 gogc=50 gomemlimit=off"},
	} {
		args := []string{"serve", "--listen", "unix://" + socketPath(t), "--control", "off", "--admin", "off", "--log.format", "text"}
		p := start(t, c.env, append(args, c.args...)...)
		line := p.await("")
		if !strings.Contains(line, "msg=starting version=") || !strings.Contains(line, c.want) {
			t.Errorf("want %q, got %q", c.want, line)
		}
		p.await("serving")
		p.signal(syscall.SIGTERM)
		p.wait().expect(t, exitOK)
	}
}

// blocking is an upstream whose answer is held back.
type blocking struct {
	*httptest.Server
	arrived chan struct{} // a request is there
	release chan struct{} // close it: answer
}

func newBlocking(t *testing.T) *blocking {
	t.Helper()
	b := &blocking{arrived: make(chan struct{}, 1), release: make(chan struct{})}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.arrived <- struct{}{}
		select {
		case <-b.release:
			_, _ = w.Write([]byte("late"))
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func TestServeFinishesWhatRunsBeforeItExits(t *testing.T) {
	origin := newBlocking(t)
	s := startSidecar(t, origin.URL, "", "")
	caller := start(t, nil, "send", "-s", s.target, "origin", "/")
	<-origin.arrived
	s.signal(syscall.SIGTERM)
	s.await("draining")
	close(origin.release)
	caller.wait().expect(t, exitOK, "late")
	s.wait().expect(t, exitOK)
}

func TestASecondSignalEndsTheDrainAtOnce(t *testing.T) {
	origin := newBlocking(t)
	s := startSidecar(t, origin.URL, "drain: {grace: 1h}", "")
	caller := start(t, nil, "send", "-s", s.target, "origin", "/")
	<-origin.arrived
	s.signal(syscall.SIGTERM)
	s.await("draining")
	s.signal(syscall.SIGTERM)
	s.wait().expect(t, exitOK, "told again to stop")
	caller.wait().expect(t, exitFailed, "UNKNOWN: the upstream may have acted on it", "to do")
}

func TestASecondSignalEndsKeepServingAsWell(t *testing.T) {
	origin := newBlocking(t)
	s := startSidecar(t, origin.URL, "drain: {keep_serving: 1h, grace: 1h}", "")
	s.signal(syscall.SIGTERM)
	s.await("still serving")
	s.signal(syscall.SIGTERM)
	s.wait().expect(t, exitOK, "told again to stop")
}

func TestServeWithAWrongConfigurationEndsWithTwoAndListsEverything(t *testing.T) {
	path := file(t, "warmpool.yaml", wrongConfiguration)
	o := warmpool(t, "serve", "-c", path)
	o.expect(t, exitUsage, wrongConfigurationProblems...)
	warmpool(t, "serve", "-c", path+".missing").expect(t, exitUsage, ".missing")
	warmpoolWith(t, nil, []string{"WARMPOOL_LOG_LEVL=debug"}, "serve").expect(t, exitUsage, "WARMPOOL_LOG_LEVL")
	warmpool(t, "serve", "--procs", "many").expect(t, exitUsage, "--procs", "many")
}

func TestServeThatCannotListenEndsWithOneAndNamesTheListener(t *testing.T) {
	warmpool(t, "serve", "--listen", "unix:///does/not/exist/warmpool.sock", "--control", "off", "--admin", "off").
		expect(t, exitFailed, "unix:///does/not/exist/warmpool.sock", "listen[0]")
}

func TestFlagsGoBeforeTheEnvironmentAndThatBeforeTheFile(t *testing.T) {
	target := "unix://" + socketPath(t)
	path := file(t, "warmpool.toml", `listen = ["unix:///from/the/file.sock"]
admin = "off"
control = ["off"]
log = {format = "json", level = "error"}
`)
	p := start(t, []string{"WARMPOOL_LISTEN=" + target, "WARMPOOL_LOG_FORMAT=json", "WARMPOOL_LOG_LEVEL=info"},
		"serve", "-c", path, "--log.format", "text")
	warmpool(t, "wait", "-s", target, "--timeout", "20s").expect(t, exitOK)
	p.signal(syscall.SIGTERM)
	p.wait().expect(t, exitOK, "level=INFO", target)
}
