package sidecar_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

const (
	httpServiceName = "warmpool.v1.HttpService"
	poolServiceName = "warmpool.v1.PoolService"
)

func TestEachFrontReportsHealthForWhatItServes(t *testing.T) {
	h := start(t)
	a := h.Addrs()
	tests := []struct {
		front, address string
		known, unknown []string
	}{
		{"data over a Unix socket", a.Data[0], []string{"", "liveness", "readiness", httpServiceName}, []string{poolServiceName}},
		{"data over TCP", a.Data[1], []string{"", "liveness", "readiness", httpServiceName}, []string{poolServiceName}},
		{"control", a.Control[0], []string{"", "liveness", "readiness", poolServiceName}, []string{httpServiceName}},
		{"admin", a.Admin, []string{"", "liveness", "readiness", httpServiceName, poolServiceName}, []string{"other"}},
	}
	for _, tt := range tests {
		t.Run(tt.front, func(t *testing.T) {
			c := healthv1.NewHealthClient(dial(t, tt.address))
			for _, name := range tt.known {
				got, err := c.Check(t.Context(), &healthv1.HealthCheckRequest{Service: name})
				if err != nil || got.GetStatus() != healthv1.HealthCheckResponse_SERVING {
					t.Errorf("%q: %v, %v", name, got.GetStatus(), err)
				}
			}
			for _, name := range tt.unknown {
				if _, err := c.Check(t.Context(), &healthv1.HealthCheckRequest{Service: name}); status.Code(err) != codes.NotFound {
					t.Errorf("%q: %v, want NOT_FOUND", name, err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				w, err := c.Watch(ctx, &healthv1.HealthCheckRequest{Service: name})
				if err != nil {
					t.Fatal(err)
				}
				wantHealth(t, w, healthv1.HealthCheckResponse_SERVICE_UNKNOWN)
				cancel()
			}
			list, err := c.List(t.Context(), &healthv1.HealthListRequest{})
			if err != nil || len(list.GetStatuses()) != len(tt.known) {
				t.Errorf("list: %v, %v", list, err)
			}
		})
	}
}

func TestEachFrontServesItsOwnServicesAndNoOthers(t *testing.T) {
	h := start(t)
	a := h.Addrs()
	data, control, admin := dial(t, a.Data[0]), dial(t, a.Control[0]), dial(t, a.Admin)

	if got, want := services(t, data), []string{"grpc.health.v1.Health", httpServiceName}; !subset(want, got) || slices.Contains(got, poolServiceName) {
		t.Errorf("the data front lists %q", got)
	}
	if got, want := services(t, control), []string{"grpc.health.v1.Health", poolServiceName}; !subset(want, got) || slices.Contains(got, httpServiceName) {
		t.Errorf("the control front lists %q", got)
	}
	request := &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web"}}
	for name, cc := range map[string]*grpc.ClientConn{"control": control, "admin": admin} {
		_, err := warmpoolv1.NewHttpServiceClient(cc).Send(t.Context(), request)
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "unknown service") {
			t.Errorf("HttpService on the %s front: %v", name, err)
		}
	}
	for name, cc := range map[string]*grpc.ClientConn{"data": data, "admin": admin} {
		_, err := warmpoolv1.NewPoolServiceClient(cc).ListUpstreams(t.Context(), &warmpoolv1.ListUpstreamsRequest{})
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "unknown service") {
			t.Errorf("PoolService on the %s front: %v", name, err)
		}
	}
	_, err := warmpoolv1.NewPoolServiceClient(control).ListUpstreams(t.Context(), &warmpoolv1.ListUpstreamsRequest{})
	if err != nil {
		t.Errorf("PoolService on the control front: %v", err)
	}
}

func subset(small, large []string) bool {
	return !slices.ContainsFunc(small, func(s string) bool { return !slices.Contains(large, s) })
}

func services(t *testing.T, cc *grpc.ClientConn) []string {
	t.Helper()
	stream, err := reflectionv1.NewServerReflectionClient(cc).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(ask); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range answer.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	return names
}

func TestControlAndAdminCanBeSwitchedOff(t *testing.T) {
	cfg := settings(shortDir(t))
	cfg.Control, cfg.Admin = []string{"off"}, "off"
	h := startWith(t, cfg)
	if a := h.Addrs(); len(a.Data) != 2 || a.Control != nil || a.Admin != "" {
		t.Errorf("bound: %+v", a)
	}
}

// probe is an answer of the admin listener.
type probe struct {
	code int
	body string
}

func get(t *testing.T, h *house, path string) probe {
	t.Helper()
	return ask(t, http.MethodGet, h, path)
}

func ask(t *testing.T, method string, h *house, path string) probe {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+h.Addrs().Admin+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return probe{answer.StatusCode, string(body)}
}

func TestTheAdminListenerAnswersProbes(t *testing.T) {
	h := start(t)
	for path, want := range map[string]probe{
		"/livez":  {http.StatusOK, "ok\n"},
		"/readyz": {http.StatusOK, "ready\n"},
		"/":       {http.StatusNotFound, "404 page not found\n"},
	} {
		if got := get(t, h, path); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	if got := ask(t, http.MethodPost, h, "/livez"); got.code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %+v", got)
	}
}

func TestAMessageOverTheLimitIsRefusedBeforeItIsRead(t *testing.T) {
	h := start(t, at("http://127.0.0.1:9"))
	_, err := h.client(t).Send(t.Context(), &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web", Body: make([]byte, 6<<20)}})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}
