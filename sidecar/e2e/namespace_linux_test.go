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

	"golang.org/x/sys/unix"
)

// namespaceVariable names the test that a copy of the test binary plays in a network namespace of its own.
const namespaceVariable = "E2E_NAMESPACE"

// inNamespace plays a test in a network namespace of its own: a loopback interface, nothing else, and the settings given,
// by their names below /proc/sys/net/ipv4. A namespace needs no program, only root or the right to make a user namespace.
func inNamespace(t *testing.T, settings map[string]string, play func(t *testing.T)) {
	t.Helper()
	if os.Getenv(namespaceVariable) == t.Name() {
		if err := furnish(settings); err != nil {
			t.Fatalf("network namespace: %v", err)
		}
		play(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), namespaceVariable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	switch _, ran := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		t.Logf("in a network namespace:\n%s", out)
	case ran:
		t.Errorf("in a network namespace: %v\n%s", err, out)
	default:
		unavailable(t, fmt.Sprintf("no network namespace can be made (%v): run as root, or allow user namespaces", err))
	}
}

// furnish brings the loopback interface up and writes the settings.
func furnish(settings map[string]string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	for name, value := range settings {
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4", name), []byte(value), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// timeWaits is how many connections to the server at port are in TIME_WAIT, as the kernel lists them: on the server's side,
// and on the client's.
func timeWaits(t *testing.T, port int) (its, ours int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const timeWait = "06"
	server := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(string(text)) { // "sl local_address rem_address st …", all in hexadecimal
		words := strings.Fields(line)
		switch {
		case len(words) < 4 || words[3] != timeWait:
		case strings.HasSuffix(words[1], server):
			its++
		case strings.HasSuffix(words[2], server):
			ours++
		}
	}
	return its, ours
}
