package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	_ "github.com/warmpool-dev/warmpool/sidecar" // a change of what the binary is made of makes go test run this package again
)

// sidecar is "warmpool serve" as a process.
type sidecar struct {
	unix, tcp string // gRPC targets
	file      string // the configuration
	process   *process
	killed    bool
}

const sidecarConfig = `
listen: ["unix://%s", "tcp://%s"]
control: ["off"]
admin: "off"
log: {format: text}
%s
`

// startSidecar serves the configuration, which starts at "upstreams:" unless it sets something else before. The listeners
// are added to it. The sidecar is stopped with the test and must then exit with 0.
func startSidecar(t *testing.T, config string, values ...any) *sidecar {
	t.Helper()
	dir := folder(t)
	socket, port := filepath.Join(dir, "data.sock"), freePort(t)
	file := filepath.Join(dir, "warmpool.yaml")
	writeFile(t, file, fmt.Sprintf(sidecarConfig, socket, loopback(port), fmt.Sprintf(config, values...)))
	s := &sidecar{unix: "unix://" + socket, tcp: loopback(port), file: file}
	s.serve(t)
	return s
}

// startNext serves the same configuration at the same addresses, as a process of its own.
func (s *sidecar) startNext(t *testing.T) *sidecar {
	t.Helper()
	next := &sidecar{unix: s.unix, tcp: s.tcp, file: s.file}
	next.serve(t)
	return next
}

// begin starts the process, which is stopped with the test.
func (s *sidecar) begin(t *testing.T, env ...string) {
	t.Helper()
	cmd := exec.Command(warmpool(t), "serve", "-c", s.file)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "WARMPOOL_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	s.process = start(t, "warmpool serve", cmd)
	t.Cleanup(func() { s.stop(t) }) // before what start has registered
}

// serve starts the process and waits until it answers.
func (s *sidecar) serve(t *testing.T) {
	t.Helper()
	s.begin(t)
	if err := s.process.accepts(t.Context(), s.tcp); err != nil {
		t.Fatal(err)
	}
	conn := dialTarget(t, s.unix)
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	answer, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("health of the sidecar: %v, %v", answer.GetStatus(), err)
	}
}

// logs waits until the sidecar has written a text.
func (s *sidecar) logs(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(startLimit); !strings.Contains(s.process.log.String(), text); <-time.After(pollPause) {
		if time.Now().After(end) {
			t.Fatalf("the sidecar has not written %q, but:\n%s", text, s.process.log.String())
		}
	}
}

// stop ends the sidecar by SIGTERM, as an orchestrator does.
func (s *sidecar) stop(t *testing.T) {
	t.Helper()
	if s.killed {
		return
	}
	s.process.signal(syscall.SIGTERM)
	s.wait(t)
}

// kill ends the sidecar without a word.
func (s *sidecar) kill() {
	s.killed = true
	s.process.signal(syscall.SIGKILL)
	<-s.process.ended
}

// wait judges the end of a sidecar that was told to stop.
func (s *sidecar) wait(t *testing.T) {
	t.Helper()
	if err := s.process.wait(t); err != nil {
		t.Errorf("warmpool serve: %v, must exit with 0 after SIGTERM", err)
	}
	for _, sign := range []string{"DATA RACE", "panic:", "goroutine "} {
		if strings.Contains(s.process.log.String(), sign) {
			t.Errorf("warmpool serve wrote %q:\n%s", sign, s.process.log.String())
		}
	}
}

// A front is a way to the sidecar: a client and the kind of socket.
type front struct {
	name      string
	node, tcp bool
}

var (
	goUnix   = front{name: "grpc-go on a Unix socket"}
	goTCP    = front{name: "grpc-go on TCP", tcp: true}
	nodeUnix = front{name: "grpc-js on a Unix socket", node: true}
	nodeTCP  = front{name: "grpc-js on TCP", node: true, tcp: true}

	allFronts = []front{goUnix, goTCP, nodeUnix, nodeTCP}
)

func (f front) open(t *testing.T, s *sidecar) caller {
	t.Helper()
	at := s.unix
	if f.tcp {
		at = s.tcp
	}
	if f.node {
		return openNode(t, at)
	}
	return openGo(t, at)
}
