package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func newWaitCommand() *cobra.Command {
	var (
		socket  *target
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "Wait until the sidecar is ready",
		Long: `Wait until the sidecar's gRPC health for "readiness" is SERVING: for scripts
that start it, and for exec probes. Prints nothing when all is well.

` + targetHelp + `

Exit codes: 0 ready, 1 not ready in time, 2 wrong command line.`,
		Example: `  warmpool serve -c warmpool.yaml &
  warmpool wait --timeout 10s && ./application

  # Kubernetes
  startupProbe: {exec: {command: [warmpool, wait, --timeout, 1s]}}`,
		Args: cobra.NoArgs,
		RunE: doing(func(cmd *cobra.Command, _ []string) error {
			if timeout < 0 {
				return usage(fmt.Errorf("timeout is %s, must not be negative", timeout))
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			conn, err := socket.dial()
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			seen := waitServing(ctx, grpc_health_v1.NewHealthClient(conn))
			switch {
			case seen == nil:
				return nil
			case errors.Is(ctx.Err(), context.DeadlineExceeded):
				return fmt.Errorf("the sidecar at %s was not ready within %s: %w%s", socket, timeout, seen, socket.advice(seen.Error()))
			default:
				return fmt.Errorf("interrupted while waiting for the sidecar at %s: %w", socket, seen)
			}
		}),
	}
	socket = addTarget(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "longest wait, such as 500ms or 1m; 0: no limit")
	return cmd
}

// waitServing returns nil once the sidecar's readiness is SERVING, or what was
// last seen of it when ctx ended before.
//
// It follows the health's changes rather than asking again and again. While
// there is no connection, asking costs nothing: gRPC answers with the newest
// error and paces the reconnecting.
//
// A deadline ends the stream at both ends, and the other end's word of it can be
// here before ctx has ended: that a wait is over is nothing seen of the sidecar.
func waitServing(ctx context.Context, client grpc_health_v1.HealthClient) error {
	seen, answered := errors.New("it did not answer"), false
	for ctx.Err() == nil {
		stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: readiness})
		for err == nil {
			var health *grpc_health_v1.HealthCheckResponse
			if health, err = stream.Recv(); err != nil {
				break
			}
			if health.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
				return nil
			}
			seen, answered = fmt.Errorf("its readiness is %s", health.GetStatus()), true
		}
		if ctx.Err() != nil {
			break
		}
		s := status.Convert(err)
		if over := s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded; !over || !answered {
			seen, answered = errors.New(cause(s.Message())), false
		}
		pause(ctx, 50*time.Millisecond)
	}
	return seen
}

// pause returns after d or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
