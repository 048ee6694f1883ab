package h1_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// stricter is what this package refuses and net/http may accept: a part of the error's
// text, and the rule.
var stricter = []struct{ what, rule string }{
	{"line ends in LF alone", "RFC 9112, 2.2: MAY; other recipients do not"},
	{"status line starts with", "RFC 9112, 2.3 and 4: HTTP/1.x, one SP, three digits from 100"},
	{"in reason phrase", "RFC 9112, 4: HTAB, SP, VCHAR, obs-text"},
	{"CR behind the status code", "RFC 9112, 2.2: no bare CR"},
	{"control character in", "RFC 9110, 5.5"},
	{"whitespace in or after a field name", "RFC 9112, 5.1"},
	{"field line without a name", "RFC 9112, 5"},
	{"in a field name", "RFC 9110, 5.1"},
	{"line folding in a field that decides", "RFC 9112, 5.2: MAY reject"},
	{"Transfer-Encoding without a coding", "RFC 9112, 5.2: it begins on a folded line"},
	{"Content-Length \"\";", "RFC 9112, 5.2: it begins on a folded line"},
	{"beside Transfer-Encoding", "RFC 9112, 6.3, rule 3: ought to be handled as an error"},
	{"beside Content-Length", "RFC 9112, 6.3, rule 3: ought to be handled as an error"},
	{"in an HTTP/1.0 response", "RFC 9112, 6.1: faulty framing"},
	{"although no upgrade was offered", "RFC 9110, 7.8"},
	{"in a chunk extension", "RFC 9112, 7.1.1: token or quoted-string"},
	{"more than 64 connection options", "a limit"},
	{"more than 200 fields", "a limit"},
	{"trailer section of more than", "a limit"},
	{"head of more than", "a limit"},
	{"heads of more than", "a limit"},
}

// laxer is what net/http refuses and this package accepts, by a part of net/http's
// error, with the rule, and what must be true of the input.
var laxer = []struct {
	what, rule string
	holds      func(o outcome) bool
}{
	{"Content-Length", "RFC 9110, 8.6: equal values, in a list, on several lines, as 05", func(o outcome) bool { return framed(o, "Content-Length") }},
	{"invalid byte in chunk length", "RFC 9112, 7.1.1: whitespace before the semicolon", func(o outcome) bool { return !bodiless(o) }},
	{"unsupported transfer encoding", "RFC 9110, 5.6.1.2: empty members of a list", func(o outcome) bool { return framed(o, "Transfer-Encoding") }},
	{"too many transfer encodings", "RFC 9110, 5.3: several lines are one list", func(o outcome) bool { return framed(o, "Transfer-Encoding") }},
	{"bad trailer key", "RFC 9110, 6.6.2: what Trailer announces is a hint", func(o outcome) bool { return strings.Contains(strings.ToLower(o.Raw), "trailer:") }},
	{"suspiciously long trailer", "a limit of net/http", func(o outcome) bool { return len(o.Trailers) > 0 }},
	{"http chunk length too large", "RFC 9112, 7.1: leading zeros", func(o outcome) bool { return !bodiless(o) }},
}

// bodiless reports that the fields do not say where the response ends.
func bodiless(o outcome) bool { return o.Status == 204 || o.Status == 304 || o.toHead }

// framed reports that a field of that name is there, with a value that net/http may
// refuse and this package has understood, or had no need to: RFC 9112, 6.3, rule 1.
func framed(o outcome, name string) bool {
	values := header(o.Raw)[name]
	return len(o.Interims) > 0 || len(values) > 1 || len(values) == 1 && (bodiless(o) || strings.Contains(values[0], ","))
}

// FuzzResponseAgainstNetHTTP holds this package against net/http. What both accept
// they have to read alike. What only one of them accepts has to be on a list, with
// the rule that says so.
func FuzzResponseAgainstNetHTTP(f *testing.F) {
	seedResponses(f, func(in string, bits byte) { f.Add([]byte(in), bits) })
	for _, c := range h1test.Cases() {
		var sent []byte
		for _, step := range c.Script {
			if step.Send != nil {
				sent = append(sent, *step.Send...)
			}
		}
		f.Add(sent, byte(max(0, slices.Index(methods[:], string(c.Request.Method)))))
	}
	f.Fuzz(func(t *testing.T, in []byte, bits byte) {
		to, _ := settings(bits &^ (64 | 8))
		ours := play(t, to, fin, string(in))
		ours.toHead = to.Method == "HEAD"
		if ours.Persist == h1.Tunnel {
			return
		}
		theirs, body, rest, err := readByNetHTTP(to.Method, in)
		switch {
		case ours.Kind != 0 && err != nil:
			return
		case ours.Kind != 0:
			for _, s := range stricter {
				if strings.Contains(ours.What, s.what) {
					return
				}
			}
			t.Fatalf("net/http reads %d, body %q, rest %q; refused as %v: %s", theirs.StatusCode, body, rest, ours.Kind, ours.What)
		case err != nil:
			for _, l := range laxer {
				if strings.Contains(err.Error(), l.what) && l.holds(ours) {
					return
				}
			}
			t.Fatalf("net/http refuses: %v; read %d, body %q, rest %q", err, ours.Status, ours.Body, ours.Rest)
		}
		if ours.Status != theirs.StatusCode || ours.Body != body {
			t.Fatalf("status %d, body %q; net/http: %d, %q", ours.Status, ours.Body, theirs.StatusCode, body)
		}
		if ours.Rest != rest {
			t.Fatalf("rest %q; net/http: %q", ours.Rest, rest)
		}
		if theirs.Close && ours.Persist == h1.Keep {
			t.Fatal("kept, where net/http closes")
		}
		// net/http forgets a Connection field that says close.
		connection := header(ours.Raw)["Connection"]
		compareHeaders(t, header(ours.Fields), theirs.Header, connection)
		compareHeaders(t, header(ours.Trailers), theirs.Trailer, connection)
	})
}

// readByNetHTTP reads the final response to a request, all of its body, and what is
// left of the input.
func readByNetHTTP(method string, in []byte) (response *http.Response, body, rest string, err error) {
	reader := bufio.NewReader(bytes.NewReader(in))
	request := &http.Request{Method: method}
	response, err = http.ReadResponse(reader, request)
	for err == nil && response.StatusCode < 200 {
		response, err = http.ReadResponse(reader, request)
	}
	if err != nil {
		return nil, "", "", err
	}
	read, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, "", "", err
	}
	left, err := io.ReadAll(reader)
	return response, string(read), string(left), err
}

// header makes a canonical http.Header of "name: value" lines.
func header(text string) http.Header {
	h := http.Header{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		h[textproto.CanonicalMIMEHeaderKey(name)] = append(h[textproto.CanonicalMIMEHeaderKey(name)], value)
	}
	return h
}

// compareHeaders compares the fields that net/http leaves as they were sent and that
// are neither about the connection nor nominated by it.
func compareHeaders(t *testing.T, ours, theirs http.Header, connection []string) {
	t.Helper()
	skip := map[string]bool{
		"Content-Length": true, "Transfer-Encoding": true, "Trailer": true, "Cache-Control": true, "Pragma": true, "Host": true,
		"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Upgrade": true,
	}
	for _, value := range connection {
		for option := range strings.SplitSeq(value, ",") {
			skip[textproto.CanonicalMIMEHeaderKey(strings.Trim(option, " \t"))] = true
		}
	}
	left, right := http.Header{}, http.Header{}
	for from, to := range map[*http.Header]http.Header{&ours: left, &theirs: right} {
		for name, values := range *from {
			// Trailers that were announced and did not come are there without a value.
			if skip[name] || len(values) == 0 {
				continue
			}
			// net/http makes one space of a folded line even when it is blank.
			for _, value := range values {
				blank := func(r rune) bool { return r == ' ' || r == '\t' }
				to[name] = append(to[name], strings.Join(strings.FieldsFunc(value, blank), " "))
			}
		}
	}
	if !reflect.DeepEqual(left, right) {
		t.Fatalf("fields %q; net/http: %q", left, right)
	}
}
