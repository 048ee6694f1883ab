package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// demoMaxRequests keeps a slip of the finger from running for an hour.
const demoMaxRequests = 1_000_000

func newDemoCommand(std streams) *cobra.Command {
	var (
		once     bool
		requests int
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show on this machine what the sidecar does, with nothing to set up",
		Long: `Start an upstream (go-httpbin, plain and TLS) and the sidecar in this process,
on free ports of 127.0.0.1 and a temporary Unix socket, and send the same
requests over a new connection each time, over one persistent connection of the
sidecar, and over parallel persistent ones. Every figure in the table is
measured; connections are counted by the upstream. New connections are made by
net/http as it comes, without TLS session resumption.

Then the sidecar stays up, for you to call it, until Ctrl-C. Colour is used on a
terminal only, and not when NO_COLOR is set.`,
		Example: `  warmpool demo
  warmpool demo --once --requests 10000`,
		Args: cobra.NoArgs,
		RunE: doing(func(cmd *cobra.Command, _ []string) error {
			if requests < 1 || requests > demoMaxRequests {
				return usage(fmt.Errorf("requests is %d, must be 1 to %d", requests, demoMaxRequests))
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) // its folder goes with it
			defer stop()
			return runDemo(ctx, std, requests, once)
		}),
	}
	cmd.Flags().BoolVar(&once, "once", false, "exit after the table")
	cmd.Flags().IntVar(&requests, "requests", 2000, "requests in each line of the table")
	return cmd
}

// demo is a sidecar and its upstreams in one process.
type demo struct {
	identity   *demoIdentity
	plain, tls *demoUpstream
	dir        string // of the socket, the configuration and the certificate
	sidecar    *sidecar.Sidecar
	served     chan error // what Serve returned
	stop       context.CancelFunc
}

func runDemo(ctx context.Context, std streams, requests int, once bool) error {
	d, err := startDemo(ctx, std)
	if err != nil {
		return err
	}
	mark := styleOf(std.out)
	err = d.show(ctx, std, mark, requests)
	if err == nil && !once {
		fmt.Fprint(std.out, "\n", d.invitation(mark), "\nThe sidecar stays up. Ctrl-C stops it.\n")
		select {
		case <-ctx.Done():
		case failure := <-d.served:
			err = fmt.Errorf("the sidecar stopped: %w", failure)
			d.served <- nil
		}
	}
	return errors.Join(err, d.close())
}

func (d *demo) show(ctx context.Context, std streams, mark style, requests int) error {
	fmt.Fprintf(std.out, `The upstream is go-httpbin %s on 127.0.0.1, plain and TLS; it, the sidecar
and the callers share this process and %d CPUs. Each line of the table is %d
times GET %s (no body), measured now; the upstream counts connections.
New connections are net/http's, without TLS session resumption. A request
through the sidecar is one gRPC call over a Unix socket.

`, httpbinVersion(), runtime.GOMAXPROCS(0), requests, demoPath)
	if err := d.compare(ctx, std, mark, requests); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return err
	}
	return nil
}

// startDemo starts all parts. What was started before a part fails is stopped.
func startDemo(ctx context.Context, std streams) (d *demo, err error) {
	d = &demo{served: make(chan error, 1), stop: func() {}}
	defer func() {
		if err != nil {
			d.served <- nil
			err = errors.Join(err, d.close())
		}
	}()
	if d.identity, err = newIdentity(); err != nil {
		return d, err
	}
	if d.plain, err = startUpstream(ctx, nil); err != nil {
		return d, err
	}
	if d.tls, err = startUpstream(ctx, d.identity); err != nil {
		return d, err
	}
	if d.dir, err = os.MkdirTemp("", "warmpool-demo-"); err != nil {
		return d, fmt.Errorf("demo folder: %w", err)
	}
	file, err := d.writeConfiguration()
	if err != nil {
		return d, err
	}
	loaded, err := config.Load(config.Source{File: file})
	if err != nil {
		return d, err
	}
	d.sidecar, err = sidecar.New(loaded.Config, sidecar.Options{
		Logger:    newLogger(std.err, slog.LevelWarn, "text"),
		Version:   buildVersion().Version,
		ConfigDir: loaded.Dir,
	})
	if err != nil {
		return d, err
	}
	// The sidecar outlives ctx: close stops it when everything was said.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	go func() { d.served <- d.sidecar.Serve(running) }()
	return d, nil
}

// writeConfiguration writes a file as an operator would.
func (d *demo) writeConfiguration() (string, error) {
	const authority = "authority.pem"
	text := fmt.Sprintf(`# The configuration that warmpool demo runs with.
listen: [%q, "tcp://127.0.0.1:0"]
control: [%q]
admin: "127.0.0.1:0"
upstreams:
  - name: httpbin
    url: %s
    connections: {max: %d}
  - name: httpbin-tls
    url: %s
    connections: {max: %d}
    tls: {ca_file: %s}
  - name: httpbin-single
    url: %s
    connections: {max: 1}
  - name: httpbin-tls-single
    url: %s
    connections: {max: 1}
    tls: {ca_file: %s}
`, "unix://"+filepath.Join(d.dir, "warmpool.sock"), "unix://"+filepath.Join(d.dir, "control.sock"),
		d.plain.url, parallelCallers, d.tls.url, parallelCallers, authority, d.plain.url, d.tls.url, authority)
	file := filepath.Join(d.dir, "warmpool.yaml")
	err := errors.Join(
		os.WriteFile(filepath.Join(d.dir, authority), d.identity.pem, 0o600),
		os.WriteFile(file, []byte(text), 0o600),
	)
	if err != nil {
		return "", fmt.Errorf("demo configuration: %w", err)
	}
	return file, nil
}

// close stops what was started, the sidecar before its upstreams.
func (d *demo) close() error {
	d.stop()
	err := <-d.served
	for _, upstream := range []*demoUpstream{d.plain, d.tls} {
		if upstream != nil {
			upstream.close()
		}
	}
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}

// invitation says how to call the sidecar, in commands that work as they stand.
func (d *demo) invitation(mark style) string {
	socket, tcp := d.sidecar.Addrs().Data[0], d.sidecar.Addrs().Data[1]
	path := strings.TrimPrefix(socket, "unix://")
	var b strings.Builder
	title := func(text string) { fmt.Fprintln(&b, mark.bold(text)) }
	title("Call it with this binary:")
	fmt.Fprintf(&b, "  %s send httpbin /get -i --receipt -s %s\n", ownCommand(), socket)
	fmt.Fprintf(&b, "  %s send httpbin-tls /anything -d 'a body' -s %s\n", ownCommand(), socket)
	title("See what it did, as an operator:")
	for _, command := range []string{"stats", "connections httpbin", "upstreams show httpbin-tls"} {
		fmt.Fprintf(&b, "  %s %s -s %s\n", ownCommand(), command, d.sidecar.Addrs().Control[0])
	}
	title("Or call it with any gRPC client, such as grpcurl; the API describes itself:")
	fmt.Fprintf(&b, "  grpcurl -plaintext -unix %s describe warmpool.v1.HttpService\n", path)
	fmt.Fprintf(&b, "  grpcurl -plaintext -unix -d '%s' %s warmpool.v1.HttpService/Send\n", `{"request": {"upstream": "httpbin", "path": "/get"}}`, path)
	title("Its other addresses and its configuration:")
	fmt.Fprintf(&b, "  %s  http://%s/readyz  %s\n", tcp, d.sidecar.Addrs().Admin, filepath.Join(d.dir, "warmpool.yaml"))
	return b.String()
}

// ownCommand is how a shell in any folder calls this binary.
func ownCommand() string {
	own, err := os.Executable()
	if err != nil {
		return "warmpool"
	}
	if found, err := exec.LookPath("warmpool"); err == nil {
		if found, err = filepath.EvalSymlinks(found); err == nil && found == own {
			return "warmpool"
		}
	}
	if strings.ContainsAny(own, " '\"\\$&;()<>|*?`") {
		own = "'" + strings.ReplaceAll(own, "'", `'\''`) + "'"
	}
	return own
}
