package h1_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// fields makes fields of "name: value" lines.
func fields(pairs ...string) (out []h1.Field) {
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, ":")
		out = append(out, h1.Field{Name: name, Value: value})
	}
	return out
}

func TestRequestHeads(t *testing.T) {
	const start = "GET /a?b HTTP/1.1\r\nHost: up:80\r\n"
	const post = "POST /a?b HTTP/1.1\r\nHost: up:80\r\n"
	for _, c := range []struct {
		name   string
		method string // "" means GET
		length int64
		fields []h1.Field
		opt    h1.HeadOptions
		want   string
	}{
		{name: "nothing asked for", want: start + "\r\n"},
		{
			name: "order, case and duplicates are kept and values trimmed", fields: fields("b: 1 ", "A:\t2", "b:", "X:\xff"),
			want: start + "b: 1\r\nA: 2\r\nb: \r\nX: \xff\r\n\r\n",
		},
		{name: "a Host of its own replaces the given one and comes first", fields: fields("A:1", "hOST: own:1 "), want: "GET /a?b HTTP/1.1\r\nHost: own:1\r\nA: 1\r\n\r\n"},

		// Framing.
		{name: "POST without a body states zero", method: "POST", want: post + "Content-Length: 0\r\n\r\n"},
		{name: "PUT without a body states zero", method: "PUT", want: "PUT" + start[3:] + "Content-Length: 0\r\n\r\n"},
		{name: "PATCH without a body states zero", method: "PATCH", want: "PATCH" + start[3:] + "Content-Length: 0\r\n\r\n"},
		{name: "GET with a stated zero does not state it", fields: fields("Content-Length:0"), want: start + "\r\n"},
		{name: "DELETE without a body states nothing", method: "DELETE", want: "DELETE" + start[3:] + "\r\n"},
		{name: "an extension method without a body states nothing", method: "PROPFIND", want: "PROPFIND" + start[3:] + "\r\n"},
		{name: "an extension method with a stated zero states it", method: "PROPFIND", fields: fields("Content-Length:0"), want: "PROPFIND" + start[3:] + "Content-Length: 0\r\n\r\n"},
		{name: "a body has a length", method: "POST", length: 12, want: post + "Content-Length: 12\r\n\r\n"},
		{name: "GET with a body has a length", length: 12, want: start + "Content-Length: 12\r\n\r\n"},
		{name: "an agreeing length is written once", method: "POST", length: 12, fields: fields("content-length: 012", "Content-Length:12"), want: post + "Content-Length: 12\r\n\r\n"},
		{name: "an unknown length is chunked", method: "POST", length: -1, want: post + "Transfer-Encoding: chunked\r\n\r\n"},
		{name: "a declared length is used for a stream", method: "POST", length: -1, fields: fields("Content-Length:7", "content-length: 7"), want: post + "Content-Length: 7\r\n\r\n"},
		{name: "a caller's coding is not framing", method: "POST", length: 4, fields: fields("Transfer-Encoding: chunked", "Content-Length: 4"), want: post + "Content-Length: 4\r\n\r\n"},

		// The connection.
		{
			name: "hop-by-hop fields do not cross",
			fields: fields("Connection: keep-alive, x-hop", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: gzip",
				"Transfer-Encoding: gzip", "Upgrade: h2c", "X-Hop: 1", "X-Hop2: 2", "Trailer: X", "Proxy-Authorization: b"),
			want: start + "X-Hop2: 2\r\nTrailer: X\r\nProxy-Authorization: b\r\n\r\n",
		},
		{name: "nominated fields do not cross wherever they stand", fields: fields("x-a: 1", "Connection: ,X-A,", "X-B: 2", "connection: x-b", "X-a: 3"), want: start + "\r\n"},
		{name: "Connection takes neither Host nor framing away", method: "POST", length: 3, fields: fields("Connection: Host, Content-Length", "Host: own", "Content-Length: 3"), want: "POST /a?b HTTP/1.1\r\nHost: own\r\nContent-Length: 3\r\n\r\n"},
		{name: "close of the caller", fields: fields("connection: x, CLOSE"), want: start + "Connection: close\r\n\r\n"},
		{name: "close of ours", opt: h1.HeadOptions{Close: true}, want: start + "Connection: close\r\n\r\n"},
		{name: "trailers stay acceptable", fields: fields("te: gzip;q=0.5, Trailers"), want: start + "TE: trailers\r\nConnection: TE\r\n\r\n"},
		{name: "chunked is never in TE", fields: fields("TE: chunked", "Connection: TE"), want: start + "\r\n"},
		{name: "an upgrade is dropped unless asked for", fields: fields("Connection: Upgrade", "Upgrade: echo/1"), want: start + "\r\n"},
		{
			name: "an upgrade that is asked for", fields: fields("Connection: Upgrade, close", "Upgrade: echo/1", "TE: trailers", "upgrade: b"), opt: h1.HeadOptions{Upgrade: true},
			want: start + "Upgrade: echo/1, b\r\nTE: trailers\r\nConnection: close, TE, Upgrade\r\n\r\n",
		},
		{name: "an upgrade without its option is none", fields: fields("Upgrade: echo/1"), opt: h1.HeadOptions{Upgrade: true}, want: start + "\r\n"},

		// Expect.
		{name: "Expect with a body", method: "POST", length: 3, fields: fields("expect: 100-Continue"), want: post + "expect: 100-Continue\r\nContent-Length: 3\r\n\r\n"},
		{name: "Expect with a streamed body", method: "POST", length: -1, fields: fields("Expect: 100-continue"), want: post + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{name: "Expect without a body is dropped", method: "POST", fields: fields("Expect: 100-continue"), want: post + "Content-Length: 0\r\n\r\n"},
		{name: "Expect with a streamed body of declared zero is dropped", method: "POST", length: -1, fields: fields("Expect: 100-continue", "Content-Length: 0"), want: post + "Content-Length: 0\r\n\r\n"},
		{name: "Expect left out when repeated", method: "POST", length: 3, fields: fields("Expect: 100-continue"), opt: h1.HeadOptions{OmitExpect: true}, want: post + "Content-Length: 3\r\n\r\n"},
		{name: "Expect nominated is dropped", method: "POST", length: 3, fields: fields("Expect: 100-continue", "Connection: expect"), want: post + "Content-Length: 3\r\n\r\n"},
	} {
		r := h1.Request{Method: c.method, Target: "/a?b", Host: "up:80", Fields: c.fields, Length: c.length}
		if r.Method == "" {
			r.Method = "GET"
		}
		if err := r.Prepare(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := string(r.AppendHead([]byte(">"), c.opt)); got != ">"+c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, ">"+c.want)
		}
		_, body, _ := strings.Cut(c.want, "Content-Length: ")
		if chunked := r.BodyLength() < 0; chunked != strings.Contains(c.want, "chunked") || r.BodyLength() > 0 && body[0] == '0' {
			t.Errorf("%s: BodyLength %d", c.name, r.BodyLength())
		}
		if want := !c.opt.OmitExpect && strings.Contains(strings.ToLower(c.want), "expect"); r.ExpectsContinue() != want && !c.opt.OmitExpect {
			t.Errorf("%s: ExpectsContinue %v", c.name, r.ExpectsContinue())
		}
		if want := !c.opt.Close && strings.Contains(c.want, "close"); r.WantsClose() != want {
			t.Errorf("%s: WantsClose %v", c.name, r.WantsClose())
		}
	}
}

func TestTheAsteriskIsForOPTIONS(t *testing.T) {
	r := h1.Request{Method: "OPTIONS", Target: "*", Host: "up"}
	if err := r.Prepare(); err != nil {
		t.Fatal(err)
	}
	if got := string(r.AppendHead(nil, h1.HeadOptions{})); got != "OPTIONS * HTTP/1.1\r\nHost: up\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		request h1.Request
		part    string
		text    string // part of the error
		hidden  string // no part of the error, nor of its fields
	}{
		{name: "no method", request: h1.Request{Method: ""}, part: "method", text: "empty"},
		{name: "a method that is two", request: h1.Request{Method: "GET /x"}, part: "method", text: `"GET /x": byte 0x20 at 3`},
		{name: "a method with a line end", request: h1.Request{Method: "GET\r\n"}, part: "method"},
		{name: "CONNECT", request: h1.Request{Method: "CONNECT"}, part: "method", text: "tunnels"},
		{name: "TRACE with a body", request: h1.Request{Method: "TRACE", Length: 1}, part: "method", text: "TRACE"},
		{name: "TRACE with a stream", request: h1.Request{Method: "TRACE", Length: -1}, part: "method"},
		{name: "a length below -1", request: h1.Request{Length: -2}, part: "length", text: "-2"},
		{name: "no target", request: h1.Request{Target: ""}, part: "target", text: "empty"},
		{name: "an absolute target", request: h1.Request{Target: "http://x/"}, part: "target", text: "upstream"},
		{name: "an authority", request: h1.Request{Target: "x:80"}, part: "target"},
		{name: "the asterisk with GET", request: h1.Request{Target: "*"}, part: "target", text: "OPTIONS"},
		{name: "an asterisk and more", request: h1.Request{Method: "OPTIONS", Target: "*x"}, part: "target"},
		{name: "a space", request: h1.Request{Target: "/a b"}, part: "target", text: "byte 0x20 at 2"},
		{name: "a header in the target", request: h1.Request{Target: "/a\r\nX-Evil: 1"}, part: "target", text: `\r\nX-Evil`},
		{name: "NUL in the target", request: h1.Request{Target: "/\x00"}, part: "target"},
		{name: "DEL in the target", request: h1.Request{Target: "/\x7f"}, part: "target"},
		{name: "non-ASCII in the target", request: h1.Request{Target: "/é"}, part: "target", text: "percent-encode"},
		{name: "a fragment", request: h1.Request{Target: "/a#b"}, part: "target"},
		{name: "a long target is shortened", request: h1.Request{Target: "/" + strings.Repeat("a", 5000) + " "}, part: "target", text: "(5002 bytes)", hidden: strings.Repeat("a", 80) + `"`},
		{name: "no host", request: h1.Request{Host: ""}, part: "host", text: "empty"},
		{name: "a host with a space", request: h1.Request{Host: "a b"}, part: "host"},
		{name: "a host with a line end", request: h1.Request{Host: "a\r\nX: y"}, part: "host"},
		{name: "a host with userinfo", request: h1.Request{Host: "user:secret@a"}, part: "host", text: "userinfo", hidden: "secret"},
		{name: "two hosts in one", request: h1.Request{Host: "a,b"}, part: "host"},
		{name: "a host with a path", request: h1.Request{Host: "a/b"}, part: "host"},
		{name: "a non-ASCII host", request: h1.Request{Host: "\xe9"}, part: "host", text: "ASCII form"},
		{name: "two Host fields", request: h1.Request{Fields: fields("Host:a", "host:a")}, part: "host", text: "second"},
		{name: "an empty Host field", request: h1.Request{Fields: fields("Host:")}, part: "host"},
		{name: "no name", request: h1.Request{Fields: fields(":v")}, part: "header name", text: "empty"},
		{name: "a space in a name", request: h1.Request{Fields: fields("X :v")}, part: "header name", text: `"X "`},
		{name: "a line end in a name", request: h1.Request{Fields: []h1.Field{{Name: "X: y\r\nZ", Value: "v"}}}, part: "header name"},
		{name: "a non-ASCII name", request: h1.Request{Fields: fields("é:v")}, part: "header name"},
		{name: "a line end in a value", request: h1.Request{Fields: fields("X-A:a\r\nX-Evil: 1")}, part: "header value", text: `field "X-A" "a\r\nX-Evil: 1": byte 0x0d at 1`},
		{name: "a line end at the end of a value", request: h1.Request{Fields: fields("X-A:abcdefghijklmnop\n")}, part: "header value"},
		{name: "a bare CR in a value", request: h1.Request{Fields: fields("X-A:a\rb")}, part: "header value"},
		{name: "NUL in a value", request: h1.Request{Fields: fields("X-A:\x00")}, part: "header value"},
		{name: "DEL in a value", request: h1.Request{Fields: fields("X-A:\x7f")}, part: "header value"},
		{name: "a bad value of a field that is dropped", request: h1.Request{Fields: fields("Connection:a\r\nb")}, part: "header value"},
		{name: "a secret is not shown", request: h1.Request{Fields: fields("authorization: Bearer s3cret\n")}, part: "header value", text: "(redacted)", hidden: "s3cret"},
		{name: "a cookie is not shown", request: h1.Request{Fields: fields("Cookie: s3cret\n")}, part: "header value", text: `field "Cookie" (redacted)`, hidden: "s3cret"},
		{name: "a proxy secret is not shown", request: h1.Request{Fields: fields("Proxy-Authorization: s3cret\n")}, part: "header value", text: "(redacted)", hidden: "s3cret"},
		{name: "a length that is none", request: h1.Request{Method: "POST", Length: 5, Fields: fields("Content-Length: 5x")}, part: "header value", text: `"Content-Length" " 5x"`},
		{name: "an empty length", request: h1.Request{Method: "POST", Length: -1, Fields: fields("Content-Length:")}, part: "header value"},
		{name: "a list of lengths", request: h1.Request{Method: "POST", Length: 5, Fields: fields("Content-Length: 5, 5")}, part: "header value"},
		{name: "a length with a sign", request: h1.Request{Method: "POST", Length: 5, Fields: fields("Content-Length: +5")}, part: "header value"},
		{name: "a length that wraps around", request: h1.Request{Method: "POST", Length: 5, Fields: fields("Content-Length: 18446744073709551621")}, part: "header value"},
		{name: "two lengths", request: h1.Request{Method: "POST", Length: -1, Fields: fields("Content-Length: 5", "Content-Length: 6")}, part: "header value", text: "5 of an earlier line"},
		{name: "a length that is not the body's", request: h1.Request{Method: "POST", Length: 4, Fields: fields("Content-Length: 10")}, part: "header value", text: "4 bytes"},
		{name: "a length without a body", request: h1.Request{Fields: fields("Content-Length: 10")}, part: "header value"},
		{name: "endless connection options", request: h1.Request{Fields: fields("Connection: " + strings.Repeat("a,", 65))}, part: "header value", text: "64"},
	} {
		r := c.request
		if r.Method == "" && c.name != "no method" {
			r.Method = "GET"
		}
		if r.Target == "" && c.name != "no target" {
			r.Target = "/"
		}
		if r.Host == "" && c.name != "no host" {
			r.Host = "up"
		}
		err := r.Prepare()
		e, ok := errors.AsType[*h1.RequestError](err)
		if !ok {
			t.Errorf("%s: error %v of type %T", c.name, err, err)
			continue
		}
		text := e.Error()
		if e.Part != c.part || !strings.Contains(text, c.text) || !strings.HasPrefix(text, "request "+c.part) {
			t.Errorf("%s: part %q, text %s", c.name, e.Part, text)
		}
		if c.hidden != "" && strings.Contains(text, c.hidden) || c.hidden != "" && len(c.hidden) < 20 && strings.Contains(e.Value, c.hidden) {
			t.Errorf("%s: shows %q in %s", c.name, c.hidden, text)
		}
		if strings.ContainsAny(text, "\r\n\x00\x7f") {
			t.Errorf("%s: control characters in %q", c.name, text)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: AppendHead wrote a refused request", c.name)
				}
			}()
			r.AppendHead(nil, h1.HeadOptions{})
		}()
	}
}

func TestAPreparedRequestCanBeChangedAndPreparedAgain(t *testing.T) {
	r := h1.Request{Method: "POST", Target: "/", Host: "up", Length: -1, Fields: fields("Connection: close, x, upgrade", "Upgrade: u", "TE: trailers", "Expect: 100-continue", "X: 1")}
	if err := r.Prepare(); err != nil {
		t.Fatal(err)
	}
	r.Method, r.Length, r.Fields = "GET", 0, fields("X: 1")
	if err := r.Prepare(); err != nil {
		t.Fatal(err)
	}
	if got := string(r.AppendHead(nil, h1.HeadOptions{Upgrade: true})); got != "GET / HTTP/1.1\r\nHost: up\r\nX: 1\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if r.WantsClose() || r.ExpectsContinue() || r.Upgrade() != "" || r.BodyLength() != 0 {
		t.Error("the first plan shows through")
	}
}

func TestRequestTrailers(t *testing.T) {
	for _, name := range []string{
		"content-length", "Transfer-Encoding", "Host", "connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade",
		"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "Content-Type", "Content-Encoding", "Content-Range", "If-Match", "Range", "Expect", "Cache-Control", "Max-Forwards",
	} {
		err := h1.CheckTrailers(fields("X:1", name+":v"))
		if e, ok := errors.AsType[*h1.RequestError](err); !ok || e.Part != "trailer name" || e.Value != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h1.CheckTrailers(fields("X:a\r\n")); err == nil || !strings.HasPrefix(err.Error(), `request trailer value of field "X"`) {
		t.Errorf("value: %v", err)
	}
	if err := h1.CheckTrailers(fields("X Y:a")); err == nil {
		t.Error("a name with a space passed")
	}
	trailers := fields("X-Sum: abc ", "grpc-status:0")
	if err := h1.CheckTrailers(trailers); err != nil {
		t.Fatal(err)
	}
	if got := string(h1.AppendLastChunk(nil, trailers)); got != "0\r\nX-Sum: abc\r\ngrpc-status: 0\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(h1.AppendChunk([]byte("x"), nil)); got != "x" {
		t.Errorf("an empty chunk was written: %q", got)
	}
	if got := string(h1.AppendChunk(nil, []byte("0123456789abcdef"))); got != "10\r\n0123456789abcdef\r\n" {
		t.Errorf("%q", got)
	}
}

func TestIdempotentMethods(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"} {
		if !h1.Idempotent(method) {
			t.Errorf("%s is not idempotent", method)
		}
	}
	for _, method := range []string{"POST", "PATCH", "CONNECT", "PROPFIND", "get", ""} {
		if h1.Idempotent(method) {
			t.Errorf("%q is idempotent", method)
		}
	}
}

func TestNamesOfEnums(t *testing.T) {
	for got, want := range map[string]string{
		h1.More.String(): "more", h1.Interim.String(): "interim", h1.HeadDone.String(): "head_done", h1.Body.String(): "body", h1.End.String(): "end",
		h1.Unfinished.String(): "unfinished", h1.Keep.String(): "keep", h1.CloseRequested.String(): "close_requested", h1.CloseByPeer.String(): "close_by_peer",
		h1.OldVersion.String(): "old_version", h1.CloseDelimited.String(): "close_delimited", h1.Ambiguous.String(): "ambiguous", h1.Tunnel.String(): "tunnel",
		h1.Malformed.String(): "malformed", h1.TooLarge.String(): "too_large", h1.Truncated.String(): "truncated", h1.Closed.String(): "closed",
		h1.Event(99).String(): "Event(99)", h1.Kind(0).String(): "Kind(0)", h1.Persistence(99).String(): "Persistence(99)",
		(&h1.ParseError{Kind: h1.Malformed, Offset: 7, What: "x"}).Error(): "malformed response at byte 7: x",
		(&h1.ParseError{Kind: h1.TooLarge, Offset: 7, What: "x"}).Error():  "response too large at byte 7: x",
		(&h1.ParseError{Kind: h1.Truncated, Offset: 7, What: "x"}).Error(): "truncated response at byte 7: x",
		(&h1.ParseError{Kind: h1.Closed, What: "x"}).Error():               "response: x",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
