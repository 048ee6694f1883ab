package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

func (s *poolService) WarmUpstream(ctx context.Context, in *warmpoolv1.WarmUpstreamRequest) (*warmpoolv1.WarmUpstreamResponse, error) {
	var v violations
	hold := v.duration("hold", in.GetHold(), 0, time.Millisecond)
	if in.GetConnections() == 0 {
		v.addf("connections", "is missing, must be 1 to connections.max")
	}
	e, ctx, cancel, err := s.begin(ctx, in.GetName(), v)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if mode := e.upstream.Mode(); mode == pool.ModeDraining || mode == pool.ModeDrained {
		return nil, stopped(ctx, &pool.ModeError{Upstream: e.name(), Mode: mode, Wanted: "be warmed"}, "")
	}
	s.log.Info("warming", "upstream", e.name(), "connections", in.GetConnections(), "hold", hold, "upkeep", in.GetUpkeep())
	done, err := e.upstream.Warm(ctx, pool.WarmRequest{
		Connections: int(min(in.GetConnections(), math.MaxInt32)), Hold: hold, Upkeep: in.GetUpkeep(),
	})
	if failure, ok := errors.AsType[*pool.Error](err); ok {
		if failure.Reason == pool.ReasonInvalidRequest {
			field := "connections"
			if in.GetUpkeep() && int64(in.GetConnections()) <= int64(e.upstream.Policy().Max) {
				field = "upkeep"
			}
			v.addf(field, "%s", failure.Detail)
			return nil, v.err()
		}
		if errors.Is(context.Cause(ctx), errDraining) {
			return nil, stopped(ctx, err, "upstream %q", e.name())
		}
		return nil, refused(codeOf(failure.Reason), failure.Reason.String(), nil, "%v", failure)
	}
	return &warmpoolv1.WarmUpstreamResponse{
		Ready: uint32(done.Ready), Dialed: uint32(done.Dialed), Failed: uint32(done.Failed), Took: durationpb.New(done.Took),
		HoldUntil: timestamppb.New(done.HoldUntil),
	}, nil
}

func (s *poolService) PauseUpstream(ctx context.Context, in *warmpoolv1.PauseUpstreamRequest) (*warmpoolv1.PauseUpstreamResponse, error) {
	var v violations
	lasts := v.duration("duration", in.GetDuration(), 0, time.Millisecond)
	e, ctx, cancel, err := s.begin(ctx, in.GetName(), v)
	if err != nil {
		return nil, err
	}
	defer cancel()
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
	if err := e.upstream.Resume(); err != nil {
		return nil, stopped(ctx, err, "resuming %q", e.name())
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
	before := e.upstream.Mode()
	done, err := e.upstream.Drain(ctx, grace)
	if err != nil {
		return nil, stopped(ctx, err, "upstream %q takes nothing new, but connections are still open", e.name())
	}
	if before != pool.ModeDrained {
		s.log.Info("upstream drained", "upstream", e.name(), "closed", done.Closed, "cancelled", done.Cancelled)
		s.events.publish(&warmpoolv1.Event{
			Kind: warmpoolv1.EventKind_EVENT_KIND_UPSTREAM_STATE_CHANGED, Upstream: e.name(), Message: modeWord(pool.ModeDrained),
		})
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
