package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// printUsage writes how a command is used: cobra's layout, with the flags that say
// how a sidecar is reached in a list of their own, and no line longer than a
// terminal is wide.
func printUsage(cmd *cobra.Command) error {
	w := cmd.OutOrStderr()
	fmt.Fprint(w, "Usage:")
	if cmd.Runnable() {
		fmt.Fprintf(w, "\n  %s", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n  %s [command]", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(w, "\n\nExamples:\n%s", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(w, "\n\nAvailable Commands:")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				fmt.Fprintf(w, "\n  %-*s  %s", cmd.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	own, reach := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if reachFlag(f.Name) {
			reach.AddFlag(f)
		} else {
			own.AddFlag(f)
		}
	})
	for _, list := range []struct {
		head  string
		flags *pflag.FlagSet
	}{{"Flags", own}, {"Flags to reach the sidecar", reach}} {
		if list.flags.HasAvailableFlags() {
			fmt.Fprintf(w, "\n\n%s:\n%s", list.head, strings.TrimRight(list.flags.FlagUsagesWrapped(width()), " \n"))
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n\nUse \"%s [command] --help\" for more information about a command.", cmd.CommandPath())
	}
	fmt.Fprintln(w)
	return nil
}

// width is how many columns a person's terminal has, within what is easily read.
func width() int {
	const least, most = 60, 110
	columns, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return most
	}
	return min(max(columns, least), most)
}
