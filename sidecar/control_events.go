package sidecar

import (
	"slices"

	"google.golang.org/grpc"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// eventsPerMessage bounds a message of WatchEvents.
const eventsPerMessage = 256

// WatchEvents sends what waits for the watcher, as much at once as there is.
func (s *poolService) WatchEvents(in *warmpoolv1.WatchEventsRequest, stream grpc.ServerStreamingServer[warmpoolv1.WatchEventsResponse]) error {
	w := s.events.watch(func(e *warmpoolv1.Event) bool {
		return among(in.GetUpstreams(), e.GetUpstream()) && (len(in.GetKinds()) == 0 || slices.Contains(in.GetKinds(), e.GetKind()))
	})
	defer s.events.unwatch(w)
	// The answer's header says that the watch has begun.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	ctx, cancel := s.untilDraining(stream.Context())
	defer cancel()
	for {
		over := false
		select {
		case <-w.wake:
		case <-ctx.Done():
			over = true // but what has happened is still sent
		}
		events, dropped := s.events.take(w)
		for len(events) > 0 || dropped > 0 {
			n := min(len(events), eventsPerMessage)
			if err := stream.Send(&warmpoolv1.WatchEventsResponse{Events: events[:n], Dropped: dropped}); err != nil {
				return err
			}
			events, dropped = events[n:], 0
		}
		if over {
			return watchOver(ctx)
		}
	}
}
