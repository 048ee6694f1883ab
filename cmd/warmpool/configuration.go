package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func newReloadCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Read the configuration file again and apply it",
		Long: `Let the sidecar read its configuration file again and apply what differs, while it
serves. A file with any mistake changes nothing, and every mistake is listed. The
sidecar does the same by itself when the file changes, and on SIGHUP.`,
		Example: `  warmpool reload --check    # what would change?`,
		Args:    cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	var check bool
	cmd.Flags().BoolVar(&check, "check", false, "say what would change, and change nothing")
	return control(cmd, std, func(ctx context.Context, o *operator, _ []string) error {
		done, err := o.pool.ReloadConfig(ctx, &warmpoolv1.ReloadConfigRequest{ValidateOnly: check})
		if err != nil {
			return err
		}
		if o.json() {
			return o.printJSON(done)
		}
		if check {
			fmt.Fprintln(o.std.out, "the file is right; nothing was changed")
		} else {
			fmt.Fprintf(o.std.out, "applied as generation %d\n", done.GetGeneration())
		}
		differs := false
		for _, list := range []struct {
			what  string
			names []string
		}{
			{"upstreams created", done.GetCreated()},
			{"upstreams updated", done.GetUpdated()},
			{"upstreams deleted", done.GetDeleted()},
			{"settings changed", done.GetChanged()},
			{"after a restart", done.GetPendingRestart()},
		} {
			if len(list.names) > 0 {
				fmt.Fprintf(o.std.out, "  %-17s  %s\n", list.what, strings.Join(list.names, ", "))
				differs = true
			}
		}
		if !differs {
			fmt.Fprintln(o.std.out, "  nothing differs")
		}
		return nil
	})
}

func newConfigCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration in force, and what became of the last reload",
		Long: `Print the configuration in force in the form of the file: defaults filled in, upstreams
that were added or changed through the API included, secrets hidden. In remarks
above it stands where it came from and how the last reload went.`,
		Example: `  warmpool config
  warmpool config --status   # the remarks alone; exit code 1 when the last file was refused`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	var only bool
	cmd.Flags().BoolVar(&only, "status", false, "only where it came from and how the last reload went; exit code 1 when the file was refused")
	return control(cmd, std, func(ctx context.Context, o *operator, _ []string) error {
		got, err := o.pool.GetConfig(ctx, &warmpoolv1.GetConfigRequest{})
		if err != nil {
			return err
		}
		st := got.GetStatus()
		var refused error
		if n := len(st.GetErrors()); only && n > 0 {
			refused = &exitError{exitFailed, fmt.Errorf("the file that was read last is refused for %s", counted(n, "mistake", "mistakes"))}
		}
		if o.json() {
			if only {
				got.Config = nil
			}
			if err := o.printJSON(got); err != nil {
				return err
			}
			return refused
		}
		mark := "# "
		if only {
			mark = ""
		}
		printConfigStatus(o.std, mark, st)
		if only {
			return refused
		}
		text, err := config.YAML(got.GetConfig())
		if err != nil {
			return err
		}
		_, err = o.std.out.Write(text)
		return err
	})
}

// printConfigStatus writes where the configuration came from; each line begins
// with mark.
func printConfigStatus(std streams, mark string, st *warmpoolv1.ConfigStatus) {
	say := func(format string, args ...any) { fmt.Fprintf(std.out, mark+format+"\n", args...) }
	if st.GetFile() == "" {
		say("there is no configuration file")
		return
	}
	say("file %s, generation %d, applied %s ago", st.GetFile(), st.GetGeneration(), span(time.Since(st.GetApplyTime().AsTime())))
	if len(st.GetErrors()) > 0 {
		say("REFUSED %s ago, what was in force stays:", span(time.Since(st.GetReloadTime().AsTime())))
		width := 0
		for _, e := range st.GetErrors() {
			width = max(width, len(e.GetPath()))
		}
		for _, e := range st.GetErrors() {
			say("  %-*s  %s", width, e.GetPath(), e.GetMessage())
		}
	}
	if pending := st.GetPendingRestart(); len(pending) > 0 {
		say("after a restart: %s", strings.Join(pending, ", "))
	}
}
