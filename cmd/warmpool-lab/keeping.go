package main

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

const (
	// keptSize does not fit into the window that a connection begins with by far.
	keptSize = 1_000_000
	// keptIdle is long enough for the far end to have forgotten a window that is not kept.
	keptIdle = 2 * time.Second
	keptHold = 10 * time.Second
)

// KeepingFigures is what downloads showed some time after others had opened the
// far end's window.
type KeepingFigures struct {
	Kept     bool            `json:"kept"` // upkeep was asked for, between them
	Took     []time.Duration `json:"took_ns"`
	Requests uint64          `json:"upkeep_requests"` // that it took
	Failures int             `json:"failures"`
	First    string          `json:"first_failure,omitempty"`
}

func (c *caller) keeping(ctx context.Context, kind Kind) *KeepingFigures {
	f := &KeepingFigures{Kept: kind == Kept}
	v, ok := c.ways[Warmpool].(*viaSidecar)
	if !ok {
		return f
	}
	for _, s := range c.Plan.keeping(kind) {
		took, err := c.keep(ctx, v, s, f)
		if err != nil {
			f.Failures++
			if f.First == "" {
				f.First = err.Error()
			}
			continue
		}
		f.Took = append(f.Took, took)
	}
	return f
}

// keep opens the window of one connection by two downloads, and measures another
// after idleness.
func (c *caller) keep(ctx context.Context, v *viaSidecar, s Slot, f *KeepingFigures) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	large := request{size: keptSize}
	for range 2 {
		if _, err := v.ask(ctx, s, large); err != nil {
			return 0, err
		}
	}
	if f.Kept {
		in := &warmpoolv1.WarmUpstreamRequest{Name: s.Name(), Connections: 1, Hold: durationpb.New(keptHold), Upkeep: true}
		if _, err := v.control.WarmUpstream(ctx, in); err != nil {
			return 0, err
		}
	}
	time.Sleep(keptIdle)
	began := time.Now()
	_, err := v.ask(ctx, s, large)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	stats, err := v.control.GetStats(ctx, &warmpoolv1.GetStatsRequest{Upstreams: []string{s.Name()}})
	if err != nil {
		return 0, err
	}
	for _, u := range stats.GetStats().GetUpstreams() {
		f.Requests += u.GetUpkeepRequests()
	}
	return took, nil
}
