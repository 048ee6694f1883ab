package e2e

import (
	"net/http"
	"net/http/httptest"
	"testing"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// A caller that is stopped in the middle of a response keeps its connection for as long as it likes. Whoever finds all of
// them taken must be able to see by whom.
func TestTheLogTellsOfACallerThatDoesNotReadWhatItStreams(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for piece := make([]byte, 64<<10); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	s := startSidecar(t, `
drain: {grace: 0s}
upstreams:
  - {name: endless, url: "%s"}
`, endless.URL)
	stream, err := warmpoolv1.NewHttpServiceClient(dialTarget(t, s.unix)).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head := &warmpoolv1.HttpRequest{Upstream: "endless", Path: "/"}
	if err := stream.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Head{Head: head}, End: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // the head, and nothing from then on
		t.Fatal(err)
	}
	s.logs(t, `which a connection is kept" upstream=endless caller="uid `)
	s.logs(t, "such_streams=1")
}
