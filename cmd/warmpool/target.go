package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// defaultTarget is where a sidecar listens that was told nothing else.
const defaultTarget = "unix:///run/warmpool/warmpool.sock"

// listenVariable configures the sidecar's listeners. Clients read it as well,
// so that a command run in the sidecar's container finds it.
const listenVariable = "WARMPOOL_LISTEN"

const targetHelp = `The sidecar is looked for at --socket, else at the first address in
` + listenVariable + `, else at ` + defaultTarget + `.`

// target is the address of a sidecar, written as in its `listen` setting.
type target string

// addTarget gives cmd the flag --socket, which also goes by --target, gRPC's
// word for it.
func addTarget(cmd *cobra.Command) *target { return addTargetAt(cmd, defaultTarget, listenVariable) }

// addTargetAt is addTarget with another default, and another variable of the
// environment that says otherwise.
func addTargetAt(cmd *cobra.Command, byDefault, variable string) *target {
	t := target(byDefault)
	if first, _, _ := strings.Cut(os.Getenv(variable), ","); first != "" {
		t = target(strings.TrimSpace(first))
	}
	cmd.Flags().StringVarP((*string)(&t), "socket", "s", string(t), "the sidecar: unix:///path or tcp://host:port")
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "target" {
			name = "socket"
		}
		return pflag.NormalizedName(name)
	})
	return &t
}

// name is the address as gRPC writes it.
func (t target) name() (string, error) {
	switch scheme, address, _ := strings.Cut(string(t), "://"); {
	case scheme == "unix" && strings.HasPrefix(address, "/"):
		return "unix://" + address, nil
	case scheme == "tcp" && address != "":
		return "dns:///" + address, nil
	default:
		return "", usage(fmt.Errorf("socket is %q, must be unix:///absolute/path or tcp://host:port", string(t)))
	}
}

// dial makes a client connection. Nothing is connected yet: the first call
// does that.
func (t target) dial() (*grpc.ClientConn, error) {
	name, err := t.name()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(name,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// The sidecar bounds bodies; a second bound here could only differ.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		// A sidecar that starts is there within milliseconds, not within gRPC's default pause of a second and more.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
	if err != nil {
		return nil, usage(fmt.Errorf("socket is %q: %w", string(t), err))
	}
	return conn, nil
}
