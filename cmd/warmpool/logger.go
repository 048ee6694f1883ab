package main

import (
	"fmt"
	"io"
	"log/slog"
)

// newLogger writes records of at least level to w, in the format of log.format:
// "json", one object a line, or "text", key=value. In both a duration is written
// as in the configuration, with its unit: "1s".
func newLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: durationAsText}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// durationAsText keeps slog's JSON from writing a duration as a bare number of
// nanoseconds.
func durationAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// logLevel reads a value of log.level.
func logLevel(name string) (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return 0, fmt.Errorf("log.level is %q, must be debug, info, warn or error", name)
	}
	return level, nil
}
