// Package command is what the programs that measure have in common towards whoever
// starts them: flags, what is wrong with a command line, and exit codes.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Exit codes.
const (
	ExitOK      = 0 // it measured; or skipped, which is said
	ExitFailure = 1
	ExitUsage   = 2
)

// UsageError is a command line that cannot be carried out.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap is what is wrong with it.
func (e *UsageError) Unwrap() error { return e.err }

// Usagef is a UsageError that fmt.Errorf words.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Run calls a program and ends the process as it ended.
func Run(name string, run func(args []string, stdin io.Reader, stdout, stderr io.Writer) error) {
	os.Exit(ExitCode(name, run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr), os.Stderr))
}

// ExitCode is the one of a program that ended with err, which is told on stderr.
func ExitCode(name string, err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return ExitOK
	}
	fmt.Fprintln(stderr, name+":", err)
	if _, ok := errors.AsType[*UsageError](err); ok {
		return ExitUsage
	}
	return ExitFailure
}

// Flags is a set of flags that tells nobody of mistakes but its caller: ExitCode does.
func Flags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// Parse reads a command line that has flags only. Where help is asked for, it writes
// head and the flags to stdout, and returns flag.ErrHelp; other errors are a
// *UsageError.
func Parse(flags *flag.FlagSet, args []string, head string, stdout io.Writer) error {
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, head)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return err
	case err != nil:
		return Usagef("%w; see -help", err)
	case flags.NArg() > 0:
		return Usagef("unexpected argument %q; there are flags only, see -help", flags.Arg(0))
	}
	return nil
}
