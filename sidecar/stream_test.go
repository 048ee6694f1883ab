package sidecar_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

func openStream(t *testing.T, h *house, head *warmpoolv1.HttpRequest, end bool) (warmpoolv1.HttpService_StreamClient, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s, err := h.client(t).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Head{Head: head}, End: end}); err != nil {
		t.Fatal(err)
	}
	return s, cancel
}

// streamed is what a stream brought.
type streamed struct {
	interim []uint32
	head    *warmpoolv1.HttpResponse
	body    []byte
	end     *warmpoolv1.StreamEnd
}

func received(s warmpoolv1.HttpService_StreamClient) (got streamed, err error) {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		switch p := m.GetPart().(type) {
		case *warmpoolv1.StreamResponse_Interim:
			got.interim = append(got.interim, p.Interim.GetStatus())
		case *warmpoolv1.StreamResponse_Head:
			got.head = p.Head
		case *warmpoolv1.StreamResponse_Data:
			got.body = append(got.body, p.Data...)
		case *warmpoolv1.StreamResponse_End:
			got.end = p.End
		}
	}
}

func TestAStreamCarriesLongBodiesBothWays(t *testing.T) {
	h := start(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "X-Echo")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Echo", r.Trailer.Get("X-Sum"))
	}))
	s, _ := openStream(t, h, &warmpoolv1.HttpRequest{
		Upstream: "web", Method: "PUT", Body: []byte("begin"), Options: &warmpoolv1.RequestOptions{Receipt: true},
	}, false)
	want := []byte("begin")
	go func() {
		for i := range 200 {
			piece := bytes.Repeat([]byte{byte(i)}, 100_000)
			if err := s.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Data{Data: piece}}); err != nil {
				t.Error(err)
			}
		}
		if err := s.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Trailers{
			Trailers: &warmpoolv1.Trailers{Trailers: []*warmpoolv1.Header{{Name: "X-Sum", Value: "42"}}},
		}, End: true}); err != nil {
			t.Error(err)
		}
	}()
	for i := range 200 {
		want = append(want, bytes.Repeat([]byte{byte(i)}, 100_000)...)
	}
	got, err := received(s)
	if err != nil || got.head.GetStatus() != 200 || !bytes.Equal(got.body, want) {
		t.Fatalf("%v, status %d, %d bytes", err, got.head.GetStatus(), len(got.body))
	}
	if v := values(got.end.GetTrailers(), "X-Echo"); len(v) != 1 || v[0] != "42" {
		t.Errorf("trailers %v", got.end.GetTrailers())
	}
	if r := got.end.GetReceipt(); r.GetBytesSent() < 20_000_000 || r.GetBytesReceived() < 20_000_000 || r.GetTotal().AsDuration() <= 0 {
		t.Errorf("receipt %v", r)
	}
}

func TestAStreamGetsInterimResponsesAndAnEarlyEnd(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	h := start(t, at("http://"+origin.Addr()))
	s, _ := openStream(t, h, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST"}, false)
	peer := origin.Accept()
	peer.ReadHead()
	peer.Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
	got, err := received(s) // the body is never ended
	if err != nil || got.head.GetStatus() != 413 || string(got.body) != "big" || len(got.interim) != 1 || got.interim[0] != 103 {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestAStreamThatIsCancelledIsGoneAtTheUpstream(t *testing.T) {
	arrived, stopped := make(chan struct{}), make(chan struct{})
	h := start(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		for r.Context().Err() == nil { // until nobody reads
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				break
			}
		}
		close(stopped)
	}))
	s, cancel := openStream(t, h, &warmpoolv1.HttpRequest{Upstream: "web"}, true)
	<-arrived
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-stopped
}

func TestAStreamsMistakesAreNamed(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	h := start(t, at("http://"+origin.Addr()))
	head := &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Headers: []*warmpoolv1.Header{{Name: "Content-Length", Value: "3"}}}
	data := func(text string) *warmpoolv1.StreamRequest {
		return &warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Data{Data: []byte(text)}}
	}
	trailers := &warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Trailers{
		Trailers: &warmpoolv1.Trailers{Trailers: []*warmpoolv1.Header{{Name: "X-Sum", Value: "42"}}},
	}}
	for name, messages := range map[string][]*warmpoolv1.StreamRequest{
		"no head":          {data("abc")},
		"two heads":        {{Part: &warmpoolv1.StreamRequest_Head{Head: head}}, {Part: &warmpoolv1.StreamRequest_Head{Head: head}}},
		"a body too long":  {{Part: &warmpoolv1.StreamRequest_Head{Head: head}}, data("abcd")},
		"a body too short": {{Part: &warmpoolv1.StreamRequest_Head{Head: head}}, {Part: &warmpoolv1.StreamRequest_Data{Data: []byte("a")}, End: true}},
		"a wrong method":   {{Part: &warmpoolv1.StreamRequest_Head{Head: &warmpoolv1.HttpRequest{Upstream: "web", Method: "A B"}}}},
		"trailers after a body of declared length":   {{Part: &warmpoolv1.StreamRequest_Head{Head: head}}, data("abc"), trailers},
		"trailers before the end of declared length": {{Part: &warmpoolv1.StreamRequest_Head{Head: head}}, trailers},
		"trailers after a body declared as empty": {{Part: &warmpoolv1.StreamRequest_Head{Head: &warmpoolv1.HttpRequest{
			Upstream: "web", Method: "POST", Headers: []*warmpoolv1.Header{{Name: "Content-Length", Value: "0"}},
		}}}, trailers},
		"an injected trailer": {{Part: &warmpoolv1.StreamRequest_Head{Head: &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST"}}}, {Part: &warmpoolv1.StreamRequest_Trailers{Trailers: &warmpoolv1.Trailers{Trailers: []*warmpoolv1.Header{{Name: "A", Value: "b\r\nc"}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := h.client(t).Stream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				if err := s.Send(m); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := received(s); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v", err)
			}
		})
	}
}
