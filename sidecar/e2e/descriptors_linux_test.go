package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// startWithFiles is startSidecar with a control listener, as a process that may have so many files open.
func startWithFiles(t *testing.T, files int, upstreams string) (s *sidecar, control string) {
	t.Helper()
	dir := folder(t)
	file := filepath.Join(dir, "warmpool.yaml")
	writeFile(t, file, fmt.Sprintf("listen: [\"unix://%[1]s/data.sock\"]\ncontrol: [\"unix://%[1]s/control.sock\"]\nadmin: \"off\"\nlog: {format: text}\n%[2]s", dir, upstreams))
	s = &sidecar{unix: "unix://" + dir + "/data.sock", file: file}
	limited := fmt.Sprintf(`ulimit -n %d && exec "$0" serve -c "$1"`, files)
	s.process = start(t, "warmpool serve", exec.Command("sh", "-c", limited, warmpool(t), file))
	t.Cleanup(func() { s.stop(t) })
	s.logs(t, "msg=serving")
	return s, "unix://" + dir + "/control.sock"
}

func TestWithTooFewFilesUpstreamConnectionsAndCallersLeaveOperatorsSome(t *testing.T) {
	h := startHolding(t)
	s, control := startWithFiles(t, 64, fmt.Sprintf(`
upstreams:
  - {name: holding, url: "http://%s", connections: {max: 200, preconnect: 1, peak_memory: 0s}, queue: {max_wait: 30s}}
`, h.addr))
	s.logs(t, "upstreams may have more connections than the process may have open files")
	operator := warmpoolv1.NewPoolServiceClient(dialTarget(t, control))
	if _, err := operator.GetStats(t.Context(), &warmpoolv1.GetStatsRequest{}); err != nil {
		t.Fatal(err)
	}

	// Requests that hold their connections take what there is for connections.
	const callers = 100
	caller := openGo(t, s.unix)
	ended := make(chan error, callers)
	for range callers {
		go func() {
			_, err := caller.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: "holding", Path: "/"})
			ended <- err
		}()
	}
	s.logs(t, "too many open files: connections have those below")

	// A stranger that opens connections and says nothing takes what there is for callers.
	path := strings.TrimPrefix(s.unix, "unix://")
	var opened []net.Conn
	for range callers {
		conn, err := net.Dial("unix", path)
		if err != nil {
			break // the backlog is full as well
		}
		opened = append(opened, conn)
	}
	s.logs(t, "a connection was turned away: open files run short")

	late := dialTarget(t, control) // a connection of its own
	if _, err := healthv1.NewHealthClient(late).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "liveness"}); err != nil {
		t.Errorf("an operator who connects now: %v", err)
	}
	if _, err := operator.GetStats(t.Context(), &warmpoolv1.GetStatsRequest{}); err != nil {
		t.Errorf("an operator who has connected before: %v", err)
	}

	// When they let go, all is as before, for new callers too.
	for _, conn := range opened {
		_ = conn.Close()
	}
	h.let(true)
	for range callers {
		if err := <-ended; err != nil {
			t.Errorf("a request that had to wait for a connection: %v", err)
		}
	}
	another := openGo(t, s.unix)
	eventually(t, "a new caller is served", func() bool {
		_, err := another.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: "holding", Path: "/"})
		return err == nil
	})
	if strings.Contains(s.process.log.String(), "no connection can be accepted") {
		t.Error("accepting failed for want of files, although some are kept for it")
	}
}
