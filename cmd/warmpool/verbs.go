package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func newWarmCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "warm UPSTREAM N",
		Short: "Raise an upstream to N established connections now",
		Long: `Establish connections until the upstream has N, active ones included, and keep them
like a warm floor for --hold; then they decay like any surplus. It answers when they
are ready. With --upkeep their congestion windows are kept open for as long, by the
tiny requests that the upstream's upkeep says: for the seconds before something large
is asked for again, since it costs the upstream some requests a second for each.`,
		Example: `  warmpool warm payments 40 --hold 10m --timeout 5s
  warmpool warm reports 2 --hold 20s --upkeep`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	var hold time.Duration
	var upkeep bool
	cmd.Flags().DurationVar(&hold, "hold", 0, "how long they are kept (default connections.max_idle_time)")
	cmd.Flags().BoolVar(&upkeep, "upkeep", false, "keep the windows open too that traffic has opened, or opens meanwhile")
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		n, err := strconv.ParseUint(args[1], 10, 32)
		if err != nil {
			return usage(fmt.Errorf("%q must be a number of connections", args[1]))
		}
		done, err := o.pool.WarmUpstream(ctx, &warmpoolv1.WarmUpstreamRequest{
			Name: args[0], Connections: uint32(n), Hold: optional(cmd, "hold", hold), Upkeep: upkeep,
		})
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%s: %s ready, %d dialed, in %s", args[0], counted(done.GetReady(), "connection", "connections"), done.GetDialed(), span(done.GetTook().AsDuration()))
		if done.GetFailed() > 0 {
			text += fmt.Sprintf("; %s failed", counted(done.GetFailed(), "dial", "dials"))
		}
		if until := done.GetHoldUntil(); until != nil {
			text += "; held until " + clock(until)
		}
		return o.say(done, "%s", text)
	})
}

func newPauseCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause UPSTREAM",
		Short: "Let requests to an upstream wait, and answer when none is under way",
		Long: `Stop sending to an upstream: requests under way are finished, new ones wait within
queue.max_waiting and queue.max_wait. It answers when no exchange is under way any
more; if the timeout ends that wait, the pause stays.`,
		Example: `  warmpool pause payments --for 30s && ./migrate && warmpool resume payments`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	var lasts time.Duration
	cmd.Flags().DurationVar(&lasts, "for", 0, "the pause ends by itself after this time; 0: only resume ends it")
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		in := &warmpoolv1.PauseUpstreamRequest{Name: args[0]}
		if lasts != 0 {
			in.Duration = durationpb.New(lasts)
		}
		done, err := o.pool.PauseUpstream(ctx, in)
		if err != nil {
			return err
		}
		until := "until resumed"
		if lasts > 0 {
			until = "for " + span(lasts)
		}
		return o.say(done, "%s: paused %s, %s", args[0], until, counted(done.GetUpstream().GetStats().GetWaiting(), "request waits", "requests wait"))
	})
}

func newResumeCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "resume UPSTREAM",
		Short:   "End a pause or a drain",
		Long:    `End the pause or the drain of an upstream. Requests that waited go first.`,
		Example: `  warmpool resume payments`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		done, err := o.pool.ResumeUpstream(ctx, &warmpoolv1.ResumeUpstreamRequest{Name: args[0]})
		if err != nil {
			return err
		}
		return o.say(done, "%s: %s", args[0], word(done.GetUpstream().GetState(), "UPSTREAM_STATE_"))
	})
}

func newReconnectCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reconnect UPSTREAM",
		Short: "Replace an upstream's connections, new ones first",
		Long: `Replace all connections of an upstream: new ones are established first, as far as
connections.max leaves room, then old ones finish and close. It answers when the last
old one is closed. Old ones for which no new one can be made go on serving.`,
		Example: `  warmpool reconnect payments --grace 30s`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	var grace time.Duration
	cmd.Flags().DurationVar(&grace, "grace", 0, "time for what old connections carry; what is left is cancelled (default no limit)")
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		done, err := o.pool.ReconnectUpstream(ctx, &warmpoolv1.ReconnectUpstreamRequest{Name: args[0], Grace: optional(cmd, "grace", grace)})
		if err != nil {
			return err
		}
		return o.say(done, "%s: %s replaced by %d, %s cancelled", args[0],
			counted(done.GetClosed(), "connection", "connections"), done.GetOpened(), counted(done.GetCancelled(), "exchange", "exchanges"))
	})
}

func newDrainCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain UPSTREAM",
		Short: "Refuse new requests to an upstream, finish the others, close its connections",
		Long: `Refuse new requests to an upstream, finish those under way and those that wait, and
close all its connections. It answers when none is left. The upstream stays drained
until resume.`,
		Example: `  warmpool drain payments --grace 30s`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	var grace time.Duration
	cmd.Flags().DurationVar(&grace, "grace", 0, "time for what is under way or waits; what is left is cancelled (default drain.grace)")
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		done, err := o.pool.DrainUpstream(ctx, &warmpoolv1.DrainUpstreamRequest{Name: args[0], Grace: optional(cmd, "grace", grace)})
		if err != nil {
			return err
		}
		return o.say(done, "%s: drained, %s closed, %s cancelled", args[0],
			counted(done.GetClosed(), "connection", "connections"), counted(done.GetCancelled(), "exchange", "exchanges"))
	})
}
