package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// defaultControl is where a sidecar is controlled that was told nothing else.
const defaultControl = "unix:///run/warmpool/control.sock"

// controlVariable configures the sidecar's control listeners. Commands read it as
// well, so that one run in the sidecar's container finds it.
const controlVariable = "WARMPOOL_CONTROL"

const controlHelp = `The sidecar's control listener is looked for at --socket, else at the first
address in ` + controlVariable + `, else at ` + defaultControl + `, which
only its owner may connect to.

` + credentialsHelp + `

Exit codes: 0 done, 1 it failed, 2 wrong command line or a value that is not
allowed, 3 no sidecar answered at the socket.`

// operator is what the commands that control a sidecar have in common.
type operator struct {
	socket  *target
	output  string
	timeout time.Duration
	std     streams
	pool    warmpoolv1.PoolServiceClient
}

// control makes a command of one that calls PoolService. work is called with a
// context that ends with the timeout, or a signal.
func control(cmd *cobra.Command, std streams, work func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	o := &operator{std: std}
	o.socket = addTargetAt(cmd, defaultControl, controlVariable)
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "table, for people; wide, a table with every column; or json, for scripts")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "longest wait for the answer, such as 10s; 0: no limit")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "wide", "json"}, cobra.ShellCompDirectiveNoFileComp)) // fails for a flag that is not there
	cmd.Long = strings.TrimSpace(cmd.Long) + "\n\n" + controlHelp
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		switch {
		case o.output != "table" && o.output != "wide" && o.output != "json":
			return usage(fmt.Errorf("output is %q, must be table, wide or json", o.output))
		case o.timeout < 0:
			return usage(fmt.Errorf("timeout is %s, must not be negative", o.timeout))
		}
		conn, err := o.socket.dial()
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		o.pool = warmpoolv1.NewPoolServiceClient(conn)
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if o.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, o.timeout)
			defer cancel()
		}
		return o.explain(work(ctx, o, args))
	})
	return cmd
}

// explain turns the error of a call into the command's: what is wrong, a line for
// each mistake, and the exit code.
func (o *operator) explain(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	ours := false
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			ours = ours || d.GetDomain() == "warmpool"
		case *errdetails.BadRequest:
			return &exitError{exitUsage, refusal{violationsText(d)}}
		}
	}
	switch {
	case ours && s.Code() == codes.PermissionDenied:
		return &exitError{exitFailed, fmt.Errorf("%s\n  to do     show a certificate (--cert, --key) or a token (--token-file) to which a rule in the sidecar's allow gives control, or use its Unix socket", s.Message())}
	case ours && s.Code() == codes.InvalidArgument:
		return &exitError{exitUsage, refusal{errors.New(s.Message())}}
	case ours:
		return &exitError{exitFailed, errors.New(s.Message())}
	case s.Code() == codes.Unavailable:
		return o.socket.unreached(s.Message())
	case s.Code() == codes.Unimplemented:
		return &exitError{exitUnreachable, fmt.Errorf("what answers at %s is no control listener: %s\n  to do     name the sidecar's control listener with -s: its setting `control`", o.socket, s.Message())}
	case s.Code() == codes.DeadlineExceeded:
		return &exitError{exitFailed, fmt.Errorf("it was not done within the timeout of %s", o.timeout)}
	case s.Code() == codes.Canceled:
		return &exitError{exitFailed, errors.New("interrupted")}
	default:
		return &exitError{exitFailed, fmt.Errorf("%s: %s", s.Code(), s.Message())}
	}
}

// violationsText words the mistakes of a request, one a line, in columns.
func violationsText(b *errdetails.BadRequest) error {
	width := 0
	for _, v := range b.GetFieldViolations() {
		width = max(width, len(v.GetField()))
	}
	var text strings.Builder
	text.WriteString("it was refused, and nothing was changed:")
	for _, v := range b.GetFieldViolations() {
		fmt.Fprintf(&text, "\n  %-*s  %s", width, v.GetField(), v.GetDescription())
	}
	return errors.New(text.String())
}

// json reports whether scripts read what is printed.
func (o *operator) json() bool { return o.output == "json" }

// wide reports whether tables have all their columns.
func (o *operator) wide() bool { return o.output == "wide" }

// printJSON writes a message on a line of its own.
func (o *operator) printJSON(m proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil { // protojson's blanks come and go
		return err
	}
	_, err = fmt.Fprintf(o.std.out, "%s\n", &line)
	return err
}

// say writes what a command did, or the whole answer for scripts.
func (o *operator) say(m proto.Message, format string, args ...any) error {
	if o.json() {
		return o.printJSON(m)
	}
	fmt.Fprintf(o.std.out, format+"\n", args...)
	return nil
}

// clearScreen empties a terminal and begins at its top.
const clearScreen = "\x1b[H\x1b[2J"

// again shows something once, or again and again until it is interrupted.
func (o *operator) again(ctx context.Context, every time.Duration, show func(w io.Writer) error) error {
	for {
		var page strings.Builder
		err := show(&page)
		if err != nil && every > 0 {
			return watchEnd(ctx, err)
		}
		if err != nil {
			return err
		}
		if every > 0 && isTerminal(o.std.out) && !o.json() {
			fmt.Fprint(o.std.out, clearScreen)
		}
		fmt.Fprint(o.std.out, page.String())
		if every == 0 {
			return nil
		}
		pause(ctx, every)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // to be interrupted is how watching ends
		}
		if !isTerminal(o.std.out) && !o.json() {
			fmt.Fprintln(o.std.out)
		}
	}
}

// addWatch gives cmd the flag --watch.
func addWatch(cmd *cobra.Command) *time.Duration {
	every := new(time.Duration)
	cmd.Flags().DurationVarP(every, "watch", "w", 0, "show it again and again at this interval (1s without a value), until interrupted")
	cmd.Flags().Lookup("watch").NoOptDefVal = "1s"
	return every
}

// watchSpaced is the error of a command that shows upstreams, with a hint where the
// interval of --watch was taken for one: a flag whose value can be left out needs
// the "=".
func watchSpaced(upstreams []string, every time.Duration, err error) error {
	if status.Code(err) != codes.NotFound || every == 0 {
		return err
	}
	for _, name := range upstreams {
		if _, notDuration := time.ParseDuration(name); notDuration == nil {
			return usage(fmt.Errorf("%q is taken for an upstream: an interval is written --watch=%[1]s", name))
		}
	}
	return err
}

// optional is a duration of a flag, when it was given.
func optional(cmd *cobra.Command, flag string, d time.Duration) *durationpb.Duration {
	if !cmd.Flags().Changed(flag) {
		return nil
	}
	return durationpb.New(d)
}

// counted words a number of things.
func counted[N uint32 | uint64 | int](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
