// Package program finds, builds and describes the programs that a measurement
// sets beside each other.
package program

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/warmpool-dev/warmpool/cmd/internal/command"
)

// NotInstalledError says that a peer cannot be measured on this machine.
type NotInstalledError struct {
	Program string
	Do      string // what to do about it
}

func (e *NotInstalledError) Error() string { return "not installed: " + e.Program + "; " + e.Do }

// Find is the path of an installed program, or empty. Distributions put servers
// where the PATH of an ordinary user does not lead.
func Find(program string) string {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Warmpool is the path of the binary to measure: the one that the flag -warmpool
// names, or, where it names none, one that is built from cmd/warmpool into dir.
func Warmpool(ctx context.Context, named, dir string) (string, error) {
	if named == "" {
		return buildWarmpool(ctx, dir)
	}
	if err := Check(named); err != nil {
		return "", command.Usagef("-warmpool: %w", err)
	}
	return named, nil
}

func buildWarmpool(ctx context.Context, dir string) (string, error) {
	const pkg = "github.com/warmpool-dev/warmpool/cmd/warmpool"
	path := filepath.Join(dir, "warmpool")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput() //nolint:gosec // a folder of our own
	if err != nil {
		return "", fmt.Errorf("building %s (or name a binary by -warmpool): %w\n%s", pkg, err, out)
	}
	return path, nil
}

// Check reports why a file cannot be run.
func Check(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "execute", Path: path, Err: fs.ErrPermission}
	}
	return nil
}
