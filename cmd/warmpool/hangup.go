package main

import (
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// answerHangups keeps SIGHUP, by which servers are told to read their files
// again, from ending the process undrained, and answers each in the log, until
// stop is called. It has a goroutine of its own: a file that cannot be read for
// a while must not hold up a signal to stop.
func answerHangups(source config.Source, running *config.Loaded, log *slog.Logger) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			refuseReload(source, running, log)
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
	}
}

// refuseReload says that nothing is reloaded, and what a restart would find: it
// reads all sources again, as the start did, and changes nothing.
func refuseReload(source config.Source, running *config.Loaded, log *slog.Logger) {
	if source.File == "" {
		log.Warn("reload is not in this version, and there is no file to apply")
		return
	}
	loaded, err := config.Load(source)
	if err != nil {
		log.Error("reload is not in this version; correct the file before a restart to apply it", "file", source.File, "would_load", false)
		for _, problem := range problemsOf(err) {
			log.Error("configuration", "file", source.File, "problem", problem)
		}
		return
	}
	log.Warn("reload is not in this version; restart to apply the file",
		"file", source.File, "would_load", true, "changed", !slices.Equal(loaded.Files, running.Files))
	for _, warning := range loaded.Warnings {
		log.Warn("configuration", "file", source.File, "warning", warning)
	}
}

// problemsOf words each problem of a configuration in a line of its own.
func problemsOf(err error) []string {
	refused, ok := errors.AsType[*config.Error](err)
	if !ok {
		return []string{err.Error()}
	}
	var texts []string
	for _, problem := range refused.Problems {
		one := config.Error{File: refused.File, Problems: []config.Problem{problem}}
		texts = append(texts, one.Error())
	}
	return texts
}
