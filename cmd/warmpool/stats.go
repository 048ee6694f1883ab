package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func newStatsCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [UPSTREAM...]",
		Short: "Show what upstreams do and have done",
		Long: `Show figures of the upstreams named, or of all: connections and queue now, and what
was counted since the sidecar started or the upstream was added. With --watch the
second and every further table shows rates per second instead. With -o wide there
are connections opened, dials that failed and bytes as well.`,
		Example: `  warmpool stats
  warmpool stats payments --watch=5s
  warmpool stats -o json | jq '.stats.upstreams[] | {name, waiting}'`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	every := addWatch(cmd)
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		got, err := o.pool.GetStats(ctx, &warmpoolv1.GetStatsRequest{Upstreams: args}) // a watch would wait for an upstream that does not exist
		if err != nil {
			return watchSpaced(args, *every, err)
		}
		if *every == 0 {
			if o.json() {
				return o.printJSON(got)
			}
			printStats(o.std.out, styleOf(o.std.out), o.wide(), nil, got.GetStats())
			return nil
		}
		return o.watchStats(ctx, args, *every)
	})
}

func (o *operator) watchStats(ctx context.Context, names []string, every time.Duration) error {
	stream, err := o.pool.WatchStats(ctx, &warmpoolv1.WatchStatsRequest{Upstreams: names, Interval: durationpb.New(every)})
	if err != nil {
		return err
	}
	var before *warmpoolv1.Stats
	for {
		got, err := stream.Recv()
		if err != nil {
			return watchEnd(ctx, err)
		}
		if o.json() {
			if err := o.printJSON(got); err != nil {
				return err
			}
			continue
		}
		if isTerminal(o.std.out) {
			fmt.Fprint(o.std.out, clearScreen)
		} else if before != nil {
			fmt.Fprintln(o.std.out)
		}
		if n := got.GetDropped(); n > 0 {
			fmt.Fprintf(o.std.out, "(%s left out: they came faster than they could be printed)\n", counted(n, "table", "tables"))
		}
		printStats(o.std.out, styleOf(o.std.out), o.wide(), before, got.GetStats())
		before = got.GetStats()
	}
}

// watchEnd is how a stream that goes on for ever ended: an interruption is what
// ends it, and no failure.
func watchEnd(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) || errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// printStats writes the figures; with those of before, what was counted is shown
// as rates in between.
func printStats(w io.Writer, style style, wide bool, before, now *warmpoolv1.Stats) {
	up := span(now.GetTime().AsTime().Sub(now.GetStartTime().AsTime()))
	state := ""
	if now.GetDraining() {
		state = ", draining"
	}
	fmt.Fprintf(w, "warmpool %s, up %s%s, %s open\n\n", now.GetVersion(), up, state, counted(now.GetOpenSessions(), "session", "sessions"))

	table := statsTable(before, now)
	table.wide = wide
	table.print(w, style, "no upstreams")
	var notes []string
	for _, u := range now.GetUpstreams() {
		for _, list := range []struct {
			what   string
			counts []*warmpoolv1.ReasonCount
		}{{"failures", u.GetFailures()}, {"retries after", u.GetRetries()}, {"failed dials", u.GetDialFailures()}} {
			if text := reasons(list.counts); text != "" {
				notes = append(notes, fmt.Sprintf("%s: %s: %s", u.GetName(), list.what, text))
			}
		}
		if text := closeReasons(u.GetClosed()); text != "" {
			notes = append(notes, fmt.Sprintf("%s: connections ended: %s", u.GetName(), text))
		}
		if u.GetWaiting() > 0 {
			notes = append(notes, fmt.Sprintf("%s: the oldest request has waited for %s", u.GetName(), span(u.GetOldestWait().AsDuration())))
		}
		if u.GetHandshakesSaved() > 0 {
			saved := fmt.Sprintf("%s: saved by reuse: %s, %s", u.GetName(),
				counted(u.GetHandshakesSaved(), "handshake", "handshakes"), span(u.GetHandshakeTimeSaved().AsDuration()))
			if n := u.GetSlowStartRoundsSaved(); n > 0 {
				saved += "; " + counted(n, "round trip", "round trips") + " of slow start (estimated)"
			}
			notes = append(notes, saved)
		}
		if u.GetUpkeepRequests()+u.GetUpkeepRefused() > 0 {
			notes = append(notes, fmt.Sprintf("%s: upkeep of windows cost %s, %d bytes; refused %s", u.GetName(),
				counted(u.GetUpkeepRequests(), "request", "requests"), u.GetUpkeepBytes(), counted(u.GetUpkeepRefused(), "time", "times")))
		}
		if e := u.GetLastDialError(); e != "" {
			notes = append(notes, fmt.Sprintf("%s: last dial error: %s%s", u.GetName(), ago(u.GetLastDialErrorTime(), now.GetTime().AsTime(), ": "), e))
		}
	}
	printNotes(w, "since the start", notes)
}

func statsTable(before, now *warmpoolv1.Stats) columns {
	was := make(map[string]*warmpoolv1.UpstreamStats)
	for _, u := range before.GetUpstreams() {
		was[u.GetName()] = u
	}
	passed := now.GetTime().AsTime().Sub(before.GetTime().AsTime()).Seconds()
	rate := before != nil && passed > 0
	counter := func(u *warmpoolv1.UpstreamStats, of func(*warmpoolv1.UpstreamStats) uint64) string {
		if !rate {
			return count(of(u))
		}
		n := of(u)
		if old := of(was[u.GetName()]); old <= n {
			n -= old
		}
		if n == 0 {
			return none
		}
		return fmt.Sprintf("%.4g/s", float64(n)/passed)
	}
	bytes := func(u *warmpoolv1.UpstreamStats, of func(*warmpoolv1.UpstreamStats) uint64) string {
		if !rate {
			return size(of(u))
		}
		return size(uint64(float64(of(u)-min(of(u), of(was[u.GetName()])))/passed)) + "/s"
	}
	table := columns{heads: []head{
		"UPSTREAM", "+STATE=active", ">ACTIVE", ">IDLE", ">WAITING", ">MAX", ">RESPONSES", ">FAILURES", ">RETRIES", ">REUSED",
		"+>OPENED", "+>DIALS FAILED", "+>SENT", "+>RECEIVED",
	}}
	for _, u := range now.GetUpstreams() {
		reused := none
		if u.GetAttempts() > 0 {
			reused = fmt.Sprintf("%.1f %%", 100*float64(u.GetReused())/float64(u.GetAttempts()))
		}
		table.add(u.GetName(), word(u.GetState(), "UPSTREAM_STATE_"), count(u.GetActive()), count(u.GetIdle()), count(u.GetWaiting()), count(u.GetMax()),
			counter(u, (*warmpoolv1.UpstreamStats).GetResponses),
			counter(u, func(u *warmpoolv1.UpstreamStats) uint64 { return total(u.GetFailures()) }),
			counter(u, func(u *warmpoolv1.UpstreamStats) uint64 { return total(u.GetRetries()) }),
			reused, counter(u, (*warmpoolv1.UpstreamStats).GetOpened),
			counter(u, func(u *warmpoolv1.UpstreamStats) uint64 { return total(u.GetDialFailures()) }),
			bytes(u, (*warmpoolv1.UpstreamStats).GetBytesSent), bytes(u, (*warmpoolv1.UpstreamStats).GetBytesReceived))
	}
	return table
}

func total(counts []*warmpoolv1.ReasonCount) uint64 {
	n := uint64(0)
	for _, c := range counts {
		n += c.GetCount()
	}
	return n
}

func reasons(counts []*warmpoolv1.ReasonCount) string {
	texts := make([]string, len(counts))
	for i, c := range counts {
		texts[i] = fmt.Sprintf("%s %d", reasonName(c.GetReason()), c.GetCount())
	}
	return strings.Join(texts, ", ")
}

func closeReasons(counts []*warmpoolv1.CloseReasonCount) string {
	texts := make([]string, len(counts))
	for i, c := range counts {
		texts[i] = fmt.Sprintf("%s %d", strings.TrimPrefix(c.GetReason().String(), "CLOSE_REASON_"), c.GetCount())
	}
	return strings.Join(texts, ", ")
}
