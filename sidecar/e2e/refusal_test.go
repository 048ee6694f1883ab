package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

const refusalConfig = `
upstreams:
  - name: app
    url: http://%[1]s
  - name: down
    url: http://%[2]s
  - name: nowhere
    url: http://nothing.here.invalid
  - name: stranger
    url: https://%[3]s
    tls: {ca_file: %[4]s}
  - name: narrow
    url: http://%[1]s
    connections: {max: 1}
    queue: {max_waiting: 0}
  - name: impatient
    url: http://%[1]s
    connections: {max: 1}
    queue: {max_wait: 50ms}
`

// A refusal is a request that gets no response, and what it gets instead.
type refusal struct {
	name     string
	request  *warmpoolv1.HttpRequest
	code     codes.Code
	reason   warmpoolv1.Reason
	words    []string // of the message
	field    string   // the field to blame, where one is
	upstream string   // "app" when empty
}

func refusals(down, stranger string) []refusal {
	req := func(method, path string, headers ...*warmpoolv1.Header) *warmpoolv1.HttpRequest {
		return &warmpoolv1.HttpRequest{Method: method, Path: path, Headers: headers}
	}
	get := req("GET", "/get")
	bad := func(name, field string, r *warmpoolv1.HttpRequest, words ...string) refusal {
		return refusal{name: name, request: r, code: codes.InvalidArgument, reason: warmpoolv1.Reason_REASON_INVALID_REQUEST, field: field, words: words}
	}
	return []refusal{
		{
			name: "an unknown upstream names itself and those that exist", request: get, upstream: "aqq",
			code: codes.NotFound, reason: warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM, words: []string{`"aqq"`, `"app"`, `"down"`, `"nowhere"`},
		},
		bad("a method with a blank", "request.method", req("GE T", "/")),
		bad("a method with a line break", "request.method", req("GET / HTTP/1.1\r\nX: y", "/")),
		bad("a path without a slash", "request.path", req("GET", "get"), `"get"`),
		bad("a path with another origin", "request.path", req("GET", "http://elsewhere.example/")),
		bad("a path with a blank", "request.path", req("GET", "/a b")),
		bad("a path with a line break", "request.path", req("GET", "/ HTTP/1.1\r\nX-Injected: 1\r\n\r\nGET /")),
		bad("a path that is not ASCII", "request.path", req("GET", "/ä")),
		bad("an empty header name", "request.headers[0].name", req("GET", "/", header("", "v"))),
		bad("a header name with a colon", "request.headers[1].name", req("GET", "/", header("A", "b"), header("X:", "v"))),
		bad("a header name with a line break", "request.headers[0].name", req("GET", "/", header("X\r\nY", "v"))),
		bad("a header value with CR LF", "request.headers[0].value", req("GET", "/", header("X", "v\r\nX-Injected: 1"))),
		bad("a header value with LF", "request.headers[0].value", req("GET", "/", header("X", "v\nX-Injected: 1"))),
		bad("a header value with CR", "request.headers[0].value", req("GET", "/", header("X", "v\rw"))),
		bad("a header value with NUL", "request.headers[0].value", req("GET", "/", header("X", "v\x00w"))),
		bad("raw bytes with CR LF", "request.headers[0].raw_value", req("GET", "/", &warmpoolv1.Header{Name: "X", RawValue: []byte("\xe9\r\nX-Injected: 1")})),
		bad("two Host fields", "request.headers[1].value", req("GET", "/", header("Host", "a"), header("Host", "b"))),
		bad("a Content-Length that is none", "request.headers[0].value", req("GET", "/", header("Content-Length", "5x"))),
		{
			name: "a tunnel", request: req("CONNECT", "/"), code: codes.InvalidArgument,
			reason: warmpoolv1.Reason_REASON_UNSUPPORTED, words: []string{"CONNECT"},
		},
		{
			name: "an upgrade", request: req("GET", "/", header("Connection", "Upgrade"), header("Upgrade", "websocket")),
			code: codes.InvalidArgument, reason: warmpoolv1.Reason_REASON_UNSUPPORTED, words: []string{"websocket"},
		},
		{
			name: "an upstream that is down", request: get, upstream: "down",
			code: codes.Unavailable, reason: warmpoolv1.Reason_REASON_DIAL_REFUSED, words: []string{down, "refused"},
		},
		{
			name: "an upstream whose name does not exist", request: get, upstream: "nowhere",
			code: codes.Unavailable, reason: warmpoolv1.Reason_REASON_DNS_FAILED, words: []string{"nothing.here.invalid"},
		},
		{
			name: "an upstream with a certificate of somebody else", request: get, upstream: "stranger",
			code: codes.Unavailable, reason: warmpoolv1.Reason_REASON_TLS_FAILED, words: []string{stranger, "certificate"},
		},
	}
}

func TestWhatCannotBeSentIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	certs, others := makeCertificates(t), makeCertificates(t)
	a := startApp(t, certs)
	down := loopback(freePort(t))
	s := startSidecar(t, refusalConfig, a.plain.addr, down, a.tls.addr, others.ca)
	for _, front := range []front{goUnix, nodeUnix} {
		t.Run(front.name, func(t *testing.T) {
			t.Parallel()
			c := front.open(t, s)
			for _, r := range refusals(down, a.tls.addr) {
				t.Run(r.name, func(t *testing.T) {
					r.request.Upstream = "app"
					if r.upstream != "" {
						r.request.Upstream = r.upstream
					}
					_, err := c.Send(t.Context(), r.request)
					f := expectFailure(t, err, r.code, r.reason, warmpoolv1.Delivery_DELIVERY_NOT_SENT, r.words...)
					if r.field != "" && !blames(err, r.field) {
						t.Errorf("%s is not blamed: %v", r.field, err)
					}
					if f.GetAttempts() != 0 {
						t.Errorf("%d attempts, want none", f.GetAttempts())
					}
				})
			}
			if r := must(t, c, &warmpoolv1.HttpRequest{Upstream: "app", Path: "/get"}); r.GetStatus() != 200 {
				t.Errorf("status %d after the refusals", r.GetStatus())
			}
		})
	}
}

// blames reports whether the error names the field, in its details and in its text.
func blames(err error, field string) bool {
	violations := detailIn[*errdetails.BadRequest](err).GetFieldViolations()
	return len(violations) == 1 && violations[0].GetField() == field && strings.Contains(err.Error(), field)
}

func TestAFullQueueAndAWaitThatIsTooLongSayWhatThePoolIsDoing(t *testing.T) {
	certs := makeCertificates(t)
	a := startApp(t, certs)
	s := startSidecar(t, refusalConfig, a.plain.addr, loopback(freePort(t)), a.tls.addr, certs.ca)
	for _, front := range []front{goUnix, nodeUnix} {
		t.Run(front.name, func(t *testing.T) {
			c := front.open(t, s)
			hold := func(t *testing.T, upstream string) (release func()) {
				t.Helper()
				name := fmt.Sprintf("hold-%d", serial.Add(1))
				gate := a.gates.at(name)
				running := launch(t.Context(), c, &warmpoolv1.HttpRequest{Upstream: upstream, Path: "/own/gate/" + name})
				<-gate.entered
				return func() {
					gate.release()
					if o := <-running; o.err != nil || string(o.response.GetBody()) != name {
						t.Errorf("the call that held the connection: %q, %v", o.response.GetBody(), o.err)
					}
				}
			}
			t.Run("full queue", func(t *testing.T) {
				defer hold(t, "narrow")()
				_, err := c.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: "narrow", Path: "/get"})
				expectFailure(t, err, codes.ResourceExhausted, warmpoolv1.Reason_REASON_QUEUE_FULL, warmpoolv1.Delivery_DELIVERY_NOT_SENT, "narrow", "1 of 1", "1 active")
				if retry := detailIn[*errdetails.RetryInfo](err); retry.GetRetryDelay().AsDuration() <= 0 {
					t.Errorf("RetryInfo %v", retry)
				}
			})
			t.Run("wait timeout", func(t *testing.T) {
				defer hold(t, "impatient")()
				_, err := c.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: "impatient", Path: "/get"})
				expectFailure(t, err, codes.DeadlineExceeded, warmpoolv1.Reason_REASON_WAIT_TIMEOUT, warmpoolv1.Delivery_DELIVERY_NOT_SENT,
					"impatient", "50ms", "waited", "1 of 1", "1 active", "0 idle", "0 dialing")
			})
		})
	}
}

const scriptedConfig = `
upstreams:
  - name: scripted
    url: http://%[1]s
`

func TestAResponseThatBreaksTheProtocolSaysWhatWasWrongAtWhichByte(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	s := startSidecar(t, scriptedConfig, origin.Addr())
	for _, front := range []front{goUnix, nodeUnix} {
		t.Run(front.name, func(t *testing.T) {
			c := front.open(t, s)
			for _, bad := range []struct{ name, bytes, at string }{
				{"no status line", "SSH-2.0-OpenSSH_9.2\r\n", "at byte 0"},
				{"a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", "at byte 31"},
				{"a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello", "at byte"},
				{"a chunk size that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "at byte 47"},
			} {
				t.Run(bad.name, func(t *testing.T) {
					running := launch(t.Context(), c, &warmpoolv1.HttpRequest{Upstream: "scripted", Path: "/"})
					peer := origin.Accept()
					peer.ReadRequest()
					peer.Send(bad.bytes)
					o := <-running
					expectFailure(t, o.err, codes.Internal, warmpoolv1.Reason_REASON_MALFORMED_RESPONSE, warmpoolv1.Delivery_DELIVERY_RESPONDED, bad.at, origin.Addr())
					peer.ExpectClosed()
				})
			}
		})
	}
}

func TestADeadlineAndACancellationReachTheUpstream(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	s := startSidecar(t, scriptedConfig, origin.Addr())
	for _, front := range []front{goUnix, nodeUnix} {
		t.Run(front.name, func(t *testing.T) {
			c := front.open(t, s)
			t.Run("deadline", func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				running := launch(ctx, c, &warmpoolv1.HttpRequest{Upstream: "scripted", Path: "/"})
				peer := origin.Accept()
				peer.ReadRequest()
				switch code := status.Code((<-running).err); {
				case code == codes.DeadlineExceeded:
				case code == codes.Canceled && front.node:
					// The deadline passes in both processes. Where the sidecar is first, grpc-go resets the stream, and
					// that is how grpc-js words it.
				default:
					t.Errorf("%v, want DEADLINE_EXCEEDED", code)
				}
				peer.ExpectClosed()
			})
			t.Run("timeout of the request", func(t *testing.T) {
				running := launch(t.Context(), c, &warmpoolv1.HttpRequest{
					Upstream: "scripted", Path: "/", Timeout: durationpb.New(100 * time.Millisecond),
				})
				peer := origin.Accept()
				peer.ReadRequest()
				o := <-running
				expectFailure(t, o.err, codes.DeadlineExceeded, warmpoolv1.Reason_REASON_DEADLINE_EXCEEDED, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
				peer.ExpectClosed()
			})
			t.Run("cancellation", func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				running := launch(ctx, c, &warmpoolv1.HttpRequest{Upstream: "scripted", Path: "/"})
				peer := origin.Accept()
				peer.ReadRequest()
				cancel()
				if o := <-running; status.Code(o.err) != codes.Canceled {
					t.Errorf("%v, want CANCELLED", o.err)
				}
				peer.ExpectClosed()
			})
		})
	}
}
