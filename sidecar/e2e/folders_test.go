package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A sidecar that cannot make its socket says which folder is at fault, and why; the
// process ends, so that whoever starts it notices.
func TestAFolderThatCanHoldNoSocketIsNamed(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	program := filepath.Join(dir, "warmpool")
	if err := os.Link(warmpool(t), program); err != nil {
		t.Fatal(err)
	}
	user := os.Getuid()
	var as *syscall.Credential
	if user == 0 { // who may write anywhere
		user = 65532
		as = &syscall.Credential{Uid: 65532, Gid: 65532}
	}
	for _, name := range []string{"locked", "closed"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "file"), "")
	for path, mode := range map[string]os.FileMode{scratch: 0o755, dir: 0o755, program: 0o755, filepath.Join(dir, "locked"): 0o555, filepath.Join(dir, "closed"): 0} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := os.Chmod(filepath.Join(dir, "closed"), 0o700); err != nil { // or it cannot be removed
			t.Error(err)
		}
	})
	for place, says := range map[string]string{
		"missing/d.sock": "the folder " + filepath.Join(dir, "missing") + " does not exist: create it, or mount a volume there",
		"file/d.sock":    filepath.Join(dir, "file") + " is not a folder",
		"locked/d.sock":  fmt.Sprintf("no permission to make a socket in %s: it must be writable for user %d", filepath.Join(dir, "locked"), user),
		"closed/d.sock":  fmt.Sprintf("no permission to make a socket in %s: it must be writable for user %d", filepath.Join(dir, "closed"), user),
	} {
		t.Run(place, func(t *testing.T) {
			address := "unix://" + filepath.Join(dir, place)
			cmd := exec.Command(program, "serve", "--listen", address, "--control", "off", "--admin", "off")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
			cmd.Dir = "/"
			out, err := cmd.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want exit code 1", err)
			}
			if want := fmt.Sprintf("listen[0] %q: %s", address, says); !strings.Contains(string(out), want) {
				t.Errorf("it does not say %s\n%s", want, out)
			}
		})
	}
}
