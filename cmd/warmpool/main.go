// Command warmpool is the sidecar and the commands that go with it.
//
// Each command is a file: serve is the sidecar itself, send, wait and health are
// its clients, check reads a configuration without serving it, demo shows the
// whole on one machine. The commands for operators share control.go. They all
// agree on the exit codes in exit.go.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// streams are what a command reads and writes.
type streams struct {
	in  io.Reader
	out io.Writer // what was asked for, and nothing else
	err io.Writer // everything said about it
}

func main() {
	os.Exit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// run carries out one command line and returns the process's exit code.
func run(args []string, std streams) int {
	root := newRootCommand(std)
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	command, err := root.ExecuteC()
	code := exitCodeOf(err)
	switch {
	case err == nil:
	case concernsConfiguration(err):
		fmt.Fprintf(std.err, "%s: the configuration is wrong:\n%s\n", command.CommandPath(), err)
	case code == exitUsage && !errors.As(err, new(refusal)):
		fmt.Fprintf(std.err, "%s: %s\n", command.CommandPath(), strings.TrimSpace(err.Error()))
		if !errors.As(err, new(*exitError)) && command.Runnable() { // cobra's error: the line was not understood
			fmt.Fprintf(std.err, "Usage: %s\n", command.UseLine())
		}
		fmt.Fprintf(std.err, "See: %s --help\n", command.CommandPath())
	default:
		fmt.Fprintf(std.err, "%s: %s\n", command.CommandPath(), err)
	}
	return int(code)
}

func newRootCommand(std streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "warmpool",
		Short: "Warm, persistent HTTP/1.1 connections, lent out over gRPC",
		Long: `warmpool runs beside an application and keeps persistent, parallel HTTP/1.1
connections to the upstreams it is configured with. The application sends each
request as one gRPC message and gets the response back: name resolution, TCP
and TLS handshakes were paid before it asked, and are shared by all callers.

Try it, with nothing installed or configured:
  warmpool demo

Use it:
  warmpool check warmpool.yaml        # is the configuration right?
  warmpool serve -c warmpool.yaml     # run the sidecar
  warmpool wait                       # until it is ready
  warmpool send payments /v1/balance  # one request, like curl

Operate it:
  warmpool upstreams                  # what is there, and how is it?
  warmpool stats payments --watch     # what does it do?
  warmpool connections payments       # every connection, and why the last ones ended
  warmpool events                     # what happens now?
  warmpool reload --check             # what would the file change?

` + exitCodesHelp,
		Version:       buildVersion().Version,
		SilenceErrors: true, // printed once, by run
		SilenceUsage:  true, // an error's text says what is allowed; the help is one flag away
	}
	root.SetVersionTemplate("warmpool {{.Version}}\n")
	root.SetUsageFunc(printUsage)
	root.AddCommand(
		newServeCommand(std),
		newSendCommand(std),
		newCheckCommand(std),
		newWaitCommand(),
		newHealthCommand(std),
		newUpstreamsCommand(std),
		newConnectionsCommand(std),
		newStatsCommand(std),
		newEventsCommand(std),
		newWarmCommand(std),
		newPauseCommand(std),
		newResumeCommand(std),
		newReconnectCommand(std),
		newDrainCommand(std),
		newReloadCommand(std),
		newConfigCommand(std),
		newDemoCommand(std),
		newVersionCommand(std),
	)
	return root
}
