package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// echo answers with the request's body, and says in header fields what else it got.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Got", fmt.Sprintf("%s %s %q", r.Method, r.RequestURI, r.Header["X-Test"]))
	w.Header()["Two"] = []string{"first", "second"}
	w.Header()["Latin-One"] = []string{"caf\xe9"}
	_, _ = w.Write(body)
}

// binaryBody holds every byte, line ends of all kinds and a NUL at the end.
func binaryBody() []byte {
	body := []byte("\r\n\n\xff\xfe")
	for b := range 256 {
		body = append(body, byte(b))
	}
	return append(bytes.Repeat(body, 300), 0)
}

func TestSend(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(echo))
	defer origin.Close()
	s := startSidecar(t, origin.URL, "", "")

	t.Run("prints the body byte for byte and nothing else", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(name, binaryBody(), 0o600); err != nil {
			t.Fatal(err)
		}
		o := s.send("origin", "/upload", "-d", "@"+name)
		o.expect(t, exitOK)
		if o.stdout != string(binaryBody()) || o.stderr != "" {
			t.Errorf("want the %d bytes that were sent and nothing on standard error, got %d bytes and %q", len(binaryBody()), len(o.stdout), o.stderr)
		}
	})

	t.Run("moves bodies that no message could hold", func(t *testing.T) {
		large := bytes.Repeat(binaryBody(), 100) // about 8 MiB
		o := warmpoolWith(t, bytes.NewReader(large), nil, "send", "-s", s.target, "origin", "/", "-d", "@-", "--receipt")
		o.expect(t, exitOK, "attempts")
		if o.stdout != string(large) {
			t.Errorf("want the %d bytes that were sent, got %d", len(large), len(o.stdout))
		}
	})

	t.Run("takes the body from standard input", func(t *testing.T) {
		o := warmpoolWith(t, bytes.NewReader(binaryBody()), nil, "send", "-s", s.target, "origin", "/", "-d", "@-", "-X", "PUT", "-i")
		o.expect(t, exitOK, `X-Got: PUT / []`)
		if !strings.HasSuffix(o.stdout, "\r\n\r\n"+string(binaryBody())) {
			t.Errorf("want the body after the head, got %q", o.stdout)
		}
	})

	t.Run("is GET without a body and POST with one", func(t *testing.T) {
		s.send("origin", "/a?b=c", "-i").expect(t, exitOK, `X-Got: GET /a?b=c []`)
		s.send("origin", "/a?b=c", "-i", "-d", "x").expect(t, exitOK, `X-Got: POST /a?b=c []`)
	})

	t.Run("keeps the order of header fields and bytes that are no UTF-8, both ways", func(t *testing.T) {
		o := s.send("origin", "/", "-i", "-H", "X-Test:  one ", "-H", "x-test: \xe9t\xe9", "-H", "X-Test:")
		o.expect(t, exitOK, `["one" "\xe9t\xe9" ""]`, "Latin-One: caf\xe9\r\n", "Two: first\r\nTwo: second\r\n", "HTTP/1.1 200 OK\r\n")
	})

	t.Run("prints the receipt to standard error, aligned", func(t *testing.T) {
		s.send("origin", "/").expect(t, exitOK)
		o := s.send("origin", "/", "-d", "body", "--receipt")
		o.expect(t, exitOK)
		if o.stdout != "body" {
			t.Errorf("want the body alone on standard output, got %q", o.stdout)
		}
		table := map[string]string{}
		for line := range strings.Lines(o.stderr) {
			table[strings.TrimSpace(line[:24])] = strings.TrimSpace(line[24:])
		}
		if table["reused"] != "yes" || table["attempts"] != "1" || table["endpoint"] != origin.Listener.Addr().String() || !strings.HasSuffix(table["total"], " ms") {
			t.Errorf("want a reused connection to %s, one attempt and a total in ms, got:\n%s", origin.Listener.Addr(), o.stderr)
		}
	})

	t.Run("names an unknown upstream and those that there are", func(t *testing.T) {
		o := s.send("original", "/")
		o.expect(t, exitFailed, `"original"`, `"origin"`, "UNKNOWN_UPSTREAM", "NOT_SENT", "attempts  0", "status    NotFound", "to do")
		if o.stdout != "" {
			t.Errorf("want nothing on standard output, got %q", o.stdout)
		}
	})

	t.Run("refuses header injection, naming the field", func(t *testing.T) {
		s.send("origin", "/", "-H", "X-Test: a\r\nX-Evil: b").expect(t, exitFailed, "INVALID_REQUEST", "header X-Test", "NOT_SENT")
	})

	t.Run("finds the sidecar in the environment", func(t *testing.T) {
		warmpoolWith(t, nil, []string{"WARMPOOL_LISTEN=" + s.target + ",tcp://127.0.0.1:1"}, "send", "origin", "/", "-d", "x").expect(t, exitOK, "x")
		warmpool(t, "send", "--target", s.target, "origin", "/", "-d", "x").expect(t, exitOK, "x")
	})
}

func TestSendFailSaysTheStatusByItsExitCode(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the details", http.StatusTeapot)
	}))
	defer origin.Close()
	s := startSidecar(t, origin.URL, "", "")
	s.send("origin", "/").expect(t, exitOK, "the details")
	o := s.send("origin", "/", "--fail", "-i")
	o.expect(t, exitStatus, "HTTP/1.1 418 I'm a teapot\r\n", "the response's status is 418")
	if strings.Contains(o.stdout, "the details") {
		t.Errorf("want no body with --fail, got %q", o.stdout)
	}
}

func TestSendSaysWhenTheResponseBreaksOff(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "not all")
	}))
	defer origin.Close()
	s := startSidecar(t, origin.URL, "", "")
	o := s.send("origin", "/", "--receipt")
	o.expect(t, exitFailed, "RESPONSE_TRUNCATED", "RESPONDED: the upstream has it", "connection closed")
	if o.stdout != "not all" {
		t.Errorf("want what came on standard output, got %q", o.stdout)
	}
}

func TestSendWithoutASidecarEndsWithThree(t *testing.T) {
	target := "unix://" + socketPath(t)
	warmpool(t, "send", "-s", target, "origin", "/").expect(t, exitUnreachable, target, "no such file or directory", "warmpool serve")
}

func TestSendSaysWhatToDoWhenTheUpstreamIsDown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	s := startSidecar(t, "http://"+address, "", "")
	s.send("origin", "/", "--receipt").expect(t, exitFailed,
		address, "DIAL_REFUSED", "NOT_SENT: no byte of it left; safe to send again", "status    Unavailable", "check that the upstream runs")
}

func TestSendTimeoutEndsTheExchange(t *testing.T) {
	release := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer origin.Close()
	defer close(release)
	s := startSidecar(t, origin.URL, "", "")
	begin := time.Now()
	s.send("origin", "/", "--timeout", "1s").expect(t, exitFailed, "DEADLINE_EXCEEDED", "UNKNOWN: the upstream may have acted on it")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a timeout of 1 s took %s", took)
	}
}
