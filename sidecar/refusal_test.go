package sidecar_test

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

const (
	invalidArgument   = codes.InvalidArgument
	resourceExhausted = codes.ResourceExhausted
	unimplemented     = codes.Unimplemented
)

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

func TestARequestThatCannotBeSentNamesTheField(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	h := start(t, at("http://"+origin.Addr()))
	c := h.client(t)
	header := func(name, value string) *warmpoolv1.Header { return &warmpoolv1.Header{Name: name, Value: value} }
	ok := header("X-Ok", "1")
	with := func(headers ...*warmpoolv1.Header) *warmpoolv1.HttpRequest {
		return &warmpoolv1.HttpRequest{Upstream: "web", Headers: headers}
	}
	tests := []struct {
		name    string
		request *warmpoolv1.HttpRequest
		field   string
		says    string
	}{
		{"no request", nil, "request", "missing"},
		{"no upstream", &warmpoolv1.HttpRequest{}, "request.upstream", "empty"},
		{"a space in the method", &warmpoolv1.HttpRequest{Upstream: "web", Method: "GE T"}, "request.method", "GE T"},
		{"a line break in the method", &warmpoolv1.HttpRequest{Upstream: "web", Method: "GET / HTTP/1.1\r\nX: y\r\n\r\n"}, "request.method", "allowed"},
		{"a path without a slash", &warmpoolv1.HttpRequest{Upstream: "web", Path: "a"}, "request.path", `"/"`},
		{"an absolute path", &warmpoolv1.HttpRequest{Upstream: "web", Path: "http://elsewhere/"}, "request.path", "elsewhere"},
		{"a space in the path", &warmpoolv1.HttpRequest{Upstream: "web", Path: "/a b"}, "request.path", "percent-encode"},
		{"a line break in the path", &warmpoolv1.HttpRequest{Upstream: "web", Path: "/ HTTP/1.1\r\nX: y"}, "request.path", "percent-encode"},
		{"a fragment", &warmpoolv1.HttpRequest{Upstream: "web", Path: "/a#b"}, "request.path", "percent-encode"},
		{"an asterisk without OPTIONS", &warmpoolv1.HttpRequest{Upstream: "web", Path: "*"}, "request.path", "OPTIONS"},
		{"an empty header name", with(ok, header("", "v")), "request.headers[1].name", "empty"},
		{"a colon in a header name", with(ok, ok, header("A:b", "v")), "request.headers[2].name", "A:b"},
		{"a line break in a header name", with(header("A\r\nB", "v")), "request.headers[0].name", "allowed"},
		{"a line break in a header value", with(ok, header("A", "v\r\nB: w")), "request.headers[1].value", "0x0d"},
		{"a bare line feed in a header value", with(header("A", "v\nB: w")), "request.headers[0].value", "0x0a"},
		{"a NUL in a raw header value", with(ok, &warmpoolv1.Header{Name: "A", RawValue: []byte("a\x00\xff")}), "request.headers[1].raw_value", "0x00"},
		{"the second of two equal names", with(header("A", "fine"), header("A", "not\x01")), "request.headers[1].value", "0x01"},
		{"a secret that is not shown", with(header("Cookie", "fine"), header("Cookie", "hush\x00")), "request.headers[1].value", "redacted"},
		{"value and raw_value", with(ok, &warmpoolv1.Header{Name: "A", Value: "v", RawValue: []byte("r")}), "request.headers[1]", "both"},
		{"two Host fields", with(header("Host", "a"), header("host", "b")), "request.headers[1].value", "Host"},
		{"a wrong Content-Length", with(ok, header("Content-Length", "7")), "request.headers[1].value", "7"},
		{"a Content-Length that is no number", with(header("Content-Length", "-1")), "request.headers[0].value", "-1"},
		{"a timeout of zero", &warmpoolv1.HttpRequest{Upstream: "web", Timeout: durationpb.New(0)}, "request.timeout", "above 0"},
		{"a negative timeout", &warmpoolv1.HttpRequest{Upstream: "web", Timeout: durationpb.New(-time.Second)}, "request.timeout", "-1s"},
		{"a timeout with mixed signs", &warmpoolv1.HttpRequest{Upstream: "web", Timeout: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "request.timeout", "duration"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := refused(t, c, tt.request)
			r.want(t, codes.InvalidArgument, warmpoolv1.Reason_REASON_INVALID_REQUEST, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
			r.says(t, tt.field, tt.says)
			if v := r.request.GetFieldViolations(); len(v) != 1 || v[0].GetField() != tt.field {
				t.Errorf("violations %v, want one of %s", v, tt.field)
			}
			if strings.Contains(r.message, "hush") {
				t.Errorf("message %q shows a secret", r.message)
			}
		})
	}
	if n := origin.Opened(); n != 0 {
		t.Errorf("%d connections were opened for requests that cannot be sent", n)
	}
}

func TestATunnelAndAnUpgradeAreRefused(t *testing.T) {
	h := start(t, at("http://127.0.0.1:9"))
	c := h.client(t)
	for field, request := range map[string]*warmpoolv1.HttpRequest{
		"request.method": {Upstream: "web", Method: "CONNECT"},
		"request.headers": {Upstream: "web", Headers: []*warmpoolv1.Header{
			{Name: "Connection", Value: "Upgrade"}, {Name: "Upgrade", Value: "websocket"},
		}},
	} {
		r := refused(t, c, request)
		r.want(t, codes.InvalidArgument, warmpoolv1.Reason_REASON_UNSUPPORTED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
		if v := r.request.GetFieldViolations(); len(v) != 1 || v[0].GetField() != field {
			t.Errorf("violations %v, want one of %s", v, field)
		}
	}
}

func TestAnUnknownUpstreamIsNamedWithThoseThatExist(t *testing.T) {
	h := start(t, at("http://127.0.0.1:9"))
	c := h.client(t)
	r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: "wed"})
	r.want(t, codes.NotFound, warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, `"wed"`, `"web"`)
	if r.info.GetMetadata()["upstream"] != "wed" || r.info.GetMetadata()["delivery"] != "NOT_SENT" {
		t.Errorf("metadata: %v", r.info.GetMetadata())
	}

	r = refused(t, c, &warmpoolv1.HttpRequest{Upstream: strings.Repeat("ü", 1<<20)})
	r.want(t, codes.NotFound, warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, `"web"`)
	if len(r.message) > 1024 {
		t.Errorf("a name of 2 MiB gets a message of %d bytes", len(r.message))
	}
}

func TestAnUpstreamThatRefusesConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.9:0") // where the sidecar takes no port of its own
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	h := start(t, at("http://"+l.Addr().String()))
	r := refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
	r.want(t, codes.Unavailable, warmpoolv1.Reason_REASON_DIAL_REFUSED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, "web", l.Addr().String())
	if !strings.Contains(h.log.String(), "reason=DIAL_REFUSED") {
		t.Error("the log does not say so")
	}
}

func TestACertificateOfAnUnknownAuthority(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the handshake that fails here
	s.StartTLS()
	t.Cleanup(s.Close)
	right := at(s.URL)
	right.Name = "right"
	right.Tls = &warmpoolv1.Tls{CaFile: filepath.Join(t.TempDir(), "ca.pem")}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(right.GetTls().GetCaFile(), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	h := start(t, at(s.URL), right)
	c := h.client(t)
	r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: "web"})
	r.want(t, codes.Unavailable, warmpoolv1.Reason_REASON_TLS_FAILED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, s.Listener.Addr().String(), "certificate")
	if got := send(t, c, &warmpoolv1.HttpRequest{Upstream: "right"}); got.GetStatus() != http.StatusNotFound {
		t.Errorf("with the right authority: %d", got.GetStatus())
	}
}

func TestTheTimeoutAndTheDeadlineBothEndAnExchange(t *testing.T) {
	g := newGate()
	h := start(t, web(t, g.serve))
	c := h.client(t)
	t.Run("timeout", func(t *testing.T) {
		r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Method: "POST", Timeout: durationpb.New(50 * time.Millisecond)})
		r.want(t, codes.DeadlineExceeded, warmpoolv1.Reason_REASON_DEADLINE_EXCEEDED, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
		g.await(t)
	})
	t.Run("gRPC deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := c.Send(ctx, &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web"}})
		wantCode(t, err, codes.DeadlineExceeded)
		g.await(t)
	})
}

func TestCancellingStopsTheExchange(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	h := start(t, at("http://"+origin.Addr()))
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := h.client(t).Send(ctx, &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web"}})
		result <- err
	}()
	peer := origin.Accept()
	peer.ReadRequest()
	cancel()
	wantCode(t, receive(t, result, "the cancelled call"), codes.Canceled)
	peer.ExpectClosed()
}

func TestAFullQueueSaysWhenToComeBack(t *testing.T) {
	g := newGate()
	u := web(t, g.serve)
	u.Connections = connections(1)
	u.Queue = &warmpoolv1.Queue{MaxWaiting: proto.Uint32(0), MaxWait: durationpb.New(3 * time.Second)}
	h := start(t, u)
	c := h.client(t)
	first := make(chan string, 1)
	go func() {
		first <- string(send(t, c, &warmpoolv1.HttpRequest{Upstream: "web"}).GetBody())
	}()
	g.await(t)
	r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: "web"})
	r.want(t, codes.ResourceExhausted, warmpoolv1.Reason_REASON_QUEUE_FULL, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, "max_waiting", "1 of 1", "1 active")
	if r.retry.GetRetryDelay().AsDuration() != 3*time.Second || r.failure.GetRetryAfter().AsDuration() != 3*time.Second {
		t.Errorf("RetryInfo %v, retry_after %v, want max_wait (3s)", r.retry, r.failure.GetRetryAfter())
	}
	close(g.open)
	if got := receive(t, first, "the first response"); got != "through" {
		t.Errorf("the first one got %q", got)
	}
}

func TestAWaitThatTakesTooLongTellsThePoolsState(t *testing.T) {
	g := newGate()
	u := web(t, g.serve)
	u.Connections = connections(1)
	u.Queue = &warmpoolv1.Queue{MaxWait: durationpb.New(30 * time.Millisecond)}
	h := start(t, u)
	c := h.client(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		send(t, c, &warmpoolv1.HttpRequest{Upstream: "web"})
	}()
	g.await(t)
	r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: "web", Options: &warmpoolv1.RequestOptions{Receipt: true}})
	r.want(t, codes.DeadlineExceeded, warmpoolv1.Reason_REASON_WAIT_TIMEOUT, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, `upstream "web"`, "max_wait (30ms)", "waited", "1 of 1", "1 active", "0 idle", "0 dialing", "waiting")
	if w := r.failure.GetReceipt().GetWaited().AsDuration(); w < 30*time.Millisecond {
		t.Errorf("the receipt says it waited %s", w)
	}
	close(g.open)
	<-done
}

func TestWhatAnUpstreamBreaks(t *testing.T) {
	responded := warmpoolv1.Delivery_DELIVERY_RESPONDED
	tests := []struct {
		name     string
		method   string
		response string
		end      func(*h1test.Peer)
		code     codes.Code
		reason   warmpoolv1.Reason
		delivery warmpoolv1.Delivery
		says     string
	}{
		{"no HTTP", "GET", "SSH-2.0-OpenSSH\r\n\r\n", nil, codes.Internal, warmpoolv1.Reason_REASON_MALFORMED_RESPONSE, responded, "byte 0"},
		{"a broken chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", nil, codes.Internal, warmpoolv1.Reason_REASON_MALFORMED_RESPONSE, responded, "at byte"},
		{"a head that is too long", "GET", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 70<<10), nil, codes.ResourceExhausted, warmpoolv1.Reason_REASON_RESPONSE_TOO_LARGE, responded, "65536"},
		{
			"an end inside the body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", func(p *h1test.Peer) { p.CloseFIN() },
			codes.Unavailable, warmpoolv1.Reason_REASON_RESPONSE_TRUNCATED, responded, "inside the response",
		},
		{
			"a close instead of an answer", "POST", "", func(p *h1test.Peer) { p.CloseFIN() },
			codes.Unavailable, warmpoolv1.Reason_REASON_CONNECTION_CLOSED, warmpoolv1.Delivery_DELIVERY_UNKNOWN, "without answering",
		},
		{
			"a reset instead of an answer", "POST", "", func(p *h1test.Peer) { p.CloseRST() },
			codes.Unavailable, warmpoolv1.Reason_REASON_CONNECTION_RESET, warmpoolv1.Delivery_DELIVERY_UNKNOWN, "reset",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			origin := h1test.Start(t, h1test.Plain)
			h := start(t, at("http://"+origin.Addr()))
			result := make(chan error, 1)
			go func() {
				_, err := h.client(t).Send(t.Context(), &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web", Method: tt.method}})
				result <- err
			}()
			peer := origin.Accept()
			peer.ReadRequest()
			if tt.response != "" {
				peer.Send(tt.response)
			}
			if tt.end != nil {
				tt.end(peer)
			}
			r := readRefusal(t, receive(t, result, "the failure"))
			r.want(t, tt.code, tt.reason, tt.delivery)
			r.says(t, tt.says, origin.Addr())
			if r.failure.GetAttempts() != 1 {
				t.Errorf("%d attempts", r.failure.GetAttempts())
			}
		})
	}
}
