package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/command"
	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// ProfileOrder tells a sidecar to write a CPU profile into File from now on, or
// to finish the one being written when File is empty.
type ProfileOrder struct {
	File string `json:"file"`
}

// sidecarMain is the process of a sidecar whose CPU profile can be taken. It is
// what `warmpool serve` runs, without the command's own signals and limits;
// warmpool itself has no way to be profiled from outside. It ends with its
// standard input or with ctx.
func sidecarMain(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("sidecar", flag.ContinueOnError)
	file := flags.String("c", "", "configuration file")
	if err := flags.Parse(args); err != nil {
		return command.Usagef("%w", err)
	}
	loaded, err := config.Load(config.Source{File: *file})
	if err != nil {
		return err
	}
	sidecar.TuneRuntime(loaded.Config)
	s, err := sidecar.New(loaded.Config, sidecar.Options{
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Version:   "warmpool-bench",
		ConfigDir: filepath.Dir(*file),
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()

	var p profiler
	told := make(chan error, 1)
	go func() { told <- child.AnswerLines(stdin, stdout, p.carryOut) }()
	select {
	case err := <-served:
		return err
	case err := <-told:
		stop()
		return errors.Join(err, p.finish(), <-served)
	}
}

// profiler takes one CPU profile at a time.
type profiler struct{ file *os.File }

func (p *profiler) carryOut(o ProfileOrder) (struct{}, error) {
	if o.File == "" {
		return struct{}{}, p.finish()
	}
	if p.file != nil {
		return struct{}{}, fmt.Errorf("a profile is being written to %s already", p.file.Name())
	}
	file, err := os.Create(o.File)
	if err != nil {
		return struct{}{}, err
	}
	p.file = file
	return struct{}{}, pprof.StartCPUProfile(file)
}

func (p *profiler) finish() error {
	if p.file == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := p.file.Close()
	p.file = nil
	return err
}
