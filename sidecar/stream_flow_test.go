package sidecar_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

const (
	// flowTotal is more than every buffer on the way can hold: those of gRPC, of the
	// sidecar, and the kernel's on loopback.
	flowTotal = 192 << 20
	flowPiece = 256 << 10
	// flowAhead is how far who writes may be ahead of who reads.
	flowAhead = 40 << 20
)

// dawdle is what makes a reader slower than who writes to it.
func dawdle() { time.Sleep(500 * time.Microsecond) }

func data(p []byte) *warmpoolv1.StreamRequest {
	return &warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Data{Data: p}}
}

func TestAnUpstreamThatReadsSlowlySlowsTheWriterDown(t *testing.T) {
	var written, ahead atomic.Int64
	h := start(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		read := int64(0)
		for p := make([]byte, flowPiece); ; dawdle() {
			n, err := io.ReadFull(r.Body, p)
			read += int64(n)
			ahead.Store(max(ahead.Load(), written.Load()-read))
			if err != nil {
				break
			}
		}
		fmt.Fprint(w, read)
	}))
	s, _ := openStream(t, h, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST"}, false)
	for piece := make([]byte, flowPiece); written.Load() < flowTotal; written.Add(flowPiece) {
		if err := s.Send(data(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	got, err := received(s)
	if err != nil || string(got.body) != fmt.Sprint(flowTotal) {
		t.Fatalf("%v, the upstream read %s of %d bytes", err, got.body, flowTotal)
	}
	if n := ahead.Load(); n > flowAhead {
		t.Errorf("the writer was %d bytes ahead of the upstream", n)
	}
}

func TestAClientThatReadsSlowlySlowsTheUpstreamDown(t *testing.T) {
	var written atomic.Int64
	h := start(t, web(t, func(w http.ResponseWriter, _ *http.Request) {
		for piece := make([]byte, flowPiece); written.Load() < flowTotal; written.Add(flowPiece) {
			if _, err := w.Write(piece); err != nil {
				t.Error(err)
				return
			}
		}
	}))
	s, _ := openStream(t, h, &warmpoolv1.HttpRequest{Upstream: "web"}, true)
	read, ahead := int64(0), int64(0)
	for next := int64(0); ; {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		read += int64(len(m.GetData()))
		ahead = max(ahead, written.Load()-read)
		if read > next {
			dawdle()
			next += flowPiece
		}
	}
	if read != flowTotal || ahead > flowAhead {
		t.Errorf("read %d of %d bytes; the upstream was %d bytes ahead", read, flowTotal, ahead)
	}
}

// oneConnection is a scripted origin as an upstream that dials none ahead, so that the script knows which comes.
func oneConnection(origin *h1test.Script) *warmpoolv1.Upstream {
	u := at("http://" + origin.Addr())
	u.Connections = connections(1)
	return u
}

func TestABodyThatExpectsContinueIsSentWhenTheUpstreamAsksForIt(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	h := start(t, oneConnection(origin))
	head := &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Headers: []*warmpoolv1.Header{{Name: "Expect", Value: "100-continue"}, {Name: "Content-Length", Value: "4"}}}

	s, _ := openStream(t, h, head, false)
	if err := s.Send(data([]byte("body"))); err != nil {
		t.Fatal(err)
	}
	peer := origin.Accept()
	request := peer.ReadHead()
	if v := request.Values("Expect"); len(v) != 1 {
		t.Errorf("the request came with the expectations %q", v)
	}
	peer.Send("HTTP/1.1 100 Continue\r\n\r\n")
	peer.ReadBody()
	if string(request.Body) != "body" {
		t.Errorf("the body came as %q", request.Body)
	}
	peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got, err := received(s); err != nil || got.head.GetStatus() != 200 || string(got.body) != "ok" || len(got.interim) != 0 {
		t.Errorf("%v, %+v", err, got)
	}

	s, _ = openStream(t, h, head, false)
	if err := s.Send(data([]byte("body"))); err != nil {
		t.Fatal(err)
	}
	request = peer.ReadHead() // on the same connection
	peer.Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	if got, err := received(s); err != nil || got.head.GetStatus() != 403 {
		t.Errorf("%v, %+v", err, got)
	}
	peer.ExpectClosed() // what was announced never comes, so the connection is of no more use
	if len(request.Body) > 0 {
		t.Errorf("of the body %q was sent", request.Body)
	}
}

// Wherever a stream is cancelled, its connection is closed, and what comes next
// gets another.
func TestAStreamIsCancelledAtAnyPointAndItsConnectionNotUsedAgain(t *testing.T) {
	request := &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST"}
	for name, until := range map[string]func(t *testing.T, s warmpoolv1.HttpService_StreamClient, peer *h1test.Peer){
		"before the response": func(*testing.T, warmpoolv1.HttpService_StreamClient, *h1test.Peer) {},
		"within the request's body": func(t *testing.T, s warmpoolv1.HttpService_StreamClient, _ *h1test.Peer) {
			for range 100 {
				if err := s.Send(data(make([]byte, 10_000))); err != nil {
					t.Fatal(err)
				}
			}
		},
		"after an interim response": func(t *testing.T, s warmpoolv1.HttpService_StreamClient, peer *h1test.Peer) {
			peer.Send("HTTP/1.1 103 Early Hints\r\n\r\n")
			if m, err := s.Recv(); err != nil || m.GetInterim() == nil {
				t.Fatal(m, err)
			}
		},
		"after the head": func(t *testing.T, s warmpoolv1.HttpService_StreamClient, peer *h1test.Peer) {
			peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			if m, err := s.Recv(); err != nil || m.GetHead() == nil {
				t.Fatal(m, err)
			}
		},
		"within the response's body": func(t *testing.T, s warmpoolv1.HttpService_StreamClient, peer *h1test.Peer) {
			peer.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
			for range 2 {
				if _, err := s.Recv(); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			origin := h1test.Start(t, h1test.Plain)
			h := start(t, oneConnection(origin))
			s, cancel := openStream(t, h, request, false)
			if err := s.Send(data([]byte("x"))); err != nil {
				t.Fatal(err)
			}
			peer := origin.Accept()
			peer.ReadHead()
			until(t, s, peer)
			cancel()
			peer.ExpectClosed()
			for _, err := s.Recv(); ; _, err = s.Recv() {
				if err != nil {
					if status.Code(err) != codes.Canceled {
						t.Errorf("got %v", err)
					}
					break
				}
			}
			next, _ := openStream(t, h, &warmpoolv1.HttpRequest{Upstream: "web"}, true)
			second := origin.Accept()
			second.ReadHead()
			second.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			if got, err := received(next); err != nil || got.head.GetStatus() != 200 {
				t.Errorf("the next one: %v, %+v", err, got)
			}
		})
	}
}

// Of a body that is handed over piece by piece nothing is kept, so that once a
// piece has left nothing can be sent again, however idempotent the request is.
func TestAStreamIsNotSentAgainOnceAPieceOfItsBodyHasLeft(t *testing.T) {
	var requests atomic.Int64
	h := start(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.ReadFull(r.Body, make([]byte, 3))
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.Close()
	}))
	s, _ := openStream(t, h, &warmpoolv1.HttpRequest{Upstream: "web", Method: "PUT", Options: &warmpoolv1.RequestOptions{Idempotent: true}}, false)
	if err := s.Send(data([]byte("abc"))); err != nil {
		t.Fatal(err)
	}
	_, err := received(s)
	if r := readRefusal(t, err); r.failure.GetAttempts() != 1 || r.failure.GetDelivery() != warmpoolv1.Delivery_DELIVERY_UNKNOWN {
		t.Errorf("got %v", r.failure)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("the upstream got %d requests", n)
	}
}

// Without a body there is nothing to lose: the request goes out again.
func TestAStreamWithoutABodyIsSentAgainAsAnyOther(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	h := start(t, oneConnection(origin))
	s, _ := openStream(t, h, &warmpoolv1.HttpRequest{Upstream: "web"}, true)
	first := origin.Accept()
	first.ReadHead()
	first.CloseRST()
	second := origin.Accept()
	second.ReadHead()
	second.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	if got, err := received(s); err != nil || string(got.body) != "ok" {
		t.Errorf("%v, %+v", err, got)
	}
}
