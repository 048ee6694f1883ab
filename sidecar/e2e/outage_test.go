package e2e

import (
	"net"
	"net/http"
	"testing"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestTheLogTellsOfAnUpstreamThatIsDownThatDoesNotAnswerAndThatIsBack(t *testing.T) {
	h, down := startHolding(t), loopback(freePort(t))
	s := startSidecar(t, `
upstreams:
  - {name: hangs, url: "http://%s", timeouts: {response_head: 100ms}}
  - {name: down, url: "http://%s", connections: {warm: 1}}
`, h.addr, down)
	s.logs(t, `msg="no connection" reason=DIAL_REFUSED upstream=down`)

	caller := openGo(t, s.unix)
	if _, err := caller.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: "hangs", Path: "/"}); err == nil {
		t.Fatal("the upstream has answered")
	}
	s.logs(t, `msg="requests fail" upstream=hangs failures=1 reasons="RESPONSE_TIMEOUT 1"`)

	l, err := net.Listen("tcp", down)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	s.logs(t, `msg="connections again" upstream=down`)
}
