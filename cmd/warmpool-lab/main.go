package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/command"
	"github.com/warmpool-dev/warmpool/cmd/internal/program"
	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/link"
	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/netns"
)

func main() { command.Run("warmpool-lab", run) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var word string
	if len(args) > 0 {
		word = args[0]
	}
	// What these hold ends with them: a signal may end them as it does by default.
	switch word {
	case "link":
		return linkMain(args[1:], stdin, stdout)
	case "origin":
		return originMain(args[1:], stdin, stdout)
	case "caller":
		return callerMain(stdin, stdout)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err = o.run(ctx, stdout, stderr)
	if lacking, ok := errors.AsType[*netns.UnavailableError](err); ok && !o.required {
		fmt.Fprintln(stderr, "warmpool-lab: skipped:", lacking)
		return nil
	}
	return err
}

// options are the command line of a run.
type options struct {
	plan      Plan
	setting   link.Setting
	only      []Section
	json      string
	chart     string
	warmpool  string
	selection string
	keep      string
	required  bool
}

// sections are what a run consists of, in order.
var sections = []Section{New, LightRound, HeavyRound, ObjectRound, PostRound, UploadRound, KeptRound, LoadRound}

const helpHead = `Measures what warm connections are worth on a link that delays every packet,
between two network namespaces: new connections, net/http, HAProxy, nginx and
warmpool, in round trips. A run takes about 12 minutes; leave the machine alone
meanwhile. It needs Linux, root and /dev/net/tun, and is skipped without.

    warmpool-lab [flags]

Parts: new      on new connections
       light    1 KB after idleness
       heavy    100 KB, 1 MB and bursts after idleness
       objects  40 of 10 KB, six ways, through warmpool
       posts    around the moment at which the origin closes
       uploads  1 MB among four connections, one of them with a wide window
       keeping  1 MB down on a window that was opened 2 s ago, kept open and not
       loaded   1 KB through a bounded pool at 80 % of its load, with dials ahead and without

Exit code 0: measured, or skipped. 1: it failed, or warmpool failed a request.
2: bad usage. A target that is missed is said, and is no failure.

`

func settingFlags(flags *flag.FlagSet, s *link.Setting) {
	flags.DurationVar(&s.OneWay, "oneway", 25*time.Millisecond, "delay of every packet, each way")
	flags.Int64Var(&s.Rate, "rate", 0, "`bits` per second, each way; 0: unlimited")
	flags.IntVar(&s.Queue, "queue", 0, "`bytes` that may wait for the rate, each way; 0: unlimited")
}

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	flags := command.Flags("warmpool-lab")
	settingFlags(flags, &o.setting)
	quick := flags.Bool("quick", false, "smoke test in less than a minute: every part once, too little to conclude anything from")
	only := flags.String("only", "", "measure only these `parts`, separated by commas")
	flags.StringVar(&o.json, "json", "", "write every figure to this `file`, as JSON")
	flags.StringVar(&o.keep, "keep", "", "take the parts that are not measured now from this `file`, written by -json")
	flags.StringVar(&o.chart, "chart", "", "draw the chart into this `file`, as SVG")
	flags.StringVar(&o.warmpool, "warmpool", "", "measure this `binary`; default: build cmd/warmpool")
	flags.StringVar(&o.selection, "selection", "", "`policy` by which warmpool chooses a connection for an upload; default: warmpool's own")
	flags.BoolVar(&o.required, "required", false, "fail instead of being skipped where something is lacking")
	if err := command.Parse(flags, args, helpHead, stdout); err != nil {
		return o, err
	}
	switch {
	case o.setting.OneWay <= 0 || o.setting.OneWay > time.Second:
		return o, command.Usagef("-oneway is %s, must be above 0s and at most 1s", o.setting.OneWay)
	case o.setting.Rate < 0 || o.setting.Queue < 0:
		return o, command.Usagef("-rate and -queue must not be negative")
	case o.setting.Queue > 0 && o.setting.Rate == 0:
		return o, command.Usagef("-queue has no meaning without -rate")
	}
	o.plan = planOf(*quick)
	o.only = sections
	if *only != "" {
		o.only = nil
		for name := range strings.SplitSeq(*only, ",") {
			if !slices.Contains(sections, Section(name)) {
				return o, command.Usagef("-only: there is no part %q; there are %s", name, join(sections))
			}
			o.only = append(o.only, Section(name))
		}
	}
	return o, nil
}

func planOf(quick bool) Plan {
	if quick {
		return quickPlan()
	}
	return fullPlan()
}

func join(sections []Section) string {
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// run measures, prints the report to stdout and tells its progress on stderr.
func (o options) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	// Children are tied to the thread that starts them, and namespaces are entered
	// by a thread; this one ends after them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	began := time.Now()
	l := &lab{
		plan: o.plan, setting: o.setting, selection: o.selection,
		say: func(format string, args ...any) {
			fmt.Fprintf(stderr, "%5s  %s\n", time.Since(began).Truncate(time.Second), fmt.Sprintf(format, args...))
		},
	}
	if l.self, err = os.Executable(); err != nil {
		return err
	}
	if l.dir, err = os.MkdirTemp("", "warmpool-lab-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.dir)) }()
	defer l.close() // before the folder is removed
	if l.kept, err = o.kept(); err != nil {
		return err
	}
	outputs, err := o.outputs()
	if err != nil {
		return err
	}
	defer outputs.close(&err)

	// Whether this can be done at all is known before anything is built.
	if err := l.build(ctx); err != nil {
		return err
	}
	if l.warmpool, err = program.Warmpool(ctx, o.warmpool, l.dir); err != nil {
		return err
	}
	report, err := l.measure(ctx, o.only)
	if err != nil {
		return err
	}
	report.Took = time.Since(began)
	if err := report.print(stdout); err != nil {
		return err
	}
	if err := outputs.write(report); err != nil {
		return err
	}
	if n := report.failures(); n > 0 {
		return fmt.Errorf("warmpool failed %d requests, see above", n)
	}
	return nil
}

// outputs are the files that are written, opened before minutes are spent.
type outputs struct{ json, chart *os.File }

func (o options) outputs() (f outputs, err error) {
	for _, file := range []struct {
		name, flag string
		to         **os.File
	}{{o.json, "-json", &f.json}, {o.chart, "-chart", &f.chart}} {
		if file.name == "" {
			continue
		}
		if *file.to, err = os.OpenFile(file.name, os.O_WRONLY|os.O_CREATE, 0o644); err != nil { //nolint:gosec // a figure for others to read
			return f, command.Usagef("%s: %w", file.flag, err)
		}
	}
	return f, nil
}

func (f outputs) close(err *error) {
	for _, file := range []*os.File{f.json, f.chart} {
		if file != nil {
			*err = errors.Join(*err, file.Close())
		}
	}
}

func (f outputs) write(r *Report) error {
	if f.json != nil {
		if err := f.json.Truncate(0); err != nil {
			return err
		}
		lines := json.NewEncoder(f.json)
		lines.SetIndent("", " ")
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	if f.chart != nil {
		if err := f.chart.Truncate(0); err != nil {
			return err
		}
		return r.draw(f.chart)
	}
	return nil
}
