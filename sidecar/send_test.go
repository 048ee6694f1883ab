package sidecar_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

func TestARequestGoesOutAndItsAnswerComesBack(t *testing.T) {
	h := start(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Method+" "+r.URL.RequestURI())
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "got %q", body)
	}))
	for _, address := range h.Addrs().Data {
		t.Run(address[:4], func(t *testing.T) {
			c := warmpoolv1.NewHttpServiceClient(dial(t, address))
			got := send(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Path: "/a/b?c=%20d", Body: []byte("hello")})
			if got.GetStatus() != http.StatusTeapot || string(got.GetBody()) != `got "hello"` {
				t.Errorf("got %d %q", got.GetStatus(), got.GetBody())
			}
			if seen := values(got.GetHeaders(), "X-Seen"); !slices.Equal(seen, []string{"POST /a/b?c=%20d"}) {
				t.Errorf("the upstream saw %q", seen)
			}
			if got.GetReceipt() != nil {
				t.Error("there is a receipt that nobody asked for")
			}
		})
	}
}

func TestMethodAndPathHaveDefaults(t *testing.T) {
	h := start(t, web(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, " ", r.RequestURI) }))
	if got := send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"}); string(got.GetBody()) != "GET /" {
		t.Errorf("the upstream saw %q, want GET /", got.GetBody())
	}
}

func TestConnectionsAreReusedAndTheReceiptSaysSo(t *testing.T) {
	h := start(t, web(t, func(http.ResponseWriter, *http.Request) {}))
	c := h.client(t)
	ask := &warmpoolv1.HttpRequest{Upstream: "web", Options: &warmpoolv1.RequestOptions{Receipt: true}}
	first, second := send(t, c, ask).GetReceipt(), send(t, c, ask).GetReceipt()
	if first.GetReused() || first.GetAttempts() != 1 || first.GetConnectionId() == 0 || first.GetEndpoint() == "" {
		t.Errorf("first receipt: %v", first)
	}
	if first.GetConnect().AsDuration() <= 0 || first.GetHandshakeSpared() != nil || first.GetTls() != nil {
		t.Errorf("the first exchange waited for a plain connection: %v", first)
	}
	if !second.GetReused() || second.GetConnectionId() != first.GetConnectionId() || second.GetHandshakeSpared().AsDuration() <= 0 || second.GetConnect() != nil {
		t.Errorf("second receipt: %v", second)
	}
	for _, r := range []*warmpoolv1.Receipt{first, second} {
		waited, total := r.GetWaited().AsDuration(), r.GetTotal().AsDuration()
		for name, d := range map[string]time.Duration{"written": r.GetWritten().AsDuration(), "first_byte": r.GetFirstByte().AsDuration()} {
			if d <= waited || d > total {
				t.Errorf("%s is %s after the arrival, outside of %s (waited) to %s (total)", name, d, waited, total)
			}
		}
	}
}

func TestHeadersKeepOrderDuplicatesAndSpelling(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	h := start(t, at("http://"+origin.Addr()))
	result := make(chan *warmpoolv1.HttpResponse, 1)
	go func() {
		result <- send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web", Headers: []*warmpoolv1.Header{
			{Name: "X-B", Value: "1"},
			{Name: "x-a", Value: "2"},
			{Name: "X-b", Value: "3"},
			{Name: "X-B", Value: "1"},
			{Name: "X-Empty"},
			{Name: "X-Raw", RawValue: []byte("caf\xe9")},
		}})
	}()
	peer := origin.Accept()
	var got [][2]string
	for _, f := range peer.ReadRequest().Fields {
		if strings.HasPrefix(strings.ToLower(f[0]), "x-") {
			got = append(got, f)
		}
	}
	want := [][2]string{{"X-B", "1"}, {"x-a", "2"}, {"X-b", "3"}, {"X-B", "1"}, {"X-Empty", ""}, {"X-Raw", "caf\xe9"}}
	if !slices.Equal(got, want) {
		t.Errorf("the upstream got %q, want %q", got, want)
	}

	peer.Send("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nx-ODD: \xff\xfe\r\nSet-Cookie: b=2\r\nX-Text: gr\xc3\xbc\xc3\x9fe\r\nContent-Length: 0\r\n\r\n")
	wantBack := []*warmpoolv1.Header{
		{Name: "Set-Cookie", Value: "a=1"},
		{Name: "x-ODD", RawValue: []byte{0xff, 0xfe}},
		{Name: "Set-Cookie", Value: "b=2"},
		{Name: "X-Text", Value: "grüße"},
		{Name: "Content-Length", Value: "0"},
	}
	back := receive(t, result, "the response").GetHeaders()
	if !slices.EqualFunc(back, wantBack, func(a, b *warmpoolv1.Header) bool { return proto.Equal(a, b) }) {
		t.Errorf("got %v, want %v", back, wantBack)
	}
}

func TestHopByHopFieldsNeverCross(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	h := start(t, at("http://"+origin.Addr()))
	result := make(chan *warmpoolv1.HttpResponse, 1)
	go func() {
		result <- send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web", Headers: []*warmpoolv1.Header{
			{Name: "Connection", Value: "X-Mine, keep-alive"},
			{Name: "X-Mine", Value: "secret"},
			{Name: "Keep-Alive", Value: "timeout=5"},
			{Name: "Proxy-Connection", Value: "keep-alive"},
			{Name: "Transfer-Encoding", Value: "chunked"},
			{Name: "X-Stays", Value: "yes"},
		}})
	}()
	peer := origin.Accept()
	request := peer.ReadRequest()
	for _, name := range []string{"Connection", "X-Mine", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding"} {
		if v := request.Values(name); v != nil {
			t.Errorf("%s: %q reached the upstream", name, v)
		}
	}
	if v := request.Values("X-Stays"); len(v) != 1 {
		t.Errorf("X-Stays: %q", v)
	}
	peer.Send("HTTP/1.1 200 OK\r\nConnection: X-Theirs\r\nX-Theirs: secret\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nX-Stays: yes\r\n\r\n" +
		"2\r\nok\r\n0\r\nX-Trailer: end\r\n\r\n")
	response := receive(t, result, "the response")
	for _, name := range []string{"Connection", "X-Theirs", "Keep-Alive", "Transfer-Encoding"} {
		if v := values(response.GetHeaders(), name); v != nil {
			t.Errorf("%s: %q reached the caller", name, v)
		}
	}
	if v := values(response.GetHeaders(), "X-Stays"); len(v) != 1 {
		t.Errorf("X-Stays: %q", v)
	}
	if v := values(response.GetTrailers(), "X-Trailer"); !slices.Equal(v, []string{"end"}) || string(response.GetBody()) != "ok" {
		t.Errorf("body %q, trailers %v", response.GetBody(), response.GetTrailers())
	}
}

func TestBodiesUpToTheLimitPassAndTheNextByteDoesNot(t *testing.T) {
	const limit = 64 << 10
	u := web(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/more" {
			body = append(body, 'x')
		}
		_, _ = w.Write(body)
	})
	u.Limits = &warmpoolv1.Limits{BufferedBodyBytes: proto.Uint64(limit)}
	h := start(t, u)
	c := h.client(t)
	body := bytes.Repeat([]byte{0, 1, 0xff}, limit)[:limit]

	if got := send(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Body: body}); !bytes.Equal(got.GetBody(), body) {
		t.Errorf("a body of %d bytes came back with %d", len(body), len(got.GetBody()))
	}
	r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Body: append(body, 1)})
	r.want(t, invalidArgument, warmpoolv1.Reason_REASON_REQUEST_TOO_LARGE, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, "65537", "65536", "buffered_body_bytes")
	if v := r.request.GetFieldViolations(); len(v) != 1 || v[0].GetField() != "request.body" {
		t.Errorf("violations: %v", v)
	}
	r = refused(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Path: "/more", Body: body})
	r.want(t, resourceExhausted, warmpoolv1.Reason_REASON_BODY_TOO_LARGE, warmpoolv1.Delivery_DELIVERY_RESPONDED)
	r.says(t, "65536", "buffered_body_bytes")
	// The connection on which the body was left unread is not used again.
	if got := send(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Body: []byte("next")}); string(got.GetBody()) != "next" {
		t.Errorf("after a body over the limit the next exchange got %q", got.GetBody())
	}
}

func TestTheDefaultsCarryABodyOf4MiBBothWays(t *testing.T) {
	h := start(t, web(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	body := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	got := send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web", Method: "PUT", Body: body})
	if !bytes.Equal(got.GetBody(), body) {
		t.Errorf("a body of %d bytes came back with %d", len(body), len(got.GetBody()))
	}
}

func values(headers []*warmpoolv1.Header, name string) []string {
	var v []string
	for _, h := range headers {
		if strings.EqualFold(h.GetName(), name) {
			v = append(v, h.GetValue())
		}
	}
	return v
}
