package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func newConnectionsCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connections [UPSTREAM]",
		Short: "List connections, open ones and those that ended last, and close one",
		Long: `List the connections of a running sidecar, oldest first. LIMIT is the idle time after
which a connection is retired, DONE the exchanges it has carried. With -o wide, FROM
is where the limit is known from: the policy, what the server announced, or what it
was seen to do; NOW the exchanges on it, shown in any case where there are several;
RTT and WINDOW (the congestion window with which something sent now would begin)
are the kernel's.`,
		Example: `  warmpool connections payments --watch
  warmpool connections --closed             # the last ones that ended, and why
  warmpool connections --state active,draining -o wide
  warmpool connections close 812 --force`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	every := addWatch(cmd)
	var states []string
	var closed bool
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in one of these states: dialing, idle, active, draining, closed (default all but closed)")
	cmd.Flags().BoolVar(&closed, "closed", false, "those that ended last, and why: --state closed")
	control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		in := &warmpoolv1.ListConnectionsRequest{PageSize: 10000}
		if len(args) > 0 {
			in.Upstream = args[0]
		}
		if closed {
			states = append(states, "closed")
		}
		for _, name := range states {
			state, ok := warmpoolv1.ConnectionState_value["CONNECTION_STATE_"+strings.ToUpper(name)]
			if !ok || state == 0 {
				return usage(fmt.Errorf("state is %q, must be dialing, idle, active, draining or closed", name))
			}
			in.States = append(in.States, warmpoolv1.ConnectionState(state))
		}
		return watchSpaced(args, *every, o.again(ctx, *every, func(w io.Writer) error { return o.listConnections(ctx, in, w) }))
	})
	cmd.AddCommand(newCloseCommand(std))
	return cmd
}

func (o *operator) listConnections(ctx context.Context, in *warmpoolv1.ListConnectionsRequest, w io.Writer) error {
	all := &warmpoolv1.ListConnectionsResponse{}
	for in.PageToken = ""; ; {
		page, err := o.pool.ListConnections(ctx, in)
		if err != nil {
			return err
		}
		all.Connections = append(all.Connections, page.GetConnections()...)
		if in.PageToken = page.GetNextPageToken(); in.GetPageToken() == "" {
			break
		}
	}
	if o.json() {
		return o.printJSON(all)
	}
	table := connectionsTable(all.GetConnections())
	table.wide = o.wide()
	table.print(w, styleOf(o.std.out), "no connections")
	return nil
}

func connectionsTable(all []*warmpoolv1.Connection) columns {
	table := columns{heads: []head{
		">ID", "UPSTREAM", "ENDPOINT", "+STATE=closed", ">AGE", "+>IDLE=-", "+>LIMIT=-", "+FROM", ">DONE", "+>NOW=-|1",
		"+>SENT", "+>RECEIVED", "+>RTT", "+>WINDOW", "+END=",
	}}
	for _, c := range all {
		window := none
		if n := c.GetTcp().GetEffectiveWindowBytes(); n > 0 {
			window = size(n)
		}
		table.add(
			strconv.FormatUint(c.GetId(), 10), c.GetUpstream(), c.GetEndpoint(), word(c.GetState(), "CONNECTION_STATE_"),
			span(c.GetAge().AsDuration()), span(c.GetIdle().AsDuration()), span(c.GetIdleLimit().AsDuration()), limitWord(c.GetIdleLimitSource()),
			count(c.GetExchanges()), count(c.GetInFlight()), size(c.GetBytesSent()), size(c.GetBytesReceived()),
			span(c.GetTcp().GetRtt().AsDuration()), window, endText(c))
	}
	return table
}

func limitWord(s warmpoolv1.IdleLimitSource) string {
	if s == warmpoolv1.IdleLimitSource_IDLE_LIMIT_SOURCE_UNSPECIFIED {
		return ""
	}
	return word(s, "IDLE_LIMIT_SOURCE_")
}

// endText says why a connection ended, or is about to.
func endText(c *warmpoolv1.Connection) string {
	if c.GetCloseReason() == warmpoolv1.CloseReason_CLOSE_REASON_UNSPECIFIED {
		return ""
	}
	text := strings.TrimPrefix(c.GetCloseReason().String(), "CLOSE_REASON_")
	if c.GetCloseTime() != nil {
		text = clock(c.GetCloseTime()) + " " + text
	}
	if detail := c.GetCloseDetail(); detail != "" {
		text += ": " + detail
	}
	return text
}

func newCloseCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "close ID",
		Short: "Close one connection",
		Long: `Close the connection of that id, as connections lists it, when what it carries is
finished. With --force it is closed at once, and what it carries fails.`,
		Args: cobra.ExactArgs(1),
	}
	var force bool
	cmd.Flags().BoolVar(&force, "force", false, "close it at once, failing what it carries")
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		id, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil || id == 0 {
			return usage(fmt.Errorf("id is %q, must be a number as connections lists it", args[0]))
		}
		done, err := o.pool.CloseConnection(ctx, &warmpoolv1.CloseConnectionRequest{ConnectionId: id, Force: force})
		if err != nil {
			return err
		}
		c := done.GetConnection()
		return o.say(done, "connection %d to %s (%s): closed after %s and %s", id, c.GetEndpoint(), c.GetUpstream(),
			or(strings.TrimPrefix(span(c.GetAge().AsDuration()), none), "no time"), counted(c.GetExchanges(), "exchange", "exchanges"))
	})
}
