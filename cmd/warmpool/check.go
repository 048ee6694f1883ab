package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func newCheckCommand(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file without serving it",
		Long: `Read FILE and this environment's ` + environmentPrefix + `* variables exactly as serve would,
certificates included, and print every problem, or a short list of the
upstreams when there is none, and what this system does to idle connections.
Nothing is listened on and nothing is dialled.

Exit codes: 0 it is right, 2 it is not.`,
		Example: `  warmpool check warmpool.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: doing(func(_ *cobra.Command, args []string) error {
			loaded, err := config.Load(config.Source{File: args[0], Environ: os.Environ(), Variables: clientVariables()})
			if err != nil {
				return err
			}
			for _, warning := range loaded.Warnings {
				fmt.Fprintf(std.err, "%s: warning: %s\n", args[0], warning)
			}
			fmt.Fprintf(std.out, "%s: ok\n", args[0])
			table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "\nUPSTREAM\tURL\tWARM\tMAX\tMAX WAITING\tMAX WAIT")
			for _, u := range loaded.Config.GetUpstreams() {
				fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%s\n", u.GetName(), u.GetUrl(),
					u.GetConnections().GetWarm(), u.GetConnections().GetMax(),
					u.GetQueue().GetMaxWaiting(), u.GetQueue().GetMaxWait().AsDuration())
			}
			if len(loaded.Config.GetUpstreams()) == 0 {
				fmt.Fprintln(table, "(none)")
			}
			if err := table.Flush(); err != nil {
				return err
			}
			printKernel(std.out, pool.LookAtKernel())
			return nil
		}),
	}
}

// printKernel writes what k says of this system, which need not be the one that
// serves.
func printKernel(w io.Writer, k pool.Kernel) {
	if !k.Known {
		return
	}
	onOff := "0"
	if k.SlowStartAfterIdle {
		onOff = "1"
	}
	fmt.Fprintf(w, "\nOn this system (tcp_slow_start_after_idle=%s, tcp_congestion_control=%s) %s.\n", onOff, k.Congestion, sidecar.IdleWindows(k))
}
