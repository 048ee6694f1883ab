package e2e

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

var upgrades = flag.Int("upgrades", 2, "sidecars that are replaced, or killed, one after the other")

// pathConfig has no listener on TCP: two processes cannot share a port, but a path.
const pathConfig = `
listen: ["unix://%[1]s/data.sock"]
control: ["unix://%[1]s/control.sock"]
admin: "off"
log: {format: text}
drain: {grace: %[3]s}
upstreams:
  - name: app
    url: http://%[2]s
    connections: {warm: %[4]d}
    queue: {max_waiting: 10000, max_wait: 30s}
`

// pathFloor is the warm floor of pathConfig.
const pathFloor = 4

// onPaths is a sidecar whose sockets a successor takes over.
type onPaths struct {
	*sidecar

	control string
	env     []string
	began   time.Time
}

// startOnPaths starts a sidecar before a ledger and waits until it is ready.
func startOnPaths(t *testing.T, l *ledger, grace string, env ...string) *onPaths {
	t.Helper()
	dir := folder(t)
	file := filepath.Join(dir, "warmpool.yaml")
	writeFile(t, file, fmt.Sprintf(pathConfig, dir, l.addr, grace, pathFloor))
	s := &onPaths{sidecar: &sidecar{unix: "unix://" + dir + "/data.sock", file: file}, control: "unix://" + dir + "/control.sock", env: env}
	s.launch(t)
	return s
}

// next starts another process at the same paths and waits until it is ready.
func (s *onPaths) next(t *testing.T) *onPaths {
	t.Helper()
	n := &onPaths{sidecar: &sidecar{unix: s.unix, file: s.file}, control: s.control, env: s.env}
	n.launch(t)
	return n
}

func (s *onPaths) launch(t *testing.T) {
	t.Helper()
	s.began = time.Now()
	s.begin(t, s.env...)
	s.await(t)
}

// await waits until this very process answers at the paths and is ready, which it is with its floor.
func (s *onPaths) await(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	for {
		problem := s.look(ctx)
		if problem == nil {
			return
		}
		select {
		case <-s.process.ended:
			t.Fatal(&errEnded{s.process.name, s.process.log.String(), s.process.err})
		case <-ctx.Done():
			t.Fatalf("the sidecar is not ready: %v\n%s", problem, s.process.log.String())
		case <-time.After(pollPause):
		}
	}
}

// look says what is missing, by connections of its own: those that are open may lead to a predecessor.
func (s *onPaths) look(ctx context.Context) error {
	control, err := grpc.NewClient(s.control, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer control.Close()
	data, err := grpc.NewClient(s.unix, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer data.Close()
	health, err := healthv1.NewHealthClient(data).Check(ctx, &healthv1.HealthCheckRequest{Service: "readiness"})
	if err != nil || health.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("readiness is %v, %w", health.GetStatus(), err)
	}
	answer, err := warmpoolv1.NewPoolServiceClient(control).GetStats(ctx, &warmpoolv1.GetStatsRequest{})
	if err != nil {
		return err
	}
	if started := answer.GetStats().GetStartTime().AsTime(); started.Before(s.began) {
		return fmt.Errorf("the one that answers was started at %v", started)
	}
	if u := answer.GetStats().GetUpstreams()[0]; u.GetIdle()+u.GetActive() < pathFloor {
		return fmt.Errorf("it is ready with %d idle connections and %d active ones, must have %d", u.GetIdle(), u.GetActive(), pathFloor)
	}
	return nil
}

// A sidecar that is told to stop under load finishes what it has taken, and nothing that was carried out goes unanswered.
func TestASignalUnderLoadLosesNothingThatWasAccepted(t *testing.T) {
	l := startLedger(t)
	s := startOnPaths(t, l, "30s")
	tr := newMixture(t, l, s.unix, 0)
	tr.endsAtOne = true
	var took time.Duration
	tr.run(t, func() {
		tr.await(t, 500)
		began := time.Now()
		s.stop(t)
		took = time.Since(began)
	})
	t.Logf("the sidecar ended %.2f s after the signal", took.Seconds())
	tr.judge(t, judgement{})
	s.leftNothing(t)
}

// leftNothing looks for sockets.
func (s *onPaths) leftNothing(t *testing.T) {
	t.Helper()
	for _, target := range []string{s.unix, s.control} {
		if _, err := os.Lstat(strings.TrimPrefix(target, "unix://")); err == nil {
			t.Errorf("%s was left behind", target)
		}
	}
}

// A successor takes the paths while the predecessor serves, makes its connections and is ready; then the predecessor is
// told to stop. No call fails, on neither plane.
func TestARollingReplacementFailsNoCall(t *testing.T) {
	l := startLedger(t)
	s := startOnPaths(t, l, "30s")
	tr := newMixture(t, l, s.unix, callLimit)
	stopOperator := operator(t, s.control)
	tr.run(t, func() {
		for range *upgrades {
			tr.await(t, 500)
			next := s.next(t)
			began := time.Now()
			s.stop(t)
			t.Logf("the predecessor ended %.2f s after the signal", time.Since(began).Seconds())
			for _, target := range []string{s.unix, s.control} {
				conn, err := net.Dial("unix", strings.TrimPrefix(target, "unix://"))
				if err != nil {
					t.Fatalf("after the predecessor's end: %v", err)
				}
				_ = conn.Close()
			}
			s = next
		}
		tr.await(t, 500)
	})
	tr.judge(t, judgement{succeeded: true})
	stopOperator()
	s.stop(t)
	s.leftNothing(t)
}

// operator looks at the sidecar again and again over one connection, and watches it, as a program of an operator does.
func operator(t *testing.T, control string) (stop func()) {
	t.Helper()
	pool := warmpoolv1.NewPoolServiceClient(dialTarget(t, control))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	looks, watches := 0, 0
	wg.Go(func() {
		for tick := time.Tick(10 * time.Millisecond); ctx.Err() == nil; <-tick {
			limited, done := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
			_, err := pool.GetStats(limited, &warmpoolv1.GetStatsRequest{}, grpc.WaitForReady(true))
			done()
			if err != nil {
				t.Errorf("GetStats: %v", err)
				return
			}
			looks++
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			stream, err := pool.WatchEvents(ctx, &warmpoolv1.WatchEventsRequest{}, grpc.WaitForReady(true))
			for err == nil {
				_, err = stream.Recv()
			}
			if code := status.Code(err); code != codes.Unavailable && ctx.Err() == nil {
				t.Errorf("WatchEvents ended with %v", err)
				return
			}
			watches++
		}
	})
	return func() {
		t.Helper()
		cancel()
		wg.Wait()
		t.Logf("the operator looked %d times, and watched %d sidecars", looks, watches)
	}
}

// A sidecar that is killed has a successor: requests that may be carried out twice are answered through the Go client,
// and of the others each caller is told the truth.
func TestAKilledSidecarLosesNoIdempotentCall(t *testing.T) {
	l := startLedger(t)
	s := startOnPaths(t, l, "30s")
	tr := newMixture(t, l, s.unix, callLimit)
	tr.run(t, func() {
		for range *upgrades {
			tr.await(t, 300)
			s.kill()
			s = s.next(t)
		}
		tr.await(t, 300)
	})
	tr.judge(t, judgement{killed: true, succeeded: true})
}

// Told twice, or with no time to drain, a sidecar ends at once, whatever hangs: calls that are not answered, a client that
// does not read, a collector that does not answer.
func TestASidecarThatIsToldToBeQuickIsQuick(t *testing.T) {
	for _, c := range []struct {
		name, grace string
		twice       bool
	}{
		{"told twice", "1h", true},
		{"no grace", "0s", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := startLedger(t)
			deaf, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer deaf.Close()
			s := startOnPaths(t, l, c.grace, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+deaf.Addr().String(), "OTEL_TRACES_SAMPLER=always_on")
			tr := newMixture(t, l, s.unix, 0)
			outcomes := make(chan told, len(tr.ways))
			for i := range tr.ways {
				hold(t, l, &tr.ways[i], "POST", outcomes)
			}
			neverReads(t, s.unix)
			began := time.Now()
			s.process.signal(syscall.SIGTERM)
			if c.twice {
				s.logs(t, "draining")
				s.process.signal(syscall.SIGTERM)
			}
			s.wait(t)
			t.Logf("the sidecar ended %.2f s after the signal", time.Since(began).Seconds())
			for range tr.ways {
				o := receive(t, outcomes, "a call's end")
				if _, whole := l.of(o.id); o.err == nil || o.delivery != warmpoolv1.Delivery_DELIVERY_UNKNOWN || whole != 1 {
					t.Errorf("%s (%s), carried out %d times: %v, %v", o.method, o.way.name, whole, o.delivery, o.err)
				}
			}
			s.leftNothing(t)
		})
	}
}

// neverReads asks for a body without end on a stream, and reads nothing of it.
func neverReads(t *testing.T, target string) {
	t.Helper()
	stream, err := warmpoolv1.NewHttpServiceClient(dialTarget(t, target)).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head := &warmpoolv1.HttpRequest{Upstream: "app", Path: "/", Headers: []*warmpoolv1.Header{header(ledgerEndless, "1")}}
	if err := stream.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Head{Head: head}, End: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // the head
		t.Fatal(err)
	}
}

// What a sidecar cuts because the time for its drain is over goes to its successor where it may.
func TestWhatADrainCutsIsSentAgainWhereItMay(t *testing.T) {
	l := startLedger(t)
	s := startOnPaths(t, l, "100ms")
	tr := newMixture(t, l, s.unix, callLimit)
	outcomes := make(chan told, 2*len(tr.ways))
	for i := range tr.ways {
		for _, method := range []string{"GET", "POST"} {
			hold(t, l, &tr.ways[i], method, outcomes)
		}
	}
	s.next(t)
	s.stop(t)
	for range tr.ways {
		receive(t, l.held, "a request at the successor")
	}
	l.release()
	for range 2 * len(tr.ways) {
		o := receive(t, outcomes, "a call's end")
		_, whole := l.of(o.id)
		if o.idempotent() && (o.err != nil || whole != 2) {
			t.Errorf("%s (%s), carried out %d times: %v, %v", o.method, o.way.name, whole, o.delivery, o.err)
		}
		if !o.idempotent() && (o.err == nil || whole != 1 || o.delivery != warmpoolv1.Delivery_DELIVERY_UNKNOWN) {
			t.Errorf("%s (%s), carried out %d times: %v, %v", o.method, o.way.name, whole, o.delivery, o.err)
		}
	}
}

// hold sends a request that the ledger holds, and returns when it does.
func hold(t *testing.T, l *ledger, w *way, method string, outcomes chan<- told) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*callLimit)
	t.Cleanup(cancel)
	go func() {
		o := w.send(ctx, &letter{method: method, id: fmt.Sprint("h", serial.Add(1)), hold: true})
		o.way = w
		outcomes <- o
	}()
	receive(t, l.held, "the request at the ledger")
}

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(callLimit):
		t.Fatalf("no sign of %s", what)
		panic("unreachable")
	}
}
