package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func newUpstreamsCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upstreams",
		Short: "List upstreams, and show, change, add or delete one",
		Long: `List the upstreams of a running sidecar with their state, and their connections and
queue now. Where their settings came from is listed where it is not the file for all
of them, and with -o wide.

A change counts at once and is not written to the file. What a reload does to it
then depends on where the upstream came from:

  file          the file's word: changed and deleted as it says
  api           added here: left alone; a file that has the name is refused
  file changed  the file's, changed here: left alone until the file's own entry
                changes
  dynamic       an origin that a caller named: has the settings that the file says,
                and goes when nobody uses it, or dynamic_origins.allow has it no more`,
		Example: `  warmpool upstreams
  warmpool upstreams show payments
  warmpool upstreams set payments connections.max=128 queue.max_wait=2s
  warmpool upstreams set payments connections.max=        # the default again
  warmpool upstreams apply more.yaml                      # add or replace what the file lists
  warmpool upstreams delete payments --grace 30s`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	every := addWatch(cmd)
	control(cmd, std, func(ctx context.Context, o *operator, _ []string) error {
		return o.again(ctx, *every, func(w io.Writer) error { return o.listUpstreams(ctx, w) })
	})
	cmd.AddCommand(newShowCommand(std), newSetCommand(std), newApplyCommand(std), newDeleteCommand(std))
	return cmd
}

// allUpstreams is the whole list.
func (o *operator) allUpstreams(ctx context.Context) (*warmpoolv1.ListUpstreamsResponse, error) {
	all := &warmpoolv1.ListUpstreamsResponse{}
	for token := ""; ; {
		page, err := o.pool.ListUpstreams(ctx, &warmpoolv1.ListUpstreamsRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, err
		}
		all.Upstreams = append(all.Upstreams, page.GetUpstreams()...)
		if token = page.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

func (o *operator) listUpstreams(ctx context.Context, w io.Writer) error {
	all, err := o.allUpstreams(ctx)
	if err != nil {
		return err
	}
	if o.json() {
		return o.printJSON(all)
	}
	table := upstreamsTable(all.GetUpstreams())
	table.wide = o.wide()
	table.print(w, styleOf(o.std.out), "no upstreams; upstreams apply adds some")
	var notes []string
	for _, u := range all.GetUpstreams() {
		st := u.GetStats()
		if e := st.GetLastDialError(); e != "" {
			notes = append(notes, fmt.Sprintf("%s: %s%s", st.GetName(), ago(st.GetLastDialErrorTime(), time.Now(), ": "), e))
		}
	}
	printNotes(w, "last dial error", notes)
	return nil
}

func upstreamsTable(all []*warmpoolv1.UpstreamStatus) columns {
	table := columns{heads: []head{
		"UPSTREAM", "STATE", "+SOURCE=file", ">ACTIVE", ">IDLE", "+>DIALING=-", ">WAITING", ">WARM", "+>MAX", "URL",
	}}
	for _, u := range all {
		st := u.GetStats()
		table.add(u.GetUpstream().GetName(), word(u.GetState(), "UPSTREAM_STATE_"), sourceWord(u.GetSource()),
			count(st.GetActive()), count(st.GetIdle()), count(st.GetDialing()), count(st.GetWaiting()),
			count(st.GetWarm()), count(st.GetMax()), u.GetUpstream().GetUrl())
	}
	return table
}

// printNotes writes what does not fit into a table below it.
func printNotes(w io.Writer, what string, notes []string) {
	if len(notes) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", what)
	for _, note := range notes {
		fmt.Fprintf(w, "  %s\n", note)
	}
}

func sourceWord(s warmpoolv1.UpstreamSource) string {
	if s == warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE_CHANGED_BY_API {
		return "file changed"
	}
	return word(s, "UPSTREAM_SOURCE_")
}

// sourceText is where an upstream comes from, in more words.
var sourceText = map[warmpoolv1.UpstreamSource]string{
	warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_UNSPECIFIED:         "a newer sidecar",
	warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE:                "the file",
	warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_API:                 "the api",
	warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE_CHANGED_BY_API: "the file, changed since",
	warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_DYNAMIC:             "a caller who named it",
}

func newShowCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one upstream's settings, as the file would have them",
		Long: `Show one upstream: its settings in force, in the form of the configuration file,
and in remarks above them its state.`,
		Args: cobra.ExactArgs(1),
	}
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		got, err := o.pool.GetUpstream(ctx, &warmpoolv1.GetUpstreamRequest{Name: args[0]})
		if err != nil {
			return err
		}
		if o.json() {
			return o.printJSON(got)
		}
		u := got.GetUpstream()
		st := u.GetStats()
		fmt.Fprintf(o.std.out, "# %s, from %s, etag %s\n", word(u.GetState(), "UPSTREAM_STATE_"), sourceText[u.GetSource()], u.GetEtag())
		fmt.Fprintf(o.std.out, "# created %s ago, changed %s ago\n", span(time.Since(u.GetCreateTime().AsTime())), span(time.Since(u.GetUpdateTime().AsTime())))
		fmt.Fprintf(o.std.out, "# %d active, %d idle, %d dialing, %d draining of %d; %d waiting\n",
			st.GetActive(), st.GetIdle(), st.GetDialing(), st.GetDraining(), st.GetMax(), st.GetWaiting())
		text, err := config.YAML(u.GetUpstream())
		if err != nil {
			return err
		}
		_, err = o.std.out.Write(text)
		return err
	})
}

func newSetCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set NAME SETTING=VALUE...",
		Short: "Change settings of an upstream while it serves",
		Long: `Change settings of an upstream. No request fails by it. A setting is written by its
path, a value as in the file; a list is separated by commas, and no value at all
is the default.`,
		Example: `  warmpool upstreams set payments connections.max=128
  warmpool upstreams set payments queue.max_wait= --dry-run`,
		Args: cobra.MinimumNArgs(2),
	}
	var dry bool
	cmd.Flags().BoolVar(&dry, "dry-run", false, "check only, change nothing")
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		change := &warmpoolv1.Upstream{Name: args[0]}
		var mask []string
		for _, arg := range args[1:] {
			path, text, ok := strings.Cut(arg, "=")
			if !ok {
				return usage(fmt.Errorf("%q must be SETTING=VALUE, such as connections.max=128", arg))
			}
			if err := config.Assign(change, path, text); err != nil {
				return usage(err)
			}
			mask = append(mask, path)
		}
		done, err := o.pool.UpdateUpstream(ctx, &warmpoolv1.UpdateUpstreamRequest{
			Upstream: change, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}, ValidateOnly: dry,
		})
		if err != nil {
			return err
		}
		return o.say(done, "%s: %s", args[0], changedText(done.GetChanged(), dry))
	})
}

func changedText(changed []string, dry bool) string {
	switch {
	case len(changed) == 0:
		return "nothing differs"
	case dry:
		return "would change " + strings.Join(changed, ", ")
	default:
		return "changed " + strings.Join(changed, ", ")
	}
}

func newApplyCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Add the upstreams that a file lists, or give them its settings",
		Long: `Read FILE, a configuration file, and add each of its upstreams to the sidecar, or
replace the settings of the one that has its name. Upstreams that FILE does not
list stay as they are, and so do settings outside the upstreams.`,
		Example: `  warmpool upstreams apply more.yaml --dry-run`,
		Args:    cobra.ExactArgs(1),
	}
	var dry bool
	cmd.Flags().BoolVar(&dry, "dry-run", false, "check only, change nothing")
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		loaded, err := config.Load(config.Source{File: args[0]})
		if err != nil {
			return err
		}
		there, err := o.allUpstreams(ctx)
		if err != nil {
			return err
		}
		known := make(map[string]bool)
		for _, u := range there.GetUpstreams() {
			known[u.GetUpstream().GetName()] = u.GetState() != warmpoolv1.UpstreamState_UPSTREAM_STATE_DELETING
		}
		for _, u := range loaded.Config.GetUpstreams() {
			if !known[u.GetName()] {
				done, err := o.pool.CreateUpstream(ctx, &warmpoolv1.CreateUpstreamRequest{Upstream: u, ValidateOnly: dry})
				if err != nil {
					return err
				}
				verb := "added"
				if dry {
					verb = "would be added"
				}
				if err := o.say(done, "%s: %s", u.GetName(), verb); err != nil {
					return err
				}
				continue
			}
			done, err := o.pool.UpdateUpstream(ctx, &warmpoolv1.UpdateUpstreamRequest{
				Upstream: u, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}}, ValidateOnly: dry,
			})
			if err != nil {
				return err
			}
			if err := o.say(done, "%s: %s", u.GetName(), changedText(done.GetChanged(), dry)); err != nil {
				return err
			}
		}
		return nil
	})
}

func newDeleteCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete an upstream, once what runs on it is finished",
		Long: `Delete an upstream. New requests do not find it any more, those that wait fail, those
under way are finished within --grace. The file is not changed: an upstream that
came from it comes back with the next reload.`,
		Args: cobra.ExactArgs(1),
	}
	var grace time.Duration
	cmd.Flags().DurationVar(&grace, "grace", 0, "time for what is under way; what is left is cancelled (default drain.grace)")
	return control(cmd, std, func(ctx context.Context, o *operator, args []string) error {
		done, err := o.pool.DeleteUpstream(ctx, &warmpoolv1.DeleteUpstreamRequest{Name: args[0], Grace: optional(cmd, "grace", grace)})
		if err != nil {
			return err
		}
		return o.say(done, "%s: deleted, %s cancelled", args[0], counted(done.GetCancelled(), "exchange", "exchanges"))
	})
}
