package sidecar_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// outcome is how a call ended.
type outcome struct {
	response *warmpoolv1.HttpResponse
	err      error
}

// sendLater sends in the background.
func sendLater(t *testing.T, c warmpoolv1.HttpServiceClient, r *warmpoolv1.HttpRequest) <-chan outcome {
	t.Helper()
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		answer, err := c.Send(ctx, &warmpoolv1.SendRequest{Request: r})
		done <- outcome{answer.GetResponse(), err}
	}()
	return done
}

// watchHealth opens a watch and reads its first answer.
func watchHealth(t *testing.T, cc *grpc.ClientConn) healthv1.Health_WatchClient {
	t.Helper()
	w, err := healthv1.NewHealthClient(cc).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantHealth(t, w, healthv1.HealthCheckResponse_SERVING)
	return w
}

func wantHealth(t *testing.T, w healthv1.Health_WatchClient, want healthv1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	got, err := w.Recv()
	if err != nil || got.GetStatus() != want {
		t.Fatalf("watched %v, %v; want %v", got.GetStatus(), err, want)
	}
}

func TestADrainFinishesWhatRunsAndRefusesWhatIsNew(t *testing.T) {
	g := newGate()
	h := start(t, web(t, g.serve))
	cc := dial(t, h.Addrs().Data[0])
	c := warmpoolv1.NewHttpServiceClient(cc)
	first := sendLater(t, c, &warmpoolv1.HttpRequest{Upstream: "web"})
	g.await(t)
	watch := watchHealth(t, cc)

	h.stop()
	wantHealth(t, watch, healthv1.HealthCheckResponse_NOT_SERVING)
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v, want UNAVAILABLE: it would hold the drain up", err)
	}
	probe := get(t, h, "/readyz")
	if probe.code != http.StatusServiceUnavailable || !strings.Contains(probe.body, "draining") {
		t.Errorf("/readyz while draining: %+v", probe)
	}
	if probe := get(t, h, "/livez"); probe.code != http.StatusOK {
		t.Errorf("/livez while draining: %+v", probe)
	}
	awaitRefusal(t, h.Addrs().Data[1])

	close(g.open)
	if got := receive(t, first, "the running call's end"); got.err != nil || string(got.response.GetBody()) != "through" {
		t.Errorf("the running call got %v, %v", got.response, got.err)
	}
	h.wait(t)
	if log := h.log.String(); strings.Contains(log, "cut") || !strings.Contains(log, "msg=draining running=1") {
		t.Errorf("log:\n%s", log)
	}
}

// awaitRefusal waits until an address takes no new calls. The listener closes
// some moment after health has turned.
func awaitRefusal(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		cc := dial(t, address)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := healthv1.NewHealthClient(cc).Check(ctx, &healthv1.HealthCheckRequest{})
		cancel()
		if status.Code(err) == codes.Unavailable {
			return
		}
	}
	t.Errorf("%s still takes calls", address)
}

func TestWhatIsLeftWhenTheGraceIsOverFailsWithAReason(t *testing.T) {
	g := newGate()
	u := web(t, g.serve)
	u.Connections = connections(1)
	u.Queue = &warmpoolv1.Queue{MaxWait: durationpb.New(time.Minute)}
	cfg := settings(shortDir(t), u)
	cfg.Drain.Grace = durationpb.New(50 * time.Millisecond)
	h := startWith(t, cfg)
	c := h.client(t)
	running := sendLater(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST"})
	g.await(t)
	waiting := sendLater(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST"})
	awaitWaiting(t, h, 1)

	h.stop()
	r := readRefusal(t, receive(t, running, "the running call's end").err)
	r.want(t, codes.Unavailable, warmpoolv1.Reason_REASON_DRAINING, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
	r = readRefusal(t, receive(t, waiting, "the waiting call's end").err)
	r.want(t, codes.Unavailable, warmpoolv1.Reason_REASON_DRAINING, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	h.wait(t)
	for _, line := range []string{`msg="drain.grace is over" running=2`, `msg="running exchanges were cut" reason=DRAINING upstream=web exchanges=1`} {
		if !strings.Contains(h.log.String(), line) {
			t.Errorf("the log lacks %s:\n%s", line, h.log)
		}
	}
}

// awaitWaiting waits until n requests wait for a connection.
func awaitWaiting(t *testing.T, h *house, n int) {
	t.Helper()
	u, err := h.Pool().Upstream("web")
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); u.Stats().Waiting != n; {
		if time.Now().After(end) {
			t.Fatalf("%d requests wait, want %d", u.Stats().Waiting, n)
		}
		runtime.Gosched()
	}
}

func TestAStreamThatCarriesNothingDoesNotHoldTheDrainUp(t *testing.T) {
	cfg := settings(shortDir(t), at("http://127.0.0.1:9"))
	cfg.Drain.Grace = durationpb.New(time.Hour)
	h := startWith(t, cfg)
	stream, err := reflectionv1.NewServerReflectionClient(dial(t, h.Addrs().Data[0])).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(ask); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.wait(t)
}

func TestKeepServingTakesReadinessAwayAndNothingElse(t *testing.T) {
	cfg := settings(shortDir(t), web(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") }))
	cfg.Drain.KeepServing = durationpb.New(500 * time.Millisecond)
	h := startWith(t, cfg)
	cc := dial(t, h.Addrs().Data[0])
	overall := watchHealth(t, cc)
	ready, err := healthv1.NewHealthClient(cc).Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "readiness"})
	if err != nil {
		t.Fatal(err)
	}
	wantHealth(t, ready, healthv1.HealthCheckResponse_SERVING)

	h.stop()
	wantHealth(t, ready, healthv1.HealthCheckResponse_NOT_SERVING)
	if probe := get(t, h, "/readyz"); probe.code != http.StatusServiceUnavailable || !strings.Contains(probe.body, "keep_serving") {
		t.Errorf("/readyz: %+v", probe)
	}
	if got := send(t, warmpoolv1.NewHttpServiceClient(dial(t, h.Addrs().Data[1])), &warmpoolv1.HttpRequest{Upstream: "web"}); string(got.GetBody()) != "served" {
		t.Errorf("got %q", got.GetBody())
	}
	wantHealth(t, overall, healthv1.HealthCheckResponse_NOT_SERVING) // now the drain has begun
	h.wait(t)
}

func TestServeReturnsWhenItsContextHasEndedBefore(t *testing.T) {
	h := start(t, at("http://127.0.0.1:9"))
	h.stop()
	h.wait(t)
	if h.err != nil {
		t.Error(h.err)
	}
}
