package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"github.com/warmpool-dev/warmpool/api/client"
)

// defaultTarget is where a sidecar listens that was told nothing else.
const defaultTarget = client.DefaultTarget

// listenVariable configures the sidecar's listeners. Clients read it as well,
// so that a command run in the sidecar's container finds it.
const listenVariable = "WARMPOOL_LISTEN"

const targetHelp = `The sidecar is looked for at --socket, else at the first address in
` + listenVariable + `, else at ` + defaultTarget + `.

` + credentialsHelp

const credentialsHelp = `A TCP listener with TLS is reached with --ca, one that asks for a certificate with
--cert and --key as well, and --token-file is for rules about tokens. Each of these
flags has a variable of the environment: --server-name is ` + clientPrefix + `SERVER_NAME.`

// clientPrefix is what the variables of the environment begin with that say how a
// command reaches a sidecar.
const clientPrefix = "WARMPOOL_CLIENT_"

// inClear is the word that lets a token go where everybody on the way can read it.
const inClear = "send-token-in-clear"

// target is how a command reaches a sidecar.
type target struct {
	address     string // as in the sidecar's `listen` setting
	credentials client.Credentials
	unprotected string // empty, or inClear
	flags       *pflag.FlagSet
}

// targetFlag is a flag that says how a sidecar on TCP is reached, and how it is
// called elsewhere.
type targetFlag struct {
	name  string
	field string // of client.Credentials
	text  func(*target) *string
	usage string
}

var targetFlags = []targetFlag{
	{"ca", "CAFile", func(t *target) *string { return &t.credentials.CAFile }, "speak TLS, trusting the authorities in this PEM `FILE`"},
	{"cert", "CertFile", func(t *target) *string { return &t.credentials.CertFile }, "speak TLS, showing the certificate in this PEM `FILE`"},
	{"key", "KeyFile", func(t *target) *string { return &t.credentials.KeyFile }, "PEM `FILE` with the key of --cert"},
	{"server-name", "ServerName", func(t *target) *string { return &t.credentials.ServerName }, "speak TLS with who has a certificate for this `NAME` (default the host of --socket)"},
	{"token-file", "TokenFile", func(t *target) *string { return &t.credentials.TokenFile }, "show the token in this `FILE`"},
	{"dangerously-unprotected", "", func(t *target) *string { return &t.unprotected }, "let the token go to another machine without TLS; the `WORD` is " + inClear},
}

const tlsFlag = "tls"

// reachFlag reports that a flag says where a sidecar is and how it is reached.
func reachFlag(name string) bool {
	return name == "socket" || name == tlsFlag || slices.ContainsFunc(targetFlags, func(f targetFlag) bool { return f.name == name })
}

// variable is the flag's name in the environment.
func variable(flag string) string {
	return clientPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// clientVariables are all of them: of no concern to a sidecar that is started in
// the same environment.
func clientVariables() []string {
	names := []string{variable(tlsFlag)}
	for _, f := range targetFlags {
		names = append(names, variable(f.name))
	}
	return names
}

// addTarget gives cmd the flag --socket, which also goes by --target, gRPC's
// word for it, and those for what is behind it.
func addTarget(cmd *cobra.Command) *target { return addTargetAt(cmd, defaultTarget, listenVariable) }

// addTargetAt is addTarget with another default, and another variable of the
// environment that says otherwise.
func addTargetAt(cmd *cobra.Command, byDefault, listeners string) *target {
	t := &target{address: byDefault, flags: cmd.Flags()}
	if first, _, _ := strings.Cut(os.Getenv(listeners), ","); first != "" {
		t.address = strings.TrimSpace(first)
	}
	t.flags.StringVarP(&t.address, "socket", "s", t.address, "the sidecar: unix:///path or tcp://host:port")
	t.flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "target" {
			name = "socket"
		}
		return pflag.NormalizedName(name)
	})
	t.flags.BoolVar(&t.credentials.TLS, tlsFlag, os.Getenv(variable(tlsFlag)) == "true", "speak TLS, trusting the system's authorities unless --ca names others")
	for _, f := range targetFlags {
		t.flags.StringVar(f.text(t), f.name, os.Getenv(variable(f.name)), f.usage)
	}
	return t
}

func (t *target) String() string { return t.address }

// check finds what is wrong with the words of the command line and of the
// environment, before anything is read.
func (t *target) check() error {
	switch scheme, address, _ := strings.Cut(t.address, "://"); {
	case scheme == "unix" && strings.HasPrefix(address, "/"):
		t.leaveTLS()
	case scheme == "tcp" && address != "":
	default:
		return usage(fmt.Errorf("socket is %q, must be unix:///absolute/path or tcp://host:port", t.address))
	}
	if text := os.Getenv(variable(tlsFlag)); text != "" && text != "true" && text != "false" {
		return usage(fmt.Errorf("%s is %q, must be true or false", variable(tlsFlag), text))
	}
	if t.unprotected != "" && t.unprotected != inClear {
		return usage(fmt.Errorf("%s is %q, must be %s or left out", t.written("dangerously-unprotected"), t.unprotected, inClear))
	}
	t.credentials.DangerouslySendTokenInClear = t.unprotected == inClear
	return nil
}

// leaveTLS forgets what the environment says of TLS, which is for the listeners on
// TCP, before a Unix socket is asked. What the command line says stays, and is
// refused.
func (t *target) leaveTLS() {
	if !t.flags.Changed(tlsFlag) {
		t.credentials.TLS = false
	}
	for _, f := range targetFlags {
		if f.field != "" && f.field != "TokenFile" && !t.flags.Changed(f.name) {
			*f.text(t) = ""
		}
	}
}

// written is how a flag's value was given: by the flag, or by its variable.
func (t *target) written(flag string) string {
	if t.flags.Changed(flag) {
		return "--" + flag
	}
	return variable(flag)
}

// dial makes a client connection. Nothing is connected yet: the first call
// does that.
func (t *target) dial() (*grpc.ClientConn, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	conn, err := client.Connect(t.address, t.credentials)
	return conn, t.explain(err)
}

// explain words what is wrong with a target, or with credentials, as the command
// line has them.
func (t *target) explain(err error) error {
	if err == nil {
		return nil
	}
	wrong, ok := errors.AsType[*client.CredentialsError](err)
	if !ok {
		return usage(fmt.Errorf("socket is %q: %w", t.address, err))
	}
	flag := tlsFlag
	text := wrong.Err.Error()
	for _, f := range targetFlags {
		if f.field == wrong.Field {
			flag = f.name
		}
		if f.field != "" {
			text = strings.ReplaceAll(text, f.field, "--"+f.name)
		}
	}
	return usage(fmt.Errorf("%s is %q: %s", t.written(flag), wrong.Value, text))
}
