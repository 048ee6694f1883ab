package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what the binary knows of its making.
type build struct {
	Version  string `json:"version"`            // module version, "(devel)" when built without one
	Revision string `json:"revision,omitempty"` // commit
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified"`           // the working tree had changes
	Go       string `json:"go"`                 // toolchain
	Platform string `json:"platform"`           // operating system and architecture
}

func buildVersion() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (b build) String() string {
	text := "warmpool " + b.Version
	if b.Revision != "" {
		text += " (commit " + b.Revision + " of " + b.Time
		if b.Modified {
			text += ", with changes"
		}
		text += ")"
	}
	return text + " " + b.Go + " " + b.Platform
}

func newVersionCommand(std streams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and the toolchain",
		Example: `  warmpool version
  warmpool version -o json`,
		Args: cobra.NoArgs,
		RunE: doing(func(*cobra.Command, []string) error {
			switch output {
			case "text":
				_, err := fmt.Fprintln(std.out, buildVersion())
				return err
			case "json":
				encoder := json.NewEncoder(std.out)
				encoder.SetIndent("", "  ")
				return encoder.Encode(buildVersion())
			default:
				return usage(fmt.Errorf("output is %q, must be text or json", output))
			}
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}
