package main

import (
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
)

func TestWaitReturnsWhenASidecarComesUp(t *testing.T) {
	target := "unix://" + socketPath(t)
	waiting := start(t, nil, "wait", "-s", target, "--timeout", "25s")
	p := start(t, nil, "serve", "--listen", target, "--control", "off", "--admin", "off")
	if o := waiting.wait(); o.code != int(exitOK) || o.stdout != "" {
		t.Errorf("want exit code 0 and no word, got %s", o)
	}
	p.signal(syscall.SIGTERM)
	p.wait().expect(t, exitOK)
}

func TestWaitSaysWhatIsMissingWhenTimeIsUp(t *testing.T) {
	target := "unix://" + socketPath(t)
	warmpool(t, "wait", "-s", target, "--timeout", "200ms").expect(t, exitFailed,
		target, "not ready within 200ms", "no such file or directory")
}

func TestWaitIsNotTakenInByAnotherServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	warmpool(t, "wait", "-s", "tcp://"+other.Listener.Addr().String(), "--timeout", "300ms").expect(t, exitFailed, "not ready within 300ms")
}

func TestWaitDoesNotTakeADrainingSidecarForReady(t *testing.T) {
	origin := newBlocking(t)
	s := startSidecar(t, origin.URL, "drain: {keep_serving: 1h}", "")
	s.signal(syscall.SIGTERM)
	s.await("still serving")
	warmpool(t, "wait", "-s", s.target, "--timeout", "300ms").expect(t, exitFailed, "NOT_SERVING")
}
