package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// requireVariable set to 1 turns what would be skipped into a failure. It has not the prefix WARMPOOL_: the sidecar refuses
// to start with a variable of that prefix that it does not know.
const requireVariable = "E2E_REQUIRE"

// scratch is the run's own folder. Its path is short, since a Unix socket's may have no more than 107 bytes, which a
// test's own folder takes up with its name.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "wp"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "e2e: goroutines are left:", err)
		code = 1
	}
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	for _, line := range missing.summary() {
		fmt.Fprintln(os.Stderr, line)
	}
	os.Exit(code)
}

// missing counts the tests that did not run, by what they lack.
var missing absences

type absences struct {
	mu    sync.Mutex
	tests map[string]int
}

func (a *absences) add(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tests == nil {
		a.tests = make(map[string]int)
	}
	a.tests[what]++
}

func (a *absences) summary() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var lines []string
	for what, n := range a.tests {
		lines = append(lines, fmt.Sprintf("e2e: %d tests did not run: %s", n, what))
	}
	slices.Sort(lines)
	return lines
}

// unavailable ends a test that cannot run here: skipped, or failed where everything is required.
func unavailable(t *testing.T, what string) {
	t.Helper()
	missing.add(what)
	if os.Getenv(requireVariable) == "1" {
		t.Fatalf("%s (%s=1 requires it)", what, requireVariable)
	}
	t.Skip(what)
}

// program finds an installed program; pack names the Debian package that brings it.
func program(t *testing.T, name, pack string) string {
	t.Helper()
	// Servers are installed where only root's PATH leads.
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	unavailable(t, fmt.Sprintf("%s is not installed: install the package %s", name, pack))
	return ""
}

// module is the folder of go.mod.
func module() string { return filepath.Join("..", "..") }

// built makes the binary of cmd/warmpool once, under the race detector when the tests are.
var built = sync.OnceValues(func() (string, error) {
	// The binary is no import of this package: naming what it is made of here is what lets go test notice that a cached
	// result is out of date.
	for _, dir := range []string{"cmd/warmpool", "sidecar", "pool", "api", "proto"} {
		if err := filepath.WalkDir(filepath.Join(module(), dir), func(string, fs.DirEntry, error) error { return nil }); err != nil {
			return "", err
		}
	}
	path := filepath.Join(scratch, "warmpool")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./cmd/warmpool")...)
	build.Dir = module()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(build.Args, " "), err, out)
	}
	return path, nil
})

func warmpool(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
