package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func newCheckCommand(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file without serving it",
		Long: `Read FILE and this environment's ` + environmentPrefix + `* variables exactly as serve would,
certificates included, and print every problem, or a short list of the
upstreams when there is none. Nothing is listened on and nothing is dialled.

Exit codes: 0 it is right, 2 it is not.`,
		Example: `  warmpool check warmpool.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: doing(func(_ *cobra.Command, args []string) error {
			loaded, err := config.Load(config.Source{File: args[0], Environ: os.Environ()})
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
			return table.Flush()
		}),
	}
}
