package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// TestTheNodeExampleRunsAsWritten runs api/examples/node/send.js as a user would.
func TestTheNodeExampleRunsAsWritten(t *testing.T) {
	t.Parallel()
	a := startApp(t, makeCertificates(t))
	s := startSidecar(t, drainConfig, a.plain.addr, "10s")
	for _, target := range []string{s.unix, s.tcp} {
		out, stderr, code := runExample(t, target, "app", "/own/echo", "POST", `{"amount": 12}`)
		if !strings.HasPrefix(out, "HTTP 200\n") || !strings.HasSuffix(out, "\n\n"+`{"amount": 12}`) || code != 0 {
			t.Errorf("exit %d, standard output %q, standard error %q", code, out, stderr)
		}
		if !strings.Contains(stderr, "1 attempt(s)") {
			t.Errorf("no receipt on standard error: %q", stderr)
		}
		out, stderr, code = runExample(t, target, "app", "/status/404")
		if !strings.HasPrefix(out, "HTTP 404\n") || code != 0 {
			t.Errorf("exit %d, standard output %q, standard error %q", code, out, stderr)
		}
		out, stderr, code = runExample(t, target, "aqq", "/")
		if code != 1 || out != "" || !strings.Contains(stderr, `"aqq"`) || !strings.Contains(stderr, "REASON_UNKNOWN_UPSTREAM, DELIVERY_NOT_SENT, 0 attempt(s)") {
			t.Errorf("exit %d, standard output %q, standard error %q", code, out, stderr)
		}
	}
	if _, stderr, code := runExample(t, "unix:///nowhere.sock", "app", "/"); code != 1 || !strings.Contains(stderr, "nowhere.sock") {
		t.Errorf("without a sidecar: exit %d, standard error %q", code, stderr)
	}
	if _, stderr, code := runExample(t, s.unix); code != 2 || !strings.HasPrefix(stderr, "usage: ") {
		t.Errorf("without arguments: exit %d, standard error %q", code, stderr)
	}
}

func runExample(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := node(t, "send.js", args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			t.Fatal(err)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
