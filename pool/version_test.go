package pool_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// upload starts a PUT whose body comes as a stream, and brings it.
func (r *rig) upload(fields ...h1.Field) *collected {
	r.tb.Helper()
	var body pool.RequestBody
	c := &collected{over: make(chan struct{})}
	if err := r.upstream.Start(new(pool.Exchange), &pool.Request{Method: "PUT", Path: "/up", Stream: &body, Fields: fields}, c); err != nil {
		r.tb.Fatal(err)
	}
	go func() {
		if _, err := body.Write([]byte("data")); err == nil {
			_ = body.Close(nil) // when it fails, so does the exchange
		}
	}()
	synctest.Wait()
	return c
}

// A chunked body is nothing to a server that speaks HTTP/1.0 (RFC 9112, 6.1).
func TestNoChunkedBodyGoesToAnUpstreamThatAnswersInHTTP10(t *testing.T) {
	const answer = " 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
	uploaded := func(t *testing.T, r *rig, peer *peer, answer string, fields ...h1.Field) (chunked bool) {
		t.Helper()
		c := r.upload(fields...)
		head := peer.head()
		if got := peer.body(head); got != "data" {
			t.Errorf("the upstream has %q", got)
		}
		peer.send(answer)
		<-c.over
		if c.outcome.Err != "" {
			t.Errorf("failed: %s", c.outcome.Detail)
		}
		return len(head.TransferEncoding) > 0
	}
	refused := func(t *testing.T, r *rig, peer *peer) {
		t.Helper()
		c := r.upload()
		<-c.over
		if c.outcome.Err != "malformed" || !strings.Contains(c.outcome.Detail, "HTTP/1.0") {
			t.Errorf("an upload of unknown length ended with %v", c.outcome)
		}
		if peer.pending() {
			t.Error("something of it was sent")
		}
		r.numbers(0, 1, 0, 0)
	}
	inMemory(t, func(p *pool.Policy) { p.MaxIdleTime = time.Hour }, func(t *testing.T, r *rig) {
		peer := r.connected(1)[0]
		if !uploaded(t, r, peer, "HTTP/1.1"+answer) {
			t.Error("the body was not chunked, though its length was not stated")
		}
		// An error page may be that of a balancer in front.
		if uploaded(t, r, peer, "HTTP/1.0 503 Busy\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"); !uploaded(t, r, peer, "HTTP/1.0"+answer) {
			t.Error("an error page was taken for the upstream's word")
		}
		refused(t, r, peer)
		if uploaded(t, r, peer, "HTTP/1.0"+answer, h1.Field{Name: "Content-Length", Value: "4"}) {
			t.Error("a body of stated length was chunked")
		}
		refused(t, r, peer)
		// It is asked again after a while, for it may have been replaced ...
		time.Sleep(time.Minute - time.Second)
		refused(t, r, peer)
		time.Sleep(time.Second)
		uploaded(t, r, peer, "HTTP/1.0"+answer)
		refused(t, r, peer)
		// ... and at once when an answer shows that it has been.
		c := r.get("/")
		peer.request()
		peer.send("HTTP/1.1" + answer)
		c.answered("ok")
		uploaded(t, r, peer, "HTTP/1.1"+answer)
	})
}
