package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func newEventsCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events [UPSTREAM...]",
		Short: "Follow what happens: connections, failures, retries, changes",
		Long: `Print what happens from now on, one event a line, until interrupted; of the upstreams
named, or everything. When events come faster than they can be printed some are left
out, and a line says how many.`,
		Example: `  warmpool events payments
  warmpool events --kind connection_closed,dial_failed
  warmpool events -o json | jq 'select(.reason)'`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	var kinds []string
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only of these kinds: "+strings.Join(eventKinds(), ", "))
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		in := &warmpoolv1.WatchEventsRequest{Upstreams: args}
		for _, name := range kinds {
			kind, ok := warmpoolv1.EventKind_value["EVENT_KIND_"+strings.ToUpper(name)]
			if !ok || kind == 0 {
				return usage(fmt.Errorf("kind is %q, must be one of %s", name, strings.Join(eventKinds(), ", ")))
			}
			in.Kinds = append(in.Kinds, warmpoolv1.EventKind(kind))
		}
		stream, err := o.pool.WatchEvents(ctx, in)
		if err != nil {
			return err
		}
		if err := o.noteUnknown(ctx, stream, args); err != nil {
			return err
		}
		for {
			got, err := stream.Recv()
			if err != nil {
				return watchEnd(ctx, err)
			}
			if n := got.GetDropped(); n > 0 {
				out := o.std.out
				if o.json() {
					out = o.std.err // a script reads nothing but events there
				}
				fmt.Fprintf(out, "(%s left out: they came faster than they could be printed)\n", counted(n, "event", "events"))
			}
			for _, e := range got.GetEvents() {
				if o.json() {
					if err := o.printJSON(e); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintln(o.std.out, eventText(e))
			}
		}
	})
}

// noteUnknown says, once the watch has begun, which of the upstreams are not there. They
// may come; but a name that is wrong must not look like an upstream of which there
// is nothing to tell.
func (o *operator) noteUnknown(ctx context.Context, watch grpc.ClientStream, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if _, err := watch.Header(); err != nil {
		return watchEnd(ctx, err)
	}
	for _, name := range names {
		_, err := o.pool.GetUpstream(ctx, &warmpoolv1.GetUpstreamRequest{Name: name})
		switch {
		case status.Code(err) == codes.NotFound:
			fmt.Fprintf(o.std.err, "(%s; what happens to one of that name is printed when it comes)\n", status.Convert(err).Message())
		case err != nil:
			return watchEnd(ctx, err)
		}
	}
	return nil
}

func eventKinds() []string {
	var names []string
	for n := int32(1); ; n++ {
		name, ok := warmpoolv1.EventKind_name[n]
		if !ok {
			return names
		}
		names = append(names, strings.ToLower(strings.TrimPrefix(name, "EVENT_KIND_")))
	}
}

// eventText is an event in a line: when, what, where, why.
func eventText(e *warmpoolv1.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-22s", clock(e.GetTime()), word(e.GetKind(), "EVENT_KIND_"))
	add := func(text string) {
		if text != "" {
			b.WriteString("  " + text)
		}
	}
	add(e.GetUpstream())
	add(e.GetEndpoint())
	if e.GetConnectionId() > 0 {
		add(fmt.Sprintf("connection %d", e.GetConnectionId()))
	}
	if e.GetReason() != 0 {
		add(reasonName(e.GetReason()))
	}
	if e.GetCloseReason() != 0 {
		add(strings.TrimPrefix(e.GetCloseReason().String(), "CLOSE_REASON_"))
	}
	add(e.GetMessage())
	return b.String()
}
