package sidecar

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// phase is how far the sidecar's life has come. It only grows.
type phase uint8

const (
	warming phase = iota // serves, while the warm floors are being established
	serving
	leaving  // told to stop, and still taking requests for drain.keep_serving
	draining // takes nothing new
)

// The names that gRPC health knows beside the services'. The empty one is the
// whole server.
const (
	healthOverall   = ""
	healthLiveness  = "liveness"  // the process answers; depends on nothing
	healthReadiness = "readiness" // new work should be sent here
)

// health is the one state that every probe reports.
type health struct {
	mu struct {
		sync.Mutex
		phase   phase
		changed chan struct{} // closed, and replaced, when phase changes
	}
}

func newHealth() *health {
	h := &health{}
	h.mu.changed = make(chan struct{})
	return h
}

// enter goes on to a later phase.
func (h *health) enter(p phase) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p <= h.mu.phase {
		return
	}
	h.mu.phase = p
	close(h.mu.changed)
	h.mu.changed = make(chan struct{})
}

// now is the phase and what is closed when it is over.
func (h *health) now() (phase, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.phase, h.mu.changed
}

// notReady says why new work should not be sent here; empty: it should.
func (h *health) notReady() string {
	switch p, _ := h.now(); p {
	case warming:
		return "connections are being established"
	case serving:
		return ""
	case leaving:
		return "stopping: still serving for drain.keep_serving"
	default:
		return "draining: what runs is finished, nothing new is taken"
	}
}

// status is what a name reports in a phase. While leaving, the services still
// say that they serve: a client that asks health before it calls goes on to be
// served, as the operator asked with drain.keep_serving.
func (p phase) status(name string) healthv1.HealthCheckResponse_ServingStatus {
	serves := p < draining
	switch name {
	case healthLiveness:
		serves = true
	case healthReadiness:
		serves = p == serving
	}
	if serves {
		return healthv1.HealthCheckResponse_SERVING
	}
	return healthv1.HealthCheckResponse_NOT_SERVING
}

// healthService is gRPC health v1 as one front serves it. Unlike grpc-go's own
// it ends its watches when the drain begins: they would hold the drain up.
type healthService struct {
	healthv1.UnimplementedHealthServer
	health *health
	names  []string
}

// register puts gRPC health on a server, for the names that every front knows
// and its own services.
func (h *health) register(s *grpc.Server, services ...string) {
	names := append([]string{healthOverall, healthLiveness, healthReadiness}, services...)
	healthv1.RegisterHealthServer(s, &healthService{health: h, names: names})
}

var (
	dataServices    = []string{warmpoolv1.HttpService_ServiceDesc.ServiceName}
	controlServices = []string{warmpoolv1.PoolService_ServiceDesc.ServiceName}
)

func (s *healthService) Check(_ context.Context, in *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	name := in.GetService()
	if !slices.Contains(s.names, name) {
		return nil, status.Errorf(codes.NotFound, "unknown service %q; there are: %q", clip(name, maxName), s.names)
	}
	p, _ := s.health.now()
	return &healthv1.HealthCheckResponse{Status: p.status(name)}, nil
}

func (s *healthService) List(context.Context, *healthv1.HealthListRequest) (*healthv1.HealthListResponse, error) {
	p, _ := s.health.now()
	all := make(map[string]*healthv1.HealthCheckResponse, len(s.names))
	for _, name := range s.names {
		all[name] = &healthv1.HealthCheckResponse{Status: p.status(name)}
	}
	return &healthv1.HealthListResponse{Statuses: all}, nil
}

func (s *healthService) Watch(in *healthv1.HealthCheckRequest, stream healthv1.Health_WatchServer) error {
	known := slices.Contains(s.names, in.GetService())
	last := healthv1.HealthCheckResponse_UNKNOWN
	for {
		p, changed := s.health.now()
		now := p.status(in.GetService())
		if !known { // the protocol asks to go on: the service may come
			now = healthv1.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if now != last {
			if err := stream.Send(&healthv1.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
			last = now
		}
		if p == draining {
			return status.Error(codes.Unavailable, "the sidecar is draining")
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
