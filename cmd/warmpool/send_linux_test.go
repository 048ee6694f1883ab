package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal runs the binary on a terminal of its own and returns what it shows.
func terminal(t *testing.T, args ...string) string {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = control.Close() }()
	if err := unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = screen, screen, environment("NO_COLOR=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = screen.Close()
	shown, _ := io.ReadAll(control) // ends with EIO once the process has closed the other end
	if err := cmd.Wait(); err != nil {
		t.Errorf("warmpool %q: %v", args, err)
	}
	return strings.ReplaceAll(string(shown), "\r\n", "\n")
}

func TestOnATerminalTheReceiptBeginsOnALineOfItsOwn(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(echo))
	defer origin.Close()
	s := startSidecar(t, origin.URL, "", "")
	for body, want := range map[string]string{
		"no end of line":   "no end of line\nconnection  ",
		"an end of line\n": "an end of line\nconnection  ",
		"":                 "connection  ",
	} {
		if shown := terminal(t, "send", "-s", s.target, "origin", "/", "--receipt", "-X", "PUT", "-d", body); !strings.HasPrefix(shown, want) {
			t.Errorf("body %q: want %q at the beginning, got %q", body, want, shown)
		}
	}
	o := s.send("origin", "/", "--receipt", "-d", "no end of line")
	o.expect(t, exitOK)
	if o.stdout != "no end of line" || !strings.HasPrefix(o.stderr, "connection  ") {
		t.Errorf("elsewhere nothing is added, got %s", o)
	}
}
