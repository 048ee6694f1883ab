package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"syscall"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/command"
	"github.com/warmpool-dev/warmpool/cmd/internal/program"
)

func main() { command.Run("warmpool-bench", run) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var word string
	if len(args) > 0 {
		word = args[0]
	}
	// What these hold ends with them: a signal may end them as it does by default.
	switch word {
	case "origin":
		return originMain(args[1:], stdin, stdout)
	case "client":
		return clientMain(args[1:], stdin, stdout)
	case "reverseproxy":
		return reverseProxyMain(args[1:], stdin)
	case "collector":
		return collectorMain(stdin, stdout)
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if word == "sidecar" {
		return sidecarMain(ctx, args[1:], stdin, stdout)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return err
	}
	return o.run(ctx, stdout, stderr)
}

// options are the command line of a run.
type options struct {
	rounds   int
	match    *regexp.Regexp
	json     string
	profiles string
	quick    bool
	warmpool string
	other    string

	clientProcs int
	ownCPU      bool
}

const (
	leastRounds = 5
	quickRounds = 2
)

const helpHead = `Measures warmpool beside HAProxy and httputil.ReverseProxy in one run: ratios
first, then figures, as tables; then what a modest caller sees beside a greedy
one, and what telemetry costs; and at the end the targets and what was reached.
A run takes about six minutes; leave the machine alone meanwhile.

    warmpool-bench [flags]

Exit code 0: measured, every answer was right. 1: not so. 2: bad usage.

`

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	flags := command.Flags("warmpool-bench")
	flags.IntVar(&o.rounds, "rounds", leastRounds, "rounds that count, at least 5")
	match := flags.String("run", "", "measure only the rows whose name matches this `regexp`, such as 'HAProxy$|Send/in-flight=64'; names look like \"warmpool Send/in-flight=64/body=128\"")
	flags.StringVar(&o.json, "json", "", "write every figure of every round to this `file`, as JSON")
	flags.StringVar(&o.profiles, "profile", "", "write CPU profiles of the sidecar with many requests in flight into this `folder`; its rows then carry the profiler's cost")
	flags.BoolVar(&o.quick, "quick", false, "smoke test: few requests in 2 rounds, too short to conclude anything from")
	flags.StringVar(&o.warmpool, "warmpool", "", "measure this `binary`; default: build cmd/warmpool")
	flags.StringVar(&o.other, "other", "", "measure this other `binary` of warmpool too, in rows beside those of the first: what a change brings")
	flags.IntVar(&o.clientProcs, "client-procs", 1, "GOMAXPROCS of the clients: with more than one they take, in all rows, what is measured its CPU away wherever there are no more CPUs than processes")
	flags.BoolVar(&o.ownCPU, "own-cpu", true, "what is measured has a CPU to itself, and clients and origin share the others; false: the kernel places them, on two CPUs in another way in each run")
	err := command.Parse(flags, args, helpHead, stdout)
	if err != nil {
		return o, err
	}
	if o.quick {
		o.rounds = quickRounds
	} else if o.rounds < leastRounds {
		return o, command.Usagef("-rounds is %d, must be at least %d: fewer make no median worth reading", o.rounds, leastRounds)
	}
	if o.clientProcs < 1 {
		return o, command.Usagef("-client-procs is %d, must be at least 1", o.clientProcs)
	}
	if o.match, err = regexp.Compile(*match); err != nil {
		return o, command.Usagef("-run: %w", err)
	}
	return o, nil
}

// run measures, prints the report to stdout and tells its progress on stderr.
func (o options) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	groups := suite(o.match, o.quick, o.other != "")
	if len(groups) == 0 {
		return command.Usagef("-run %q matches no row", o.match)
	}
	// Children are tied to the thread that starts them; this one ends after them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	b := &bench{haproxy: program.Find("haproxy"), other: o.other, profiles: o.profiles, clientProcs: o.clientProcs}
	if o.ownCPU {
		b.placement = place(child.CPUs())
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "warmpool-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.warmpool, err = program.Warmpool(ctx, o.warmpool, b.dir); err != nil {
		return err
	}
	if b.other != "" {
		if err := program.Check(b.other); err != nil {
			return command.Usagef("-other: %w", err)
		}
	}
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o750); err != nil {
			return command.Usagef("-profile: %w", err)
		}
	}

	var out *os.File // opened before minutes are spent
	if o.json != "" {
		if out, err = os.Create(o.json); err != nil {
			return command.Usagef("-json: %w", err)
		}
		defer func() { err = errors.Join(err, out.Close()) }()
	}

	report := Report{Quick: o.quick}
	if report.Environment, err = b.environment(ctx); err != nil {
		return err
	}
	for _, g := range groups {
		say := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
		measured, err := b.measure(ctx, g, o.rounds, say)
		if err != nil {
			return err
		}
		report.Groups = append(report.Groups, measured)
	}
	report.Goals = report.goals()
	if err := report.print(stdout); err != nil {
		return err
	}
	if out != nil {
		lines := json.NewEncoder(out)
		lines.SetIndent("", "  ")
		if err := lines.Encode(&report); err != nil {
			return err
		}
	}
	if n := report.errors(); n > 0 {
		return fmt.Errorf("%d wrong answers, see above", n)
	}
	return nil
}
