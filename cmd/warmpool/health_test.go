package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
)

func TestHealthIsServingOnceTheSidecarIsReady(t *testing.T) {
	origin := newBlocking(t)
	s := startSidecar(t, origin.URL, "", "")
	warmpool(t, "health", "-s", s.target, "--timeout", "20s").expect(t, exitOK, "readiness SERVING")
	warmpool(t, "health", "-s", s.target, "--timeout", "20s", "--service", "liveness").expect(t, exitOK, "liveness SERVING")
}

func TestHealthIsAliveButNotReadyWhileTheWarmFloorIsMissing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	target := "unix://" + socketPath(t)
	p := start(t, nil, "serve", "--log.format", "text", "-c", file(t, "warmpool.yaml", `
listen: ["`+target+`"]
control: ["off"]
admin: "off"
warm_timeout: 1h
upstreams: [{name: origin, url: "http://`+nobody+`", connections: {warm: 1}}]
`))
	p.await("msg=serving")
	warmpool(t, "health", "-s", target, "--timeout", "20s").expect(t, exitFailed, "readiness of the sidecar at "+target+" is NOT_SERVING", "/readyz")
	warmpool(t, "health", "-s", target, "--timeout", "20s", "--service", "liveness").expect(t, exitOK, "liveness SERVING")
	warmpool(t, "wait", "-s", target, "--timeout", "300ms").expect(t, exitFailed, "NOT_SERVING")
	p.signal(syscall.SIGTERM)
	p.wait().expect(t, exitOK)
}

func TestHealthIsAliveButNotReadyWhenTheSidecarIsToldToStop(t *testing.T) {
	origin := newBlocking(t)
	s := startSidecar(t, origin.URL, "drain: {keep_serving: 1h}", "")
	s.signal(syscall.SIGTERM)
	s.await("still serving")
	warmpool(t, "health", "-s", s.target, "--timeout", "20s").expect(t, exitFailed, "NOT_SERVING")
	warmpool(t, "health", "-s", s.target, "--timeout", "20s", "--service", "liveness").expect(t, exitOK)
}

func TestHealthSaysThatNobodyAnswers(t *testing.T) {
	target := "unix://" + socketPath(t)
	warmpool(t, "health", "-s", target, "--timeout", "20s").expect(t, exitUnreachable, "no sidecar answers at "+target, "no such file or directory")

	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts, by the kernel, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mute.Close() }()
	warmpool(t, "health", "-s", "tcp://"+mute.Addr().String(), "--timeout", "300ms").expect(t, exitUnreachable, "within 300ms")
}

func TestHealthIsNotTakenInByAnotherServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	warmpool(t, "health", "-s", "tcp://"+other.Listener.Addr().String(), "--timeout", "1s").expect(t, exitUnreachable)
}
