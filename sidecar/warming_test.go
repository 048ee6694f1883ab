package sidecar_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// down is an upstream with a floor of two whose address refuses connections, and
// its address.
func down(t *testing.T) (*warmpoolv1.Upstream, string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	u := at("http://" + l.Addr().String())
	u.Connections = &warmpoolv1.Connections{Warm: new(uint32(2))}
	return u, l.Addr().String()
}

func TestTheSidecarIsReadyWhenItsWarmFloorsStand(t *testing.T) {
	u, address := down(t)
	cfg := settings(shortDir(t), u)
	cfg.WarmTimeout = durationpb.New(time.Hour)
	h := startWith(t, cfg)
	cc := dial(t, h.Addrs().Data[0])
	watchHealth(t, cc) // it serves
	ready, err := healthv1.NewHealthClient(cc).Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "readiness"})
	if err != nil {
		t.Fatal(err)
	}
	wantHealth(t, ready, healthv1.HealthCheckResponse_NOT_SERVING)
	if probe := get(t, h, "/readyz"); probe.code != http.StatusServiceUnavailable || !strings.Contains(probe.body, "below the warm floor: web 0 of 2") {
		t.Errorf("/readyz: %+v", probe)
	}
	if probe := get(t, h, "/livez"); probe.code != http.StatusOK {
		t.Errorf("/livez: %+v", probe)
	}

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	wantHealth(t, ready, healthv1.HealthCheckResponse_SERVING)
	if probe := get(t, h, "/readyz"); probe.code != http.StatusOK || probe.body != "ready\n" {
		t.Errorf("/readyz: %+v", probe)
	}
	if stats := h.Pool().Shortfalls(); len(stats) > 0 {
		t.Errorf("below the floor: %v", stats)
	}
}

func TestAnUpstreamThatIsDownHoldsReadinessUpForWarmTimeoutOnly(t *testing.T) {
	u, _ := down(t)
	cfg := settings(shortDir(t), u)
	cfg.WarmTimeout = durationpb.New(100 * time.Millisecond)
	h := startWith(t, cfg)
	ready, err := healthv1.NewHealthClient(dial(t, h.Addrs().Data[0])).Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "readiness"})
	if err != nil {
		t.Fatal(err)
	}
	for got := (&healthv1.HealthCheckResponse{}); got.GetStatus() != healthv1.HealthCheckResponse_SERVING; {
		if got, err = ready.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	probe := get(t, h, "/readyz")
	if probe.code != http.StatusOK || !strings.HasPrefix(probe.body, "ready\nbelow the warm floor: web 0 of 2 (connecting to 127.0.0.1:") || !strings.Contains(probe.body, "refused") {
		t.Errorf("/readyz: %+v", probe)
	}
	if log := h.log.String(); !strings.Contains(log, "below its warm floor") || !strings.Contains(log, "upstream=web connections=0 warm=2") {
		t.Errorf("the log does not tell of the shortfall:\n%s", log)
	}
}
