package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestDurationsAreLoggedWithTheirUnitInBothFormats(t *testing.T) {
	for format, want := range map[string]string{
		"json": `"grace":"1m30s","drain":{"wait":"0s"},"running":3}`,
		"text": "grace=1m30s drain.wait=0s running=3",
	} {
		var out bytes.Buffer
		newLogger(&out, slog.LevelInfo, format).With("grace", 90*time.Second).
			Info("draining", slog.Group("drain", "wait", time.Duration(0)), "running", 3)
		if line := strings.TrimSpace(out.String()); !strings.HasSuffix(line, want) {
			t.Errorf("%s: want %s at the end, got %s", format, want, line)
		}
	}
}
