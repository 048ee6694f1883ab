package sidecar

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

func (s *poolService) GetStats(_ context.Context, in *warmpoolv1.GetStatsRequest) (*warmpoolv1.GetStatsResponse, error) {
	for _, name := range in.GetUpstreams() {
		if _, err := s.upstream(name); err != nil {
			return nil, err
		}
	}
	return &warmpoolv1.GetStatsResponse{Stats: s.stats(in.GetUpstreams())}, nil
}

// The interval of WatchStats.
const (
	statsInterval      = time.Second
	statsIntervalLeast = 100 * time.Millisecond
)

// WatchStats takes the figures when the watcher can be sent them: while it does
// not read, nothing is kept for it, and what it missed is counted by the clock.
func (s *poolService) WatchStats(in *warmpoolv1.WatchStatsRequest, stream grpc.ServerStreamingServer[warmpoolv1.WatchStatsResponse]) error {
	var v violations
	interval := v.duration("interval", in.GetInterval(), statsInterval, statsIntervalLeast)
	if err := v.err(); err != nil {
		return err
	}
	ctx, cancel := s.untilDraining(stream.Context())
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var missed uint64
	for due := time.Now(); ; {
		if err := stream.Send(&warmpoolv1.WatchStatsResponse{Stats: s.stats(in.GetUpstreams()), Dropped: missed}); err != nil {
			return err
		}
		missed = 0
		due = due.Add(interval)
		for late := time.Since(due); late >= interval; late -= interval {
			due = due.Add(interval)
			missed++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return watchOver(ctx)
		}
	}
}

// watchOver is the end of a stream that would go on for ever.
func watchOver(ctx context.Context) error {
	if context.Cause(ctx) == errDraining { //nolint:errorlint // it is what untilDraining gives
		return refused(codes.Unavailable, pool.ReasonDraining.String(), nil, "%v", errDraining)
	}
	return status.FromContextError(ctx.Err()).Err()
}

// stats are the figures of now, of the upstreams named or of all.
func (s *poolService) stats(names []string) *warmpoolv1.Stats {
	phase, _ := s.health.now()
	out := &warmpoolv1.Stats{
		Time: timestamppb.Now(), StartTime: timestamppb.New(s.started), Version: s.version,
		OpenSessions: uint64(s.sessions.count()), Draining: phase >= leaving,
	}
	for _, e := range s.book.list() {
		if !among(names, e.name()) {
			continue
		}
		stats := e.upstream.Stats()
		out.Upstreams = append(out.Upstreams, upstreamStats(&stats))
		for _, use := range stats.Ports {
			m := &warmpoolv1.PortUse{
				Source: use.Source.String(), Endpoint: addressText(use.Endpoint),
				Open: uint32(use.Open), TimeWait: uint32(use.TimeWait), Left: uint32(max(0, use.Range-use.Open-use.TimeWait)),
			}
			if !slices.ContainsFunc(out.GetPorts(), func(o *warmpoolv1.PortUse) bool {
				return o.GetSource() == m.GetSource() && o.GetEndpoint() == m.GetEndpoint() // of another upstream at the same address
			}) {
				out.Ports = append(out.Ports, m)
			}
		}
	}
	return out
}

// upstreamStats are the figures of one upstream.
func upstreamStats(st *pool.Stats) *warmpoolv1.UpstreamStats {
	now := time.Now()
	m := &warmpoolv1.UpstreamStats{
		Name: st.Upstream, State: modes[st.Mode],
		Dialing: uint32(st.Dialing), Idle: uint32(st.Idle), Active: uint32(st.Active),
		Draining: uint32(st.Total - st.Dialing - st.Idle - st.Active), Max: uint32(st.Max), Warm: uint32(st.Warm),
		Waiting: uint32(st.Waiting), OldestWait: spent(st.OldestWait),
		Responses: st.Responses, Failures: reasonCounts(st.Failures[:]), Attempts: st.Exchanges, Reused: st.Stood,
		Retries: reasonCounts(st.RetriesAfter[:]), RetriesRefused: st.RetriesRefused, Stale: st.Stale, ProvenNotReceived: st.NotReceived,
		Waits: st.Waits, WaitTime: spent(st.WaitTime),
		Opened: st.Opened, DialFailures: reasonCounts(st.DialFailures[:]), Closed: closeReasonCounts(st.Closed[:]),
		TlsHandshakes: st.TLSHandshakes, TlsResumed: st.TLSResumed, BytesSent: uint64(st.Sent), BytesReceived: uint64(st.Received),
		HandshakesSaved: st.HandshakesSaved, HandshakeTimeSaved: spent(st.HandshakeTimeSaved), SlowStartRoundsSaved: st.RoundsSaved,
		LastDialError: clip(st.LastDialError, maxMessage), UpkeepRequests: st.UpkeepRequests, UpkeepBytes: uint64(st.UpkeepBytes),
		UpkeepRefused: st.UpkeepRefused,
	}
	if st.SinceDialError > 0 {
		m.LastDialErrorTime = timestamppb.New(now.Add(-st.SinceDialError))
	}
	after := func(d time.Duration) *timestamppb.Timestamp {
		if d <= 0 {
			return nil
		}
		return timestamppb.New(now.Add(d))
	}
	for _, e := range st.Addresses {
		m.Endpoints = append(m.Endpoints, &warmpoolv1.EndpointStats{
			Address: addressText(e.Endpoint), Dialing: uint32(e.Dialing), Idle: uint32(e.Idle), Active: uint32(e.Active),
			Draining: uint32(e.Draining), Gone: e.Gone, RetryTime: after(e.RetryIn), FailuresInRow: uint32(e.Failures),
			IdleLimit: spent(e.IdleLimit), IdleLimitSource: idleLimitSources[e.IdleLimitSource],
			KeepaliveOffUntil: after(e.ReuseOff), PipeliningOffUntil: after(e.PipeliningOff), Rtt: spent(e.RTT),
		})
	}
	return m
}

func reasonCounts(counts []uint64) []*warmpoolv1.ReasonCount {
	var list []*warmpoolv1.ReasonCount
	for r, n := range counts {
		if n > 0 {
			list = append(list, &warmpoolv1.ReasonCount{Reason: reasonTwin(pool.Reason(r)), Count: n})
		}
	}
	return list
}

func closeReasonCounts(counts []uint64) []*warmpoolv1.CloseReasonCount {
	var list []*warmpoolv1.CloseReasonCount
	for r, n := range counts {
		if n > 0 {
			list = append(list, &warmpoolv1.CloseReasonCount{Reason: closeReasonTwin(pool.CloseReason(r)), Count: n})
		}
	}
	return list
}
