package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// exitCode is what the process ends with.
type exitCode int

const (
	exitOK          exitCode = 0
	exitFailed      exitCode = 1  // it was tried and did not work
	exitUsage       exitCode = 2  // the command line or the configuration is wrong; nothing was tried
	exitUnreachable exitCode = 3  // no sidecar answered
	exitStatus      exitCode = 22 // send --fail: the upstream answered with a status of 400 or above; curl's number for it
)

const exitCodesHelp = `Exit codes:
   0  it worked; serve: stopped by SIGTERM or SIGINT
   1  it failed; send: the exchange has no response
   2  wrong command line or wrong configuration: every problem is listed
   3  no sidecar answered at the socket
  22  send --fail: the response's status is 400 or above`

// exitError ends the process with a code.
type exitError struct {
	code exitCode
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usage says that the command line is wrong.
func usage(err error) error { return &exitError{exitUsage, err} }

// refusal is a value on the command line that the sidecar does not allow. What is
// wrong with it stands in the error; how the command is written would not help.
type refusal struct{ error }

// exitCodeOf finds the code for what a command returned. An error that no
// command typed comes from cobra's reading of the command line.
func exitCodeOf(err error) exitCode {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitUsage
}

// concernsConfiguration reports whether err lists problems of a configuration.
func concernsConfiguration(err error) bool {
	_, ok := errors.AsType[*config.Error](err)
	return ok
}

// doing adapts a command's function to cobra: what it returns without a code
// is a failure of the work, and a problem of the configuration has a code of
// its own.
func doing(work func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := work(cmd, args)
		if err == nil {
			return nil
		}
		if _, typed := errors.AsType[*exitError](err); typed {
			return err
		}
		if concernsConfiguration(err) {
			return &exitError{exitUsage, err}
		}
		return &exitError{exitFailed, err}
	}
}
