package h1_test

import (
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

func TestStatusLines(t *testing.T) {
	const rest = "\r\nContent-Length: 0\r\n\r\n"
	malformed := func(name, line string) responseCase {
		return responseCase{name: name, in: line + rest, kind: h1.Malformed}
	}
	runResponseCases(t, []responseCase{
		{name: "no reason", in: "HTTP/1.1 200 " + rest},
		{name: "no reason and no space", in: "HTTP/1.1 200" + rest},
		{name: "obs-text and tab in the reason", in: "HTTP/1.1 200 \xe9t\xe9\tx" + rest},
		{name: "1.2 is like 1.1", in: "HTTP/1.2 200 OK" + rest},
		{name: "a code beyond 599 is passed on", in: "HTTP/1.1 999 Odd" + rest, status: 999},
		malformed("lower-case version", "http/1.1 200 OK"),
		malformed("version 2.0", "HTTP/2.0 200 OK"),
		malformed("version 0.9", "HTTP/0.9 200 OK"),
		malformed("two-digit minor", "HTTP/1.10 200 OK"),
		malformed("two-digit major", "HTTP/11.1 200 OK"),
		malformed("a letter as minor", "HTTP/1.x 200 OK"),
		malformed("a space in the version", "HTTP/ 1.1 200 OK"),
		malformed("another protocol", "RTSP/1.0 200 OK"),
		malformed("HTML", "<html>hi</html>"),
		malformed("a leading space", " HTTP/1.1 200 OK"),
		malformed("a leading empty line", "\r\nHTTP/1.1 200 OK"),
		malformed("two spaces", "HTTP/1.1  200 OK"),
		malformed("a tab", "HTTP/1.1\t200 OK"),
		malformed("no status", "HTTP/1.1"),
		malformed("no status behind a space", "HTTP/1.1 "),
		malformed("two digits", "HTTP/1.1 20 OK"),
		malformed("two digits and nothing else", "HTTP/1.1 20"),
		malformed("four digits", "HTTP/1.1 2000 OK"),
		malformed("letters", "HTTP/1.1 abc OK"),
		malformed("minus", "HTTP/1.1 -20 OK"),
		malformed("plus", "HTTP/1.1 +20 OK"),
		malformed("000", "HTTP/1.1 000 OK"),
		malformed("099", "HTTP/1.1 099 OK"),
		malformed("fullwidth digits", "HTTP/1.1 \uff12\uff10\uff10 OK"),
		malformed("a control character in the reason", "HTTP/1.1 200 a\x01b"),
		malformed("a CR in the reason", "HTTP/1.1 200 a\rb"),
		malformed("a CR instead of the space", "HTTP/1.1 200\rOK"),
		malformed("CR CR LF", "HTTP/1.1 200\r"),
		malformed("a NUL in the reason", "HTTP/1.1 200 \x00"),
		{name: "a TLS alert", in: "\x15\x03\x01\x00\x02\x02F", end: fin, kind: h1.Malformed},
		{name: "garbage without a line end is known at once", in: "S", kind: h1.Malformed},
		{name: "a CR alone where the empty line would be", in: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\rX", kind: h1.Malformed, what: "empty line"},
		{name: "LF alone", in: "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", kind: h1.Malformed, what: "LF alone"},
	})
	o := play(t, h1.ResponseTo{Method: "GET"}, open, "HTTP/1.3 404 No such thing"+rest)
	if o.Minor != 3 || o.Status != 404 || o.Reason != "No such thing" {
		t.Errorf("status line read as %+v", o)
	}
}

func TestFieldSyntax(t *testing.T) {
	const rest = "\r\nContent-Length: 0\r\n\r\n"
	malformed := func(name, field string) responseCase {
		return responseCase{name: name, in: "^" + field + rest, kind: h1.Malformed}
	}
	runResponseCases(t, []responseCase{
		{name: "order case and duplicates are kept", in: "^Set-Cookie: a=1\r\nX: y\r\nset-cookie: b=2, c" + rest, fields: "Set-Cookie: a=1\nX: y\nset-cookie: b=2, c\n"},
		{name: "whitespace around a value is cut", in: "^X-A: \t v w \t" + rest, fields: "X-A: v w\n"},
		{name: "no whitespace before a value", in: "^X-A:v" + rest, fields: "X-A: v\n"},
		{name: "a value of blanks is empty", in: "^X-A:  \t " + rest, fields: "X-A: \n"},
		{name: "an empty value", in: "^X-A:" + rest, fields: "X-A: \n"},
		{name: "colons and quotes in a value", in: "^X-A: a:b\"c" + rest, fields: "X-A: a:b\"c\n"},
		{name: "obs-text in a value", in: "^X-A: \xff\x80" + rest, fields: "X-A: \xff\x80\n"},
		{name: "every tchar in a name", in: "^!#$%&'*+-.^_`|~09azAZ: v" + rest, fields: "!#$%&'*+-.^_`|~09azAZ: v\n"},
		malformed("no colon", "X-A"),
		malformed("no name", ": v"),
		malformed("space before the colon", "X-A : v"),
		malformed("tab before the colon", "X-A\t: v"),
		malformed("space before the colon of the length", "Content-Length : 5"),
		malformed("space in a name", "X A: v"),
		malformed("parenthesis in a name", "X(A): v"),
		malformed("NUL in a name", "X\x00A: v"),
		malformed("obs-text in a name", "X\xe9: v"),
		malformed("NUL in a value", "X-A: a\x00b"),
		malformed("DEL in a value", "X-A: a\x7fb"),
		malformed("bare CR in a value", "X-A: a\rContent-Length: 1"),
		malformed("bare CR in a name", "X\rA: 1"),
		malformed("CR CR LF", "X-A: a\r"),
		malformed("a lone CR as line", "\r"),
		malformed("bare LF", "X-A: a\nContent-Length: 3"),
		malformed("bare LF at the start of a line", "X-A: a\r\n\n"),
		malformed("space before the first field", " X-A: v"),
		malformed("tab before the first field", "\tX-A: v"),
		malformed("space that hides a length", " Content-Length: 3"),
		{name: "bare LF as the empty line", in: "^Content-Length: 5\r\n\nhello", kind: h1.Malformed, what: "LF alone"},
		{name: "no CR anywhere", in: "^X: y\n\n", kind: h1.Malformed},

		{name: "a fold is one space", in: "^X-A: a \r\n \t b" + rest, fields: "X-A: a b\n"},
		{name: "two folds", in: "^X-A: a\r\n b\r\n\tc\r\nX-B: d" + rest, fields: "X-A: a b c\nX-B: d\n"},
		{name: "a fold behind an empty value", in: "^X-A:\r\n b" + rest, fields: "X-A: b\n"},
		{name: "a fold of blanks", in: "^X-A: a\r\n \r\n\t\r\n b\r\n " + rest, fields: "X-A: a b\n"},
		{name: "folds in two fields", in: "^X-A: a\r\n b\r\nX: 0\r\nX-B: c\r\n d" + rest, fields: "X-A: a b\nX: 0\nX-B: c d\n"},
		{name: "a folded line that looks like a length is a value", in: "^X-A: a\r\n Content-Length: 9" + rest, fields: "X-A: a Content-Length: 9\n"},
		{name: "a NUL in a fold", in: "^X-A: a\r\n \x00" + rest, kind: h1.Malformed},
		{name: "a fold in the length", in: "^Content-Length: 1\r\n 0\r\n\r\n", kind: h1.Malformed, what: "folding"},
		{name: "a fold in the coding", in: "^Transfer-Encoding:\r\n chunked\r\n\r\n", kind: h1.Malformed},
		{name: "a fold in Connection", in: "^Connection: keep-alive,\r\n close" + rest, kind: h1.Malformed, what: "folding"},
	})
}

func TestInterimResponses(t *testing.T) {
	const final = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	runResponseCases(t, []responseCase{
		{name: "an unasked 100", in: "HTTP/1.1 100 Continue\r\n\r\n" + final, body: "hello"},
		{name: "its fields are not those of the final response", in: "HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n" + final, body: "hello", absent: "link"},
		{name: "framing fields mean nothing there", in: "HTTP/1.1 102 P\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nContent-Length: x\r\n\r\n" + final, body: "hello"},
		{name: "every 1xx but 101 is interim", in: "HTTP/1.1 199 X\r\n\r\n" + final, body: "hello"},
		{name: "close in an interim response counts", in: "HTTP/1.1 103 E\r\nConnection: close\r\n\r\n" + final, body: "hello", persist: h1.CloseByPeer},
		{name: "a version 1.0 interim response does not make the final one old", in: "HTTP/1.0 100 Continue\r\n\r\n" + final, body: "hello"},
		{name: "keep-alive in an interim response is not for the final one", in: "HTTP/1.1 103 E\r\nConnection: keep-alive, x-hop\r\n\r\nHTTP/1.0 200 OK\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n", fields: "X-Hop: 1\n", persist: h1.OldVersion},
		{name: "FIN after an interim response", in: "HTTP/1.1 100 Continue\r\n\r\n", end: fin, kind: h1.Truncated, what: "interim"},
		{name: "FIN in the head after an interim response", in: "HTTP/1.1 100 Continue\r\n\r\nHTTP", end: fin, kind: h1.Truncated, what: "inside the head"},
		{name: "an interim response alone ends nothing", in: "HTTP/1.1 100 Continue\r\n\r\n", waits: true},
		{name: "a 100 to HEAD", to: h1.ResponseTo{Method: "HEAD"}, in: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{name: "101 without an offer", in: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n", kind: h1.Malformed, what: "offered"},
		{name: "101 without a protocol", to: h1.ResponseTo{Upgrade: true}, in: "HTTP/1.1 101 Switching Protocols\r\n\r\n", kind: h1.Malformed, what: "Upgrade field"},
		{
			name: "101 leaves what follows to the new protocol", to: h1.ResponseTo{Upgrade: true},
			in:     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nContent-Length: 4\r\n\r\ndata",
			status: 101, persist: h1.Tunnel, rest: "data",
		},
		{name: "an offer that is refused", to: h1.ResponseTo{Upgrade: true}, in: final, body: "hello"},
	})
	o := play(t, h1.ResponseTo{Method: "GET"}, open, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\nUpgrade: x\r\n\r\n"+final)
	if got := strings.Join(o.Interims, "|"); got != "100\n|103\nLink: </s>\n" {
		t.Errorf("interim responses %q", got)
	}
}

func TestGetFindsTheFirstFieldInAnyCase(t *testing.T) {
	var p h1.Parser
	p.Start(h1.ResponseTo{Method: "GET"})
	if _, event, err := p.Parse([]byte("HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nUpgrade: h2c\r\n\r\n")); event != h1.HeadDone || err != nil {
		t.Fatal(event, err)
	}
	if v, ok := p.Head().Get("x-A"); string(v) != "1" || !ok {
		t.Errorf("Get(x-A) = %q, %v", v, ok)
	}
	if v, ok := p.Head().Get("upgrade"); string(v) != "h2c" || !ok {
		t.Errorf("Get(upgrade) = %q, %v", v, ok)
	}
	if v, ok := p.Head().Get("x"); v != nil || ok {
		t.Errorf("Get(x) = %q, %v", v, ok)
	}
}
