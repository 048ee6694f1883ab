package sidecar

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

func (s *poolService) PauseUpstream(ctx context.Context, in *warmpoolv1.PauseUpstreamRequest) (*warmpoolv1.PauseUpstreamResponse, error) {
	var v violations
	lasts := v.duration("duration", in.GetDuration(), 0, time.Millisecond)
	e, ctx, cancel, err := s.begin(ctx, in.GetName(), v)
	if err != nil {
		return nil, err
	}
	defer cancel()
	s.turned(e, "paused", lasts)
	if err := e.upstream.Pause(ctx, lasts); err != nil {
		return nil, stopped(ctx, err, "upstream %q is paused, but %d exchanges are still under way", e.name(), e.upstream.Stats().Active)
	}
	return &warmpoolv1.PauseUpstreamResponse{Upstream: s.status(e)}, nil
}

func (s *poolService) ResumeUpstream(ctx context.Context, in *warmpoolv1.ResumeUpstreamRequest) (*warmpoolv1.ResumeUpstreamResponse, error) {
	e, ctx, cancel, err := s.begin(ctx, in.GetName(), nil)
	if err != nil {
		return nil, err
	}
	defer cancel()
	before := e.upstream.Mode()
	if err := e.upstream.Resume(); err != nil {
		return nil, stopped(ctx, err, "resuming %q", e.name())
	}
	if before != pool.ModeActive {
		s.turned(e, "resumed", 0)
	}
	return &warmpoolv1.ResumeUpstreamResponse{Upstream: s.status(e)}, nil
}

func (s *poolService) ReconnectUpstream(ctx context.Context, in *warmpoolv1.ReconnectUpstreamRequest) (*warmpoolv1.ReconnectUpstreamResponse, error) {
	var v violations
	grace := v.duration("grace", in.GetGrace(), -1, 0)
	e, ctx, cancel, err := s.begin(ctx, in.GetName(), v)
	if err != nil {
		return nil, err
	}
	defer cancel()
	s.log.Info("replacing all connections", "upstream", e.name())
	done, err := e.upstream.Reconnect(ctx, grace)
	if err != nil {
		stats := e.upstream.Stats()
		text := fmt.Sprintf("upstream %q: %d of %d connections are established anew", e.name(), done.Opened, done.Closed)
		if stats.LastDialError != "" {
			text += "; last dial error: " + stats.LastDialError
		}
		return nil, stopped(ctx, err, "%s", text)
	}
	return &warmpoolv1.ReconnectUpstreamResponse{
		Closed: uint32(done.Closed), Opened: uint32(done.Opened), Cancelled: uint64(done.Cancelled),
	}, nil
}

func (s *poolService) DrainUpstream(ctx context.Context, in *warmpoolv1.DrainUpstreamRequest) (*warmpoolv1.DrainUpstreamResponse, error) {
	var v violations
	grace := v.duration("grace", in.GetGrace(), s.settings.grace(), 0)
	e, ctx, cancel, err := s.begin(ctx, in.GetName(), v)
	if err != nil {
		return nil, err
	}
	defer cancel()
	s.turned(e, "drained", grace)
	done, err := e.upstream.Drain(ctx, grace)
	if err != nil {
		return nil, stopped(ctx, err, "upstream %q takes nothing new, but connections are still open", e.name())
	}
	return &warmpoolv1.DrainUpstreamResponse{Closed: uint32(done.Closed), Cancelled: uint64(done.Cancelled)}, nil
}

// begin finds the upstream that a verb is for. cancel is to be called when the
// verb is over.
func (s *poolService) begin(ctx context.Context, name string, v violations) (*entry, context.Context, context.CancelFunc, error) {
	if err := v.err(); err != nil {
		return nil, nil, nil, err
	}
	e, err := s.upstream(name)
	if err != nil {
		return nil, nil, nil, err
	}
	if p, _ := s.health.now(); p == draining {
		return nil, nil, nil, refused(codes.Unavailable, pool.ReasonDraining.String(), nil, "%v", errDraining)
	}
	ctx, cancel := s.untilDraining(ctx)
	return e, ctx, cancel, nil
}

// turned tells of a change of an upstream's state.
func (s *poolService) turned(e *entry, how string, lasts time.Duration) {
	attrs := []any{"upstream", e.name()}
	text := how
	if lasts > 0 {
		attrs = append(attrs, "for", lasts)
		text = fmt.Sprintf("%s for %s", how, lasts)
		if how == "drained" {
			text = fmt.Sprintf("%s within %s", how, lasts)
		}
	}
	s.log.Info("upstream "+how, attrs...)
	s.events.publish(&warmpoolv1.Event{
		Kind: warmpoolv1.EventKind_EVENT_KIND_UPSTREAM_STATE_CHANGED, Upstream: e.name(), Message: text,
	})
}
