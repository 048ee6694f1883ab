package pool_test

import (
	"io"
	"testing"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// The kernel tells of a reset once, and whoever asks first takes it: a write that does leaves the reader what looks like
// an end in good order.
func TestABodyUntilCloseThatAResetCutIsNeverTakenForWhole(t *testing.T) {
	for name, end := range map[string]struct {
		play  func(*h1test.Peer)
		whole bool
	}{
		"reset":           {func(p *h1test.Peer) { p.CloseRST() }, false},
		"closed":          {func(p *h1test.Peer) { p.CloseFIN() }, true},
		"closed and gone": {func(p *h1test.Peer) { p.CloseFIN(); p.CloseRST() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			origin, u := origins(t, h1test.Plain, func(p *pool.Policy) { p.Max, p.PipelineDepth = 1, 4 })
			first := ask(t, u, &pool.Request{})
			peer := origin.Accept()
			peer.ReadRequest()
			peer.Send(reply)
			(<-first).mustBe(t, "ok")

			_, p, body := begin(t, u, &pool.Request{Path: "/long"})
			peer.ReadRequest()
			peer.Send("HTTP/1.1 200 OK\r\n\r\npart")
			if <-p.status; p.length != -1 {
				t.Fatalf("length %d", p.length)
			}
			// The reader, with the first piece, waits for its sink: it cannot be the one who is told.
			end.play(peer)
			_, behind, rest := begin(t, u, &pool.Request{Path: "/behind"})
			got, err := io.ReadAll(body)
			<-p.done
			if whole := p.failure == nil; whole != end.whole || (err == nil) != end.whole {
				t.Errorf("the answer is %q, and its failure %v; want it whole: %t", got, p.failure, end.whole)
			}
			peer = origin.Accept()
			peer.ReadRequest()
			peer.Send(reply)
			if got, err := io.ReadAll(rest); err != nil || string(got) != "ok" {
				t.Errorf("the request behind it: %q, %v", got, err)
			}
			<-behind.done
		})
	}
}
