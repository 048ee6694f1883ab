package pool_test

import (
	"testing"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// A response that nobody asked for lies in the socket when the next request
// comes. It must never be taken for that request's response.
func TestAResponseThatNobodyAskedForReachesNobody(t *testing.T) {
	transports(t, func(t *testing.T, transport h1test.Transport) {
		origin, u := origins(t, transport, nil)
		done := ask(t, u, &pool.Request{})
		for range 100 {
			peer := origin.Accept()
			peer.ReadRequest()
			peer.Send(reply)
			(<-done).mustBe(t, "ok")
			peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
			done = ask(t, u, &pool.Request{Method: "POST"})
		}
		peer := origin.Accept()
		peer.ReadRequest()
		peer.Send(reply)
		(<-done).mustBe(t, "ok")
	})
}

// Half a record that nobody asked for lies in TLS, where no look at the socket
// finds it, when the next request comes.
func TestHalfARecordThatNobodyAskedForReachesNobody(t *testing.T) {
	server, u := onTLS(t)
	done := make(chan error, 1)
	go func() { done <- asks(t, u, "/first") }()
	peer := server.accept(t)
	for range 20 {
		peer.request(t)
		peer.send(t, answerOf("/first"))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		peer.hold.begin()
		peer.send(t, answerOf("/poison"))
		stray := peer.hold.held
		peer.hold.held = stray[:len(stray)/2]
		peer.hold.release(t)
		go func() { done <- asks(t, u, "/first") }()
		next := server.accept(t)
		peer.hold.held = stray[len(stray)/2:]
		_, _ = peer.hold.Conn.Write(peer.hold.held) // too late, whoever reads it
		peer = next
	}
	peer.request(t)
	peer.send(t, answerOf("/first"))
	if err := <-done; err != nil {
		t.Error(err)
	}
}
