package h1_test

import (
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

func TestChunkedBodies(t *testing.T) {
	const head = "^Transfer-Encoding: chunked\r\n\r\n"
	malformed := func(name, body, what string) responseCase {
		return responseCase{name: name, in: head + body, kind: h1.Malformed, what: what}
	}
	runResponseCases(t, []responseCase{
		{name: "several chunks", in: head + "3\r\nhel\r\n2\r\nlo\r\n6\r\n world\r\n0\r\n\r\n", body: "hello world"},
		{name: "nothing but the last chunk", in: head + "0\r\n\r\n"},
		{name: "lower and upper case sizes", in: head + "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", body: "01234567890123456789a"},
		{name: "leading zeros", in: head + "0000000000000000000005\r\nhello\r\n000\r\n\r\n", body: "hello"},
		{name: "data that looks like chunks", in: head + "5\r\n0\r\n\r\n\r\n0\r\n\r\n", body: "0\r\n\r\n"},
		{name: "bytes behind the end are left over", in: head + "0\r\n\r\nHTTP/1.1", rest: "HTTP/1.1"},
		{name: "extensions are ignored", in: head + "5;9;a=b;c=\"d;\\\"\te\"\r\nhello\r\n0;5\r\n\r\n", body: "hello"},
		{name: "an empty extension", in: head + "5;\r\nhello\r\n0;\r\n\r\n", body: "hello"},
		{name: "whitespace around extensions", in: head + "5 ; a = b\t\r\nhello\r\n0\r\n\r\n", body: "hello"},
		{name: "whitespace behind a size", in: head + "5 \t\r\nhello\r\n0 \r\n\r\n", body: "hello"},
		{name: "obs-text in an extension", in: head + "5;\xff\r\nhello\r\n0\r\n\r\n", body: "hello"},
		{name: "chunked with close", in: "^Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", body: "hello", persist: h1.CloseByPeer},

		malformed("plus", "+5\r\nhello\r\n0\r\n\r\n", "starts with"),
		malformed("minus", "-5\r\nhello\r\n0\r\n\r\n", "starts with"),
		malformed("0x", "0x5\r\nhello\r\n0\r\n\r\n", "behind a chunk size"),
		malformed("whitespace before the size", " 5\r\nhello\r\n0\r\n\r\n", "starts with"),
		malformed("whitespace inside the size", "1 0\r\n0123456789abcdef\r\n0\r\n\r\n", "behind a chunk size"),
		malformed("no size", "\r\nhello\r\n0\r\n\r\n", "starts with"),
		malformed("an extension without a size", ";a=b\r\nhello\r\n0\r\n\r\n", "starts with"),
		malformed("a letter beyond f", "5g\r\nhello\r\n0\r\n\r\n", ""),
		malformed("vertical tab", "5\v\r\nhello\r\n0\r\n\r\n", ""),
		malformed("bare LF behind a size", "5\nhello\r\n0\r\n\r\n", ""),
		malformed("bare LF behind an extension", "5;a\nhello\r\n0\r\n\r\n", ""),
		malformed("bare LF behind the last size", "5\r\nhello\r\n0\n\r\n", ""),
		malformed("CR CR LF", "5\r\r\nhello\r\n0\r\n\r\n", "CR"),
		malformed("bare CR", "5\rhello\r\n0\r\n\r\n", "CR"),
		malformed("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", "CR"),
		malformed("line end inside quotes", "5;a=\"\r\nhello\r\n0\r\n\r\n", "quotes"),
		malformed("line end behind an escaped quote", "5;a=\"\\\"\r\nhello\r\n0\r\n\r\n", "quotes"),
		malformed("NUL in an extension", "5;a\x00\r\nhello\r\n0\r\n\r\n", ""),
		malformed("no CRLF behind the data", "5\r\nhello0\r\n\r\n", "behind the data"),
		malformed("bare LF behind the data", "5\r\nhello\n0\r\n\r\n", "behind the data"),
		malformed("bare CR behind the data", "5\r\nhello\r0\r\n\r\n", "behind the data"),
		malformed("longer data", "5\r\nhello!\r\n0\r\n\r\n", "behind the data"),
		malformed("an extra CRLF behind the data", "5\r\nhello\r\n\r\n0\r\n\r\n", "starts with"),
		malformed("a body that is not chunked", "hello", "starts with"),
		malformed("2 to the 64 plus 5 is not 5", "10000000000000005\r\nhello\r\n0\r\n\r\n", "above"),
		malformed("2 to the 63", "8000000000000000\r\nhello\r\n0\r\n\r\n", "above"),

		{name: "2 to the 63 minus 1 is a size", in: head + "7fffffffffffffff\r\nhello", end: fin, kind: h1.Truncated},
		{name: "FIN in a size", in: head + "5", end: fin, kind: h1.Truncated},
		{name: "FIN behind the CR of a size", in: head + "5\r", end: fin, kind: h1.Truncated},
		{name: "FIN before data", in: head + "5\r\n", end: fin, kind: h1.Truncated, what: "5 bytes of a chunk"},
		{name: "FIN in data", in: head + "5\r\nhe", end: fin, kind: h1.Truncated, what: "3 bytes of a chunk"},
		{name: "FIN behind data", in: head + "5\r\nhello", end: fin, kind: h1.Truncated},
		{name: "FIN between chunks", in: head + "5\r\nhello\r\n", end: fin, kind: h1.Truncated, what: "before the last chunk"},
		{name: "FIN behind the last size", in: head + "0\r\n", end: fin, kind: h1.Truncated, what: "trailer"},
		{name: "FIN in a trailer", in: head + "0\r\nX-T: 1\r\n", end: fin, kind: h1.Truncated, what: "trailer"},
		{name: "RST behind a complete body", in: head + "5\r\nhello\r\n0\r\n\r\n", end: reset, body: "hello", persist: h1.CloseByPeer},
	})
}

func TestTrailers(t *testing.T) {
	const head = "^Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
	runResponseCases(t, []responseCase{
		{name: "in order and with duplicates", in: head + "X-A: 1\r\nX-B: \t 2 \r\nx-a: 3\r\n\r\n", body: "hello", trailer: "X-A: 1\nX-B: 2\nx-a: 3\n"},
		{name: "apart from the head", in: head + "X-A: 1\r\n\r\n", body: "hello", trailer: "X-A: 1\n", fields: ""},
		{
			name: "without effect on framing or connection",
			in:   head + "Content-Length: 3\r\nTransfer-Encoding: gzip\r\nConnection: close\r\nHost: x\r\nX: y\r\n\r\n", body: "hello", trailer: "X: y\n",
		},
		{
			name: "without those that the head's Connection nominates",
			in:   "^Connection: X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Hop: 1\r\nX: y\r\n\r\n", trailer: "X: y\n",
		},
		{name: "unfolded", in: head + "X-A: a\r\n b\r\n\r\n", body: "hello", trailer: "X-A: a b\n"},
		{name: "a line that is no field", in: head + "HTTP/1.1 500 X\r\n\r\n", kind: h1.Malformed},
		{name: "whitespace before the colon", in: head + "X-A : v\r\n\r\n", kind: h1.Malformed},
		{name: "whitespace before the first", in: head + " X-A: v\r\n\r\n", kind: h1.Malformed},
		{name: "bare LF", in: head + "X-A: v\n\r\n", kind: h1.Malformed},
		{name: "bare LF as the end", in: head + "\n", kind: h1.Malformed},
		{name: "NUL", in: head + "X-A: \x00\r\n\r\n", kind: h1.Malformed},
	})
}

func TestLimits(t *testing.T) {
	const chunked = "^Transfer-Encoding: chunked\r\n\r\n"
	small := h1.ResponseTo{Limits: h1.Limits{HeadBytes: 64, Fields: 3, ChunkLineBytes: 8, TrailerBytes: 16}}
	interim := "HTTP/1.1 103 Early Hints\r\n\r\n" // 28 bytes
	fit := "HTTP/1.1 200 OK\r\nX: \r\nContent-Length: 0\r\n\r\n"
	fit = strings.Replace(fit, "X: ", "X: "+strings.Repeat("v", 64-len(fit)), 1)
	over := strings.Replace(fit, "X: ", "X: v", 1)
	runResponseCases(t, []responseCase{
		{name: "a head of the limit", to: small, in: fit},
		{name: "a head one byte over", to: small, in: over, kind: h1.TooLarge, what: "64 bytes"},
		{name: "an endless reason", to: small, in: "HTTP/1.1 200 " + strings.Repeat("x", 100), kind: h1.TooLarge},
		{name: "an endless field", to: small, in: "^X: " + strings.Repeat("x", 100), kind: h1.TooLarge},
		{name: "garbage is malformed before it is too large", to: small, in: strings.Repeat("x", 100), kind: h1.Malformed},
		{name: "interim heads that leave room", to: small, in: interim + "HTTP/1.1 204 N\r\n\r\n", status: 204},
		{name: "interim heads that leave no room", to: small, in: interim + interim + interim, kind: h1.TooLarge, what: "interim"},
		{name: "endless interim heads", in: strings.Repeat(interim, 4000), kind: h1.TooLarge, what: "65536 bytes"},
		{name: "fields of the limit", to: small, in: "^A: b\r\nA: b\r\nContent-Length: 0\r\n\r\n"},
		{name: "one field over", to: small, in: "^A: b\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", kind: h1.TooLarge, what: "3 fields"},
		{name: "200 fields by default", in: "^" + strings.Repeat("A: b\r\n", 199) + "Content-Length: 0\r\n\r\n"},
		{name: "201 fields by default", in: "^" + strings.Repeat("A: b\r\n", 201) + "\r\n", kind: h1.TooLarge},
		{name: "a chunk line of the limit", to: small, in: chunked + "5;abcd\r\nhello\r\n0\r\n\r\n", body: "hello"},
		{name: "a chunk line one byte over", to: small, in: chunked + "5;abcde\r\nhello\r\n0\r\n\r\n", kind: h1.TooLarge, what: "8 bytes"},
		{name: "endless zeros", in: chunked + strings.Repeat("0", 10000), kind: h1.TooLarge, what: "4096 bytes"},
		{name: "endless extension", in: chunked + "5;a=" + strings.Repeat("x", 10000), kind: h1.TooLarge},
		{name: "many one-byte chunks are fine", in: chunked + strings.Repeat("1\r\nx\r\n", 20000) + "0\r\n\r\n", body: strings.Repeat("x", 20000)},
		{name: "many one-byte chunks with long extensions", in: chunked + strings.Repeat("1;abcdefghijklmnopqrstuvwxyz=0123456789\r\nx\r\n", 3000) + "0\r\n\r\n", kind: h1.TooLarge, what: "far more"},
		{name: "a trailer section of the limit", to: small, in: chunked + "0\r\nX-T: 4567890\r\n\r\n", trailer: "X-T: 4567890\n"},
		{name: "a trailer section one byte over", to: small, in: chunked + "0\r\nX-T: 45678901\r\n\r\n", kind: h1.TooLarge, what: "trailer"},
		{name: "a CR alone where the empty line would be", in: chunked + "0\r\n\rX", kind: h1.Malformed, what: "empty line"},
		{name: "a CR that is twice there", in: chunked + "0\r\n\r\r\n", kind: h1.Malformed, what: "empty line"},
		{name: "a CR that may yet be the empty line's", in: chunked + "0\r\n\r", waits: true},
		{name: "endless trailers", in: chunked + "0\r\n" + strings.Repeat("X-A: v\r\n", 10000), kind: h1.TooLarge},
		{name: "65 connection options", in: "^Connection: " + strings.Repeat("a,", 65) + "\r\n\r\n", kind: h1.TooLarge, what: "64 connection options"},
	})
}
