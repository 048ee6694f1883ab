package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// operated is a sidecar with a control socket, and its configuration file.
type operated struct {
	*process
	control, target, path, head string
}

func operate(t *testing.T) *operated {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(origin.Close)
	o := &operated{target: "unix://" + socketPath(t)}
	o.control = strings.TrimSuffix(o.target, filepath.Ext(o.target)) + ".c"
	o.head = fmt.Sprintf("listen: [%q]\ncontrol: [%q]\nadmin: \"off\"\nlog: {format: text}\n", o.target, o.control)
	o.path = file(t, "warmpool.yaml", o.head+"upstreams: [{name: origin, url: \""+origin.URL+"\", connections: {warm: 2, max: 5}}]\n")
	o.process = start(t, nil, "serve", "-c", o.path)
	warmpool(t, "wait", "-s", o.target, "--timeout", "20s").expect(t, exitOK)
	return o
}

// does runs a command against the control socket.
func (o *operated) does(t *testing.T, args ...string) outcome {
	t.Helper()
	return warmpool(t, append(args, "-s", o.control)...)
}

func TestAnOperatorSeesAndChangesEverything(t *testing.T) {
	o := operate(t)
	warmpool(t, "send", "-s", o.target, "origin", "/", "-d", "x").expect(t, exitOK, "x")
	o.does(t, "upstreams").expect(t, exitOK, "UPSTREAM", "STATE", "origin", "active")
	o.does(t, "upstreams", "-o", "wide").expect(t, exitOK, "SOURCE", "file", "MAX")
	o.does(t, "connections", "origin").expect(t, exitOK, "ENDPOINT", "idle")
	o.does(t, "connections", "origin", "-o", "wide").expect(t, exitOK, "ENDPOINT", "idle", "policy", "RTT")
	o.does(t, "stats", "-o", "narrow").expect(t, exitUsage, "must be table, wide or json")
	o.does(t, "stats").expect(t, exitOK, "RESPONSES", "origin", "saved by reuse")
	o.does(t, "stats", "--watch", "5s").expect(t, exitUsage, `"5s" is taken for an upstream`, "--watch=5s")
	o.does(t, "connections", "-w", "2s").expect(t, exitUsage, "--watch=2s")
	o.does(t, "stats", "orgin", "--watch").expect(t, exitFailed, "there is no such upstream")

	var stats struct {
		Stats struct {
			Upstreams []struct {
				Responses string `json:"responses"`
			} `json:"upstreams"`
		} `json:"stats"`
	}
	if err := json.Unmarshal([]byte(o.does(t, "stats", "-o", "json").stdout), &stats); err != nil || len(stats.Stats.Upstreams) != 1 || stats.Stats.Upstreams[0].Responses != "1" {
		t.Errorf("stats as JSON: %+v, %v", stats, err)
	}

	o.does(t, "upstreams", "set", "origin", "connections.max=7", "queue.max_wait=2s").expect(t, exitOK, "changed connections.max, queue.max_wait")
	o.does(t, "upstreams", "set", "origin", "connections.max=7").expect(t, exitOK, "nothing differs")
	o.does(t, "upstreams", "set", "origin", "connections.warm=8").expect(t, exitUsage, "connections.warm", "nothing was changed")
	o.does(t, "upstreams", "set", "origin", "connections.max=0").expect(t, exitUsage, "1 to 100000")
	o.does(t, "upstreams", "show", "origin").expect(t, exitOK, "file, changed since", "max: 7", "max_wait: 2s")

	more := file(t, "more.yaml", "upstreams: [{name: more, url: \"http://127.0.0.1:1\"}]\n")
	o.does(t, "upstreams", "apply", more, "--dry-run").expect(t, exitOK, "more: would be added")
	o.does(t, "upstreams", "apply", more).expect(t, exitOK, "more: added")
	o.does(t, "upstreams", "apply", more).expect(t, exitOK, "more: nothing differs")
	o.does(t, "upstreams", "delete", "more").expect(t, exitOK, "more: deleted, 0 exchanges cancelled")
	o.does(t, "upstreams", "delete", "more").expect(t, exitFailed, "there is no such upstream")

	o.does(t, "pause", "origin", "--for", "1m").expect(t, exitOK, "origin: paused for 1m, 0 requests wait")
	o.does(t, "resume", "origin").expect(t, exitOK, "origin: active")
	o.does(t, "warm", "origin", "4", "--hold", "1m").expect(t, exitOK, "origin: 4 connections ready")
	o.does(t, "warm", "origin", "40").expect(t, exitUsage, "must be 1 to max (7)")
	o.does(t, "warm", "origin", "2", "--hold", "1s", "--upkeep").expect(t, exitOK, "connections ready")
	o.does(t, "reconnect", "origin").expect(t, exitOK, "origin: 4 connections replaced by 4")
	o.does(t, "drain", "origin", "--grace", "1s").expect(t, exitOK, "origin: drained, 4 connections closed")
	o.does(t, "pause", "origin").expect(t, exitFailed, "drained", "resume it first")
	o.does(t, "resume", "origin").expect(t, exitOK)
	o.does(t, "connections", "--closed").expect(t, exitOK, "RECONNECT", "DRAIN")
	o.does(t, "connections", "close", "999999").expect(t, exitFailed, "no open connection 999999")

	o.signal(syscall.SIGTERM)
	o.wait().expect(t, exitOK, "stopped")
	o.does(t, "upstreams").expect(t, exitUnreachable, "no sidecar answers")
}

func TestAnOperatorReloadsAndSeesWhatBecameOfIt(t *testing.T) {
	o := operate(t)
	o.does(t, "reload", "--check").expect(t, exitOK, "nothing differs")
	if err := os.WriteFile(o.path, []byte(o.head+"procs: 2\nupstreams: [{name: other, url: \"http://127.0.0.1:1\"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.does(t, "reload", "--check").expect(t, exitOK, "upstreams created", "other", "upstreams deleted", "origin", "after a restart", "procs")
	o.does(t, "reload").expect(t, exitOK, "other")
	o.does(t, "config").expect(t, exitOK, "# file "+o.path, "# after a restart: procs", "procs: 1", "name: other")
	o.does(t, "config", "--status").expect(t, exitOK, "generation")
	if err := os.WriteFile(o.path, []byte(o.head+wrongConfigurationTail), 0o600); err != nil {
		t.Fatal(err)
	}
	o.does(t, "reload").expect(t, exitUsage, "colour", "drain.grace", "line 5: ", "nothing was changed")
	o.does(t, "config", "--status").expect(t, exitFailed, "REFUSED", "colour", "drain.grace", "line 5: ")
	o.signal(syscall.SIGTERM)
	o.wait().expect(t, exitOK, "stopped")
}

func TestEventsOfAnUpstreamThatIsNotThereSaySo(t *testing.T) {
	o := operate(t)
	events := start(t, nil, "events", "-s", o.control, "origin", "orgin", "-o", "json")
	if line := events.await("there is no such upstream"); !strings.Contains(line, `"orgin"`) || !strings.Contains(line, `there are: ["origin"]`) {
		t.Errorf("says %q", line)
	}
	events.signal(syscall.SIGINT)
	events.wait().expect(t, exitOK)
}

func TestEventsAreFollowedUntilInterrupted(t *testing.T) {
	o := operate(t)
	events := start(t, nil, "events", "-s", o.control, "--kind", "upstream_state_changed,connection_closed")
	for end := time.Now().Add(stuck); ; { // until the watch has begun
		o.does(t, "pause", "origin", "--for", "1ms").expect(t, exitOK)
		o.does(t, "resume", "origin").expect(t, exitOK)
		if strings.Contains(events.output(), "upstream_state_changed") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no event is printed")
		}
	}
	for _, verb := range []string{"pause", "resume", "drain", "resume"} {
		o.does(t, verb, "origin").expect(t, exitOK)
	}
	events.signal(syscall.SIGINT)
	events.wait().expect(t, exitOK, "origin", "paused", "resumed", "DRAIN", "drained")
	o.signal(syscall.SIGTERM)
	o.wait().expect(t, exitOK, "stopped")
}
