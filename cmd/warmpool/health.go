package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// The names under which the sidecar's health tells of the process as a whole.
const (
	liveness  = "liveness"  // it answers
	readiness = "readiness" // new work should be sent to it
)

func newHealthCommand(std streams) *cobra.Command {
	var (
		socket  *target
		service string
		timeout time.Duration
	)
	services := []string{readiness, liveness}
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask once whether the sidecar is ready, or alive",
		Long: `Ask the sidecar's gRPC health once, for exec probes and scripts. "readiness" is
SERVING while new work should be sent to it: once the warm floors stand or
warm_timeout is over, until it is told to stop. "liveness" is SERVING while the
process answers. "warmpool wait" asks until it is ready.

` + targetHelp + `

Exit codes: 0 SERVING, 1 anything else, 2 wrong command line, 3 no sidecar
answered in time.`,
		Example: `  warmpool health
  warmpool health --service liveness --timeout 500ms

  # Kubernetes
  readinessProbe: {exec: {command: [/warmpool, health]}}
  livenessProbe: {exec: {command: [/warmpool, health, --service, liveness]}}`,
		Args: cobra.NoArgs,
		RunE: doing(func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usage(fmt.Errorf("timeout is %s, must be positive", timeout))
			}
			if !slices.Contains(services, service) {
				return usage(fmt.Errorf("service is %q, must be %s", service, strings.Join(services, " or ")))
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			conn, err := socket.dial()
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			health, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
			if err != nil {
				return unhealthy(socket, service, timeout, err)
			}
			if health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
				return fmt.Errorf("%s of the sidecar at %s is %s: it establishes its connections or is told to stop; its log and /readyz say which",
					service, socket, health.GetStatus())
			}
			_, err = fmt.Fprintf(std.out, "%s %s\n", service, health.GetStatus())
			return err
		}),
	}
	socket = addTarget(cmd)
	cmd.Flags().StringVar(&service, "service", readiness, "what is asked: "+strings.Join(services, " or "))
	cmd.Flags().DurationVar(&timeout, "timeout", time.Second, "longest wait for the answer, such as 500ms; below the probe's timeoutSeconds")
	_ = cmd.RegisterFlagCompletionFunc("service", cobra.FixedCompletions(services, cobra.ShellCompDirectiveNoFileComp)) // fails for a flag that is not there
	return cmd
}

// unhealthy says why there is no answer: nobody is there, or it is no sidecar.
func unhealthy(at *target, service string, timeout time.Duration, err error) error {
	switch s := status.Convert(err); s.Code() {
	case codes.Unavailable:
		return at.unreached(s.Message())
	case codes.DeadlineExceeded:
		return &exitError{exitUnreachable, fmt.Errorf("the sidecar at %s did not answer within %s", at, timeout)}
	case codes.Unimplemented, codes.NotFound:
		return fmt.Errorf("what answers at %s knows no health for %q, so it is no sidecar: %s", at, service, s.Message())
	default:
		return errors.New(s.Message())
	}
}
