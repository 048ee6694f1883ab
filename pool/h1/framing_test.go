package h1_test

import (
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// responseCase is one response and what must be read from it. It is played in one
// piece and byte by byte.
type responseCase struct {
	name string
	to   h1.ResponseTo // Method "" means GET
	in   string        // "^" at the start means "HTTP/1.1 200 OK" and its line end
	end  ending

	kind    h1.Kind // 0: the response is read
	what    string  // part of the error's text
	status  int     // 0 means 200
	body    string
	fields  string // part of the end-to-end fields
	absent  string // no part of the end-to-end fields or trailers
	trailer string // all trailers
	persist h1.Persistence
	rest    string
	waits   bool // neither ended nor failed: more input would be needed
}

func runResponseCases(t *testing.T, cases []responseCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			in := c.in
			if rest, ok := strings.CutPrefix(in, "^"); ok {
				in = "HTTP/1.1 200 OK\r\n" + rest
			}
			to := c.to
			if to.Method == "" {
				to.Method = "GET"
			}
			whole := play(t, to, c.end, in)
			split := play(t, to, c.end, bytewise(in)...)
			comparePlays(t, whole, split)
			o := whole
			if c.kind != 0 {
				if o.Kind != c.kind || !strings.Contains(o.What, c.what) {
					t.Fatalf("got kind %v at %d (%s), want %v (%s)\n%+v", o.Kind, o.Offset, o.What, c.kind, c.what, o)
				}
				if o.Persist != h1.Unfinished {
					t.Errorf("a failed response leaves the connection %v", o.Persist)
				}
				return
			}
			if o.Kind != 0 {
				t.Fatalf("refused as %v at byte %d: %s", o.Kind, o.Offset, o.What)
			}
			if c.waits {
				if o.Ended {
					t.Fatal("ended although more must come")
				}
				return
			}
			if !o.Ended {
				t.Fatal("not ended")
			}
			status, persist := c.status, c.persist
			if status == 0 {
				status = 200
			}
			if persist == h1.Unfinished {
				persist = h1.Keep
			}
			if o.Status != status || o.Body != c.body || o.Persist != persist || o.Trailers != c.trailer || o.Rest != c.rest {
				t.Errorf("got status %d, body %q, %v, trailers %q, rest %q\nwant %d, %q, %v, %q, %q",
					o.Status, o.Body, o.Persist, o.Trailers, o.Rest, status, c.body, persist, c.trailer, c.rest)
			}
			if !strings.Contains(o.Fields, c.fields) {
				t.Errorf("fields %q lack %q", o.Fields, c.fields)
			}
			if c.absent != "" && strings.Contains(strings.ToLower(o.Fields+o.Trailers), strings.ToLower(c.absent)) {
				t.Errorf("fields %q and trailers %q have %q", o.Fields, o.Trailers, c.absent)
			}
		})
	}
}

// comparePlays fails when two splits of the same bytes gave different results.
// Bytes left over differ, for they depend on when the caller stops feeding.
func comparePlays(t testing.TB, whole, split outcome) {
	t.Helper()
	if whole.Kind == split.Kind && whole.Ended && split.Ended {
		split.Rest = whole.Rest
	}
	if a, b := describe(whole), describe(split); a != b {
		t.Fatalf("the split changes the result:\nwhole %s\nsplit %s", a, b)
	}
}

func TestFraming(t *testing.T) {
	const chunkedHello = "5\r\nhello\r\n0\r\n\r\n"
	head := h1.ResponseTo{Method: "HEAD"}
	runResponseCases(t, []responseCase{
		// Responses without body by rule.
		{name: "HEAD with a length has no body", to: head, in: "^Content-Length: 5\r\n\r\n", fields: "Content-Length: 5\n"},
		{name: "HEAD with chunked has no body", to: head, in: "^Transfer-Encoding: chunked\r\n\r\n"},
		{name: "HEAD without framing is complete and not close-delimited", to: head, in: "^\r\n"},
		{name: "HEAD with a length then FIN is not truncated", to: head, in: "^Content-Length: 5\r\n\r\n", end: fin, persist: h1.CloseByPeer},
		{name: "HEAD with both framings is delivered and not reused", to: head, in: "^Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", persist: h1.Ambiguous},
		{name: "HEAD with a broken length is delivered and not reused", to: head, in: "^Content-Length: 5x\r\n\r\n", persist: h1.Ambiguous},
		{name: "what is no length is not passed on", to: head, in: "^X: 1\r\nContent-Length: 5x\r\n\r\n", fields: "X: 1\n", absent: "Content-Length", persist: h1.Ambiguous},
		{name: "nor are two that differ", to: head, in: "^Content-Length: 5, 5\r\nX: 1\r\nContent-Length: 6\r\n\r\n", fields: "X: 1\n", absent: "Content-Length", persist: h1.Ambiguous},
		{name: "nor one before a coding", to: head, in: "^Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", absent: "Content-Length", persist: h1.Ambiguous},
		{name: "nor one behind a coding", in: "HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", status: 304, absent: "Content-Length", persist: h1.Ambiguous},
		{name: "of an interim response neither, and the final one's is", in: "HTTP/1.1 103 E\r\nContent-Length: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", body: "hello", fields: "Content-Length: 5\n"},
		{name: "HEAD body bytes are left over", to: head, in: "^Content-Length: 5\r\n\r\nhello", rest: "hello"},
		{name: "204 with a length has no body", in: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", status: 204},
		{name: "204 without fields is complete", in: "HTTP/1.1 204 No Content\r\n\r\n", status: 204},
		{name: "304 with a length has no body", in: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n", status: 304},
		{name: "304 with chunked has no body", in: "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", status: 304},
		{name: "304 body bytes are left over", in: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", status: 304, rest: "hello"},
		{name: "205 is framed like any other", in: "HTTP/1.1 205 Reset Content\r\nContent-Length: 5\r\n\r\nhello", status: 205, body: "hello"},
		{
			name: "a 2xx to CONNECT is a tunnel whatever its fields say", to: h1.ResponseTo{Method: "CONNECT"},
			in: "^Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\ntunnel", persist: h1.Tunnel, rest: "tunnel",
		},
		{name: "a refused CONNECT is framed", to: h1.ResponseTo{Method: "CONNECT"}, in: "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", status: 407, body: "no"},

		// Both framings, and codings.
		{name: "length then coding", in: "^Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: "beside Content-Length"},
		{name: "coding then length", in: "^Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: "beside Transfer-Encoding"},
		{name: "chunked in any case with whitespace", in: "^transfer-encoding: \tCHUNKED\t\r\n\r\n" + chunkedHello, body: "hello"},
		{name: "an empty member beside chunked is ignored", in: "^Transfer-Encoding: chunked,\r\n\r\n" + chunkedHello, body: "hello"},
		{name: "another coding before chunked", in: "^Transfer-Encoding: gzip, chunked\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: `"gzip"`},
		{name: "a coding after chunked", in: "^Transfer-Encoding: chunked, gzip\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: "after chunked"},
		{name: "a coding after chunked on the next line", in: "^Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: "after chunked"},
		{name: "chunked twice", in: "^Transfer-Encoding: chunked, chunked\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: "once"},
		{name: "chunked with a parameter", in: "^Transfer-Encoding: chunked;a=b\r\n\r\n" + chunkedHello, kind: h1.Malformed},
		{name: "identity alone", in: "^Transfer-Encoding: identity\r\n\r\nhello", end: fin, kind: h1.Malformed},
		{name: "an unknown coding", in: "^Transfer-Encoding: xchunked\r\n\r\nhello", end: fin, kind: h1.Malformed},
		{name: "an empty coding", in: "^Transfer-Encoding:\r\n\r\nhello", end: fin, kind: h1.Malformed, what: "without a coding"},
		{name: "chunked behind a vertical tab", in: "^Transfer-Encoding: \vchunked\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: "control"},
		{name: "chunked before a NUL", in: "^Transfer-Encoding: chunked\x00\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: "control"},
		{name: "a coding in HTTP/1.0", in: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunkedHello, kind: h1.Malformed, what: "HTTP/1.0"},
		{name: "Connection cannot take chunked away", in: "^Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n" + chunkedHello, body: "hello"},
		{name: "Connection cannot take the length away", in: "^Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", body: "hello", absent: "content-length"},

		// Content-Length.
		{name: "exactly that many bytes", in: "^Content-Length: 5\r\n\r\nhelloHTTP", body: "hello", rest: "HTTP"},
		{name: "zero bytes", in: "^Content-Length: 0\r\n\r\n"},
		{name: "leading zeros are legal", in: "^Content-Length: 0000000000000000000000005\r\n\r\nhello", body: "hello"},
		{name: "the name in any case", in: "^cOnTeNt-LeNgTh: 5\r\n\r\nhello", body: "hello"},
		{
			name: "similar names mean nothing", in: "^Content-Length-X: 3\r\nContent_Length: 2\r\nX-Content-Length: 1\r\nContent-Length: 5\r\n\r\nhello",
			body: "hello",
		},
		{name: "equal lines are one value", in: "^Content-Length: 5\r\nX: y\r\nContent-Length: 05\r\n\r\nhello", body: "hello", fields: "Content-Length: 5\nX: y\n", absent: "05"},
		{name: "an equal list is one value", in: "^Content-Length: 5, 5\r\n\r\nhello", body: "hello", fields: "Content-Length: 5\n", absent: "5, 5"},
		{name: "different lines", in: "^Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", kind: h1.Malformed, what: "differs"},
		{name: "a different list", in: "^Content-Length: 5, 6\r\n\r\nhello!", kind: h1.Malformed, what: "differs"},
		{name: "a valid line then an empty one", in: "^Content-Length: 5\r\nContent-Length:\r\n\r\nhello", kind: h1.Malformed},
		{name: "a list that starts empty", in: "^Content-Length: ,5\r\n\r\nhello", kind: h1.Malformed},
		{name: "a list with an empty middle", in: "^Content-Length: 5,,5\r\n\r\nhello", kind: h1.Malformed},
		{name: "a list that ends empty", in: "^Content-Length: 5 ,\r\n\r\nhello", kind: h1.Malformed},
		{name: "a list of nothing", in: "^Content-Length: ,\r\n\r\nhello", kind: h1.Malformed},
		{name: "minus", in: "^Content-Length: -5\r\n\r\nhello", kind: h1.Malformed},
		{name: "plus", in: "^Content-Length: +5\r\n\r\nhello", kind: h1.Malformed},
		{name: "space inside", in: "^Content-Length: 1 0\r\n\r\nhello", kind: h1.Malformed},
		{name: "tab inside", in: "^Content-Length: 1\t0\r\n\r\nhello", kind: h1.Malformed},
		{name: "hexadecimal", in: "^Content-Length: 0x5\r\n\r\nhello", kind: h1.Malformed},
		{name: "exponent", in: "^Content-Length: 5e0\r\n\r\nhello", kind: h1.Malformed},
		{name: "underscore", in: "^Content-Length: 0_5\r\n\r\nhello", kind: h1.Malformed},
		{name: "fraction", in: "^Content-Length: 5.0\r\n\r\nhello", kind: h1.Malformed},
		{name: "letters", in: "^Content-Length: abc\r\n\r\nhello", kind: h1.Malformed},
		{name: "fullwidth digit", in: "^Content-Length: \uff15\r\n\r\nhello", kind: h1.Malformed},
		{name: "2 to the 64 plus 5 is not 5", in: "^Content-Length: 18446744073709551621\r\n\r\nhello", kind: h1.Malformed},
		{name: "2 to the 63", in: "^Content-Length: 9223372036854775808\r\n\r\nhello", kind: h1.Malformed},
		{name: "2 to the 63 minus 1 is a length", in: "^Content-Length: 9223372036854775807\r\n\r\nhello", end: fin, kind: h1.Truncated, what: "9223372036854775802 of 9223372036854775807"},

		// Ends of the connection.
		{name: "a short body", in: "^Content-Length: 5\r\n\r\nhell", end: fin, kind: h1.Truncated, what: "1 of 5"},
		{name: "a short body then RST", in: "^Content-Length: 5\r\n\r\nhell", end: reset, kind: h1.Truncated},
		{name: "a complete body then RST", in: "^Content-Length: 5\r\n\r\nhello", end: reset, body: "hello", persist: h1.CloseByPeer},
		{name: "no framing lasts until FIN", in: "^\r\nhello", end: fin, body: "hello", persist: h1.CloseDelimited},
		{name: "no framing and keep-alive lasts until FIN", in: "^Connection: keep-alive\r\n\r\nhello", end: fin, body: "hello", persist: h1.CloseDelimited},
		{name: "no framing and no body", in: "^\r\n", end: fin, persist: h1.CloseDelimited},
		{name: "no framing and still open", in: "^\r\nhello", waits: true},
		{name: "no framing then RST", in: "^\r\nhello", end: reset, kind: h1.Truncated, what: "cut short"},
		{name: "no framing and RST before the body", in: "^\r\n", end: reset, kind: h1.Truncated},
		{name: "what looks like a response in a close-delimited body is body", in: "^\r\nHTTP/1.1 200 OK\r\n\r\n", end: fin, body: "HTTP/1.1 200 OK\r\n\r\n", persist: h1.CloseDelimited},
		{name: "what looks like chunks in a close-delimited body is body", in: "^\r\n0\r\n\r\n", end: fin, body: "0\r\n\r\n", persist: h1.CloseDelimited},
		{name: "nothing at all then FIN", end: fin, kind: h1.Closed},
		{name: "nothing at all then RST", end: reset, kind: h1.Closed},
		{name: "FIN in the version", in: "HTTP/1", end: fin, kind: h1.Truncated, what: "inside the head"},
		{name: "FIN in a field", in: "^X-A: v", end: fin, kind: h1.Truncated},
		{name: "FIN before the last LF of the head", in: "^Content-Length: 0\r\n\r", end: fin, kind: h1.Truncated},
	})
}

func TestTheOffsetOfAnErrorIsTheByteOnTheWire(t *testing.T) {
	interim := "HTTP/1.1 100 Continue\r\n\r\n"
	head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct {
		before, after string
	}{
		{interim + "HTTP/1.1 200 OK\r\nX-A", " : v\r\n\r\n"},
		{interim + head + "5\r\nhello", "!\r\n"},
		{interim + head + "5\r\nhello\r\n", "g\r\n"},
		{interim + head + "0\r\nX-A: 1\r\nX-B: a", "\x00b\r\n\r\n"},
		{interim + "HTTP/1.1 200 OK\r\nContent-Length: ", "5x\r\n\r\n"},
		{"", "\r\nHTTP/1.1 200 OK\r\n\r\n"},
	} {
		o := play(t, h1.ResponseTo{Method: "GET"}, open, c.before+c.after)
		if o.Kind != h1.Malformed || o.Offset != int64(len(c.before)) {
			t.Errorf("%q: %v at byte %d, want malformed at %d (%s)", c.before+c.after, o.Kind, o.Offset, len(c.before), o.What)
		}
		comparePlays(t, o, play(t, h1.ResponseTo{Method: "GET"}, open, bytewise(c.before+c.after)...))
	}
}

func TestBodyBytesCanBeReadPastTheParser(t *testing.T) {
	var p h1.Parser
	p.Start(h1.ResponseTo{Method: "GET"})
	if left, exact := p.Remaining(); left != 0 || exact {
		t.Fatalf("before the head: %d, %v", left, exact)
	}
	in := []byte("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
	if n, event, err := p.Parse(in); n != len(in) || event != h1.HeadDone || err != nil {
		t.Fatal(n, event, err)
	}
	p.Skip(0)
	p.Skip(999)
	if left, exact := p.Remaining(); left != 1 || !exact {
		t.Fatalf("Remaining %d, %v, want 1, true", left, exact)
	}
	if _, err := p.EOF(true); err == nil || !strings.Contains(err.Error(), "byte 1040") {
		t.Fatalf("error %v, want one at byte 1040", err)
	}

	p.Start(h1.ResponseTo{Method: "GET"})
	in = []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nx")
	n, event, err := p.Parse(in)
	if event != h1.HeadDone || err != nil {
		t.Fatal(n, event, err)
	}
	if n, event, err = p.Parse(in[n:]); n != 5 || event != h1.Body || err != nil {
		t.Fatal(n, event, err)
	}
	if left, exact := p.Remaining(); left != 254 || exact {
		t.Fatalf("Remaining %d, %v, want 254, false", left, exact)
	}
	p.Skip(254)
	if n, event, err = p.Parse([]byte("\r\n0\r\n\r\n")); n != 7 || event != h1.End || err != nil || p.Persist() != h1.Keep {
		t.Fatal(n, event, err, p.Persist())
	}
	if left, exact := p.Remaining(); left != 0 || !exact {
		t.Fatalf("after the end: %d, %v", left, exact)
	}
	defer func() {
		if recover() == nil {
			t.Error("Skip past the end of the body did not panic")
		}
	}()
	p.Skip(1)
}

func TestEOFNeedsNoFurtherParseOfACompleteResponse(t *testing.T) {
	for _, c := range []struct {
		method, in string
	}{
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n"},
	} {
		var p h1.Parser
		p.Start(h1.ResponseTo{Method: c.method})
		if n, event, err := p.Parse([]byte(c.in)); n != len(c.in) || event != h1.HeadDone || err != nil {
			t.Fatal(n, event, err)
		}
		if event, err := p.EOF(false); event != h1.End || err != nil {
			t.Errorf("%s %q: EOF %v, %v", c.method, c.in, event, err)
		}
		if p.Persist() != h1.CloseByPeer {
			t.Errorf("%s %q: %v after the end of the connection", c.method, c.in, p.Persist())
		}
	}
}

func TestAFailureIsFinal(t *testing.T) {
	var p h1.Parser
	p.Start(h1.ResponseTo{Method: "GET"})
	_, _, first := p.Parse([]byte("x"))
	if first == nil {
		t.Fatal("garbage passed")
	}
	if _, err := p.EOF(true); err != first {
		t.Errorf("EOF returned %v after %v", err, first)
	}
	if n, event, err := p.Parse([]byte("HTTP/1.1 204 N\r\n\r\n")); n != 0 || event != h1.More || err != first {
		t.Errorf("Parse returned %d, %v, %v after %v", n, event, err, first)
	}
	if !p.Started() || p.Persist() != h1.Unfinished {
		t.Error("Started", p.Started(), "Persist", p.Persist())
	}
}

func TestStartedCountsBytesThatAreNotConsumedYet(t *testing.T) {
	var p h1.Parser
	p.Start(h1.ResponseTo{Method: "GET"})
	if n, event, err := p.Parse(nil); n != 0 || event != h1.More || err != nil || p.Started() {
		t.Fatal(n, event, err, p.Started())
	}
	if n, event, err := p.Parse([]byte("H")); n != 0 || event != h1.More || err != nil || !p.Started() {
		t.Fatal(n, event, err, p.Started())
	}
}

func TestAnUnstartedParserPanics(t *testing.T) {
	for name, use := range map[string]func(p *h1.Parser){
		"Parse": func(p *h1.Parser) { p.Parse(nil) },
		"EOF":   func(p *h1.Parser) { p.EOF(true) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s before Start did not panic", name)
				}
			}()
			use(new(h1.Parser))
		}()
	}
}
