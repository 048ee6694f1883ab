package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// environmentPrefix is what the environment's names of settings begin with.
const environmentPrefix = "WARMPOOL_"

// cutPatience is how long a sidecar that was told twice to stop may take to tell its
// callers and to let go of everything. It needs less, unless something hangs.
const cutPatience = 1800 * time.Millisecond

func newServeCommand(std streams) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:               "serve",
		ValidArgsFunction: cobra.NoFileCompletions,
		Short:             "Run the sidecar",
		Long: `Run the sidecar until SIGTERM or SIGINT: then it takes nothing new, finishes what
runs within drain.grace, and exits with 0. A second signal ends that at once.
The file is read again when it changes, on SIGHUP and by "warmpool reload": what
differs is applied while requests are served, and a file with a mistake changes
nothing. The log says what was changed, and what waits for a restart.

Settings come from flags, else the environment, else the file, else defaults. A
flag is named like the file's key, and an environment variable as well:
--drain.grace, ` + environmentPrefix + `DRAIN_GRACE and "drain: {grace: 10s}" are one setting.
Upstreams can only be configured in the file (YAML, TOML or JSON by its
extension). Anything unknown or out of range is an error, and then nothing starts.

GOMEMLIMIT is set to 90 % of the cgroup's memory limit unless it is given, and
GOGC to 400, less where much memory is in use.`,
		Example: `  warmpool serve -c /etc/warmpool/warmpool.yaml
  warmpool serve -c warmpool.yaml --log.level debug --log.format text
  ` + listenVariable + `=unix:///tmp/warmpool.sock warmpool serve -c warmpool.yaml`,
		Args: cobra.NoArgs,
		RunE: doing(func(cmd *cobra.Command, _ []string) error {
			source := config.Source{File: file, Flags: cmd.Flags(), Environ: os.Environ(), Variables: clientVariables()}
			loaded, err := config.Load(source)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), source, loaded, std)
		}),
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file; without one there are no upstreams")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "toml", "json") // fails for a flag that is not there
	config.AddFlags(cmd.Flags())
	return cmd
}

func serve(ctx context.Context, source config.Source, loaded *config.Loaded, std streams) error {
	cfg := loaded.Config
	least, err := logLevel(cfg.GetLog().GetLevel())
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(least)
	log := newLogger(std.err, level, cfg.GetLog().GetFormat())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	told := takeHangups()
	defer told.stop()

	limit := sidecar.TuneRuntime(cfg)
	log.Info("starting", startup(limit)...)
	for _, warning := range loaded.Warnings {
		log.Warn("configuration", "file", loaded.File, "warning", warning)
	}
	s, err := sidecar.New(cfg, sidecar.Options{
		Logger: log, Version: buildVersion().Version, ConfigDir: loaded.Dir,
		Source: &source, Loaded: loaded, Level: level,
	})
	if err != nil {
		return err
	}
	told.answer(s.Reload)
	return serveUntil(ctx, s, signals, log)
}

// serveUntil serves until the first signal, drains until the second one, and
// returns nil when it was a signal that ended it.
func serveUntil(ctx context.Context, s *sidecar.Sidecar, signals <-chan os.Signal, log *slog.Logger) error {
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()

	select {
	case err := <-served:
		return err
	case got := <-signals:
		log.Info("told to stop", "signal", got.String())
		drain()
	}
	select {
	case err := <-served:
		return err
	case got := <-signals:
		log.Warn("told again to stop: cutting what runs", "signal", got.String())
	}
	s.Hurry()
	patience := time.NewTimer(cutPatience)
	defer patience.Stop()
	select {
	case err := <-served:
		return err
	case <-patience.C:
		return nil
	}
}
