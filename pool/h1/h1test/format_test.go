package h1test_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// oneCase wraps the keys given in a case that is otherwise complete.
func oneCase(t *testing.T, keys string) h1test.Case {
	t.Helper()
	cases, err := h1test.Parse([]byte(caseText(keys)))
	if err != nil {
		t.Fatal(err)
	}
	return cases[0]
}

func caseText(keys string) string {
	text := `[{"name": "the-case", "group": "g", ` + keys
	for key, value := range map[string]string{
		"strictness": `"must"`,
		"request":    `{"method": "GET", "path": "/"}`,
		"expect":     `{"outcome": "response", "status": 200, "body": "ok"}`,
	} {
		if !strings.Contains(keys, `"`+key+`":`) {
			text += `, "` + key + `": ` + value
		}
	}
	return text + "}]"
}

const answerOK = `{"send": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}`

func TestABadCaseIsRefusedByNameWithWhatIsAllowed(t *testing.T) {
	for _, test := range []struct{ keys, want string }{
		{`"script": [], "scirpt": []`, `unknown field "scirpt"`},
		{`"script": [{"expect_request": true, "pth": "/"}]`, `unknown field "pth"`},
		{`"script": [], "client": {"max_cons": 1}`, `unknown field "max_cons"`},
		{`"script": [], "request": {"method": "GET", "path": "/", "bdy": ""}`, `unknown field "bdy"`},
		{`"script": [], "expect": {"outcome": "response", "sttus": 200}`, `unknown field "sttus"`},
		{`"script": [{"send": "x", "wait_ms": 1}]`, "script[0]: verbs [send wait_ms]: exactly one is allowed"},
		{`"script": [{}]`, "script[0]: verbs []: exactly one is allowed"},
		{`"script": [{"send": "\u0100"}]`, "code point U+0100 is not a byte"},
		{`"script": [{"send_hex": "0g"}]`, "send_hex"},
		{`"script": [{"close": "bye"}]`, "fin, rst or tls_notify is allowed"},
		{`"script": [{"close": "tls_notify"}]`, "only with transport tls"},
		{`"script": [{"send": "x", "gap_ms": 1}]`, "only with send_split"},
		{`"script": [{"send": "x", "no_read": true}]`, "only with wait_ms"},
		{`"script": [{"send": "x", "optional": true}]`, "optional: not with send"},
		{`"script": [{"expect_request": true, "optional": "rest"}]`, `true, false or "step" is allowed`},
		{`"script": [{"expect_request": true, "on": "all"}]`, "only any"},
		{`"script": [{"send": "x", "conn": -1}]`, `a number from 0 or "all" is allowed`},
		{`"script": [{"send": "x", "path": "/"}]`, "checks on a request: not with send"},
		{`"script": [], "strictness": "may"`, "must, should or either is allowed"},
		{`"script": [], "transport": "quic"`, "tcp or tls is allowed"},
		{`"script": [], "warmup": 2`, "0 to max_conns (1) is allowed"},
		{`"script": [], "more": [{"start": "before"}]`, "after or pipelined is allowed"},
		{`"script": [], "expect": {"outcome": "error", "error": "broken"}`, "closed, truncated, malformed, too_large or timeout is allowed"},
		{`"script": [], "expect": {"outcome": "maybe"}`, "response or error is allowed"},
		{`"script": [], "accept": [{"outcome": "response", "headers": {"x": 1}}]`, "a string, a list of strings or null is allowed"},
	} {
		path := filepath.Join(t.TempDir(), "cases.json")
		if err := os.WriteFile(path, []byte(caseText(test.keys)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := h1test.Load(path)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "case the-case: ") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v; want %q, the file and the case", test.keys, err, test.want)
		}
	}
}

func TestANameUsedTwiceIsRefused(t *testing.T) {
	one := strings.Trim(caseText(`"script": []`), "[]")
	if _, err := h1test.Parse([]byte("[" + one + "," + one + "]")); err == nil || !strings.Contains(err.Error(), "case the-case: the name is used twice") {
		t.Errorf("error %v", err)
	}
}

func TestTextIsLatin1(t *testing.T) {
	c := oneCase(t, `"request": {"method": "GET", "path": "/\u00e9\u00ff", "headers": [["X-A", "\u0080"]]}, "script": []`)
	if c.Request.Path != "/\xe9\xff" || c.Request.Headers[0][1] != "\x80" {
		t.Errorf("path %q, value %q", c.Request.Path, c.Request.Headers[0][1])
	}
}

// TestSteps plays one small case for every step and qualifier that the cases
// of the package use rarely or not at all.
func TestSteps(t *testing.T) {
	post := `"request": {"method": "POST", "path": "/p", "headers": [["X-A", "one, two"], ["X-B", "1"], ["X-B", "2"]], "body": "data"}`
	for _, test := range []struct {
		name, keys string
		verdict    h1test.Verdict
		reason     string
	}{
		{name: "send_hex and send_split are bytes", keys: `"script": [{"expect_request": true}, {"send_hex": "485454502f312e31 20323030204f4b0d0a"}, {"send_split": ["Content-Len", "gth: 2\r\n\r", "\nok"], "gap_ms": 1}]`},
		{name: "has finds values and elements", keys: post + `, "script": [{"expect_request": true, "method": "POST", "path": "/p", "body": "data", "has": {"x-a": "TWO", "x-b": "*", "content-length": "4"}, "count": {"x-b": 2, "x-c": 0}, "lacks": ["x-c"], "not_both": ["x-a", "x-c"]}, ` + answerOK + `]`},
		{name: "has misses a value", keys: post + `, "script": [{"expect_request": true, "has": {"x-a": "thr"}}, ` + answerOK + `]`, verdict: h1test.Fail, reason: `x-a is ["one, two"], required is "thr"`},
		{name: "lacks finds a field", keys: post + `, "script": [{"expect_request": true, "lacks": ["X-a"]}, ` + answerOK + `]`, verdict: h1test.Fail, reason: "it must not be there"},
		{name: "count finds one too few", keys: post + `, "script": [{"expect_request": true, "count": {"x-b": 3}}, ` + answerOK + `]`, verdict: h1test.Fail, reason: "x-b is there 2 times"},
		{name: "not_both finds both", keys: post + `, "script": [{"expect_request": true, "not_both": ["x-a", "x-b"]}, ` + answerOK + `]`, verdict: h1test.Fail, reason: "one must be missing"},
		{name: "body differs", keys: post + `, "script": [{"expect_request": true, "body": "date"}, ` + answerOK + `]`, verdict: h1test.Fail, reason: `body "data", required is "date"`},
		{name: "method differs", keys: post + `, "script": [{"expect_request": true, "method": "PUT"}, ` + answerOK + `]`, verdict: h1test.Fail, reason: `unexpected request "POST" "/p"`},
		{name: "expect_body reads the rest", keys: post + `, "script": [{"expect_request_head": true}, {"expect_body": true, "body": "data"}, ` + answerOK + `]`},
		{name: "expect_body differs", keys: post + `, "script": [{"expect_request_head": true}, {"expect_body": true, "body": "dat"}, ` + answerOK + `]`, verdict: h1test.Fail, reason: `body "data", required is "dat"`},
		{name: "expect_body_or_close takes a body", keys: post + `, "script": [{"expect_request_head": true}, {"expect_body_or_close": true}, ` + answerOK + `]`},
		{name: "expect_closed in vain", keys: `"script": [{"expect_request": true}, ` + answerOK + `, {"expect_closed_ms": 50}]`, verdict: h1test.Fail, reason: "the client does not close"},
		{name: "optional step is skipped", keys: `"script": [{"expect_request": true}, {"accept_new": true, "optional": "step"}, ` + answerOK + `], "expect": {"outcome": "response", "status": 200, "reusable": true, "retried": false}`},
		{name: "optional skips the rest", keys: `"script": [{"expect_request": true}, ` + answerOK + `, {"accept_new": true, "optional": true}, {"send": "never"}]`},
		{name: "optional is not for a request that is wrong", keys: post + `, "script": [{"expect_request": true, "optional": true, "lacks": ["x-a"]}, ` + answerOK + `]`, verdict: h1test.Fail, reason: "it must not be there"},
		{name: "conn names a connection that is not there", keys: `"script": [{"expect_request": true}, ` + answerOK + `, {"send": "x", "conn": 3}]`, verdict: h1test.Fail, reason: "there is no connection 3; 1 were taken"},
		{name: "request on a connection by number", keys: `"warmup": 2, "client": {"max_conns": 2}, "script": [{"wait_ms": 1}, {"expect_request": true, "conn": 0}, {"send": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "conn": 0}]`},
		{name: "on any takes the other warm connection", keys: `"warmup": 2, "client": {"max_conns": 2}, "script": [{"close": "fin"}, {"expect_request": true, "on": "any"}, ` + answerOK + `], "start_delay_ms": 50, "expect": {"outcome": "response", "status": 200, "reusable": true, "retried": false}`},
		{name: "close all", keys: `"warmup": 2, "client": {"max_conns": 2}, "start_delay_ms": 50, "script": [{"close": "rst", "conn": "all"}, {"accept_new": true}, {"expect_request": true}, ` + answerOK + `]`},
		{name: "status differs", keys: `"script": [{"expect_request": true}, {"send": "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nok"}]`, verdict: h1test.Fail, reason: "status is 404, not 200"},
		{name: "should is a deviation", keys: `"strictness": "should", "script": [{"expect_request": true}, {"send": "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nok"}]`, verdict: h1test.Deviation, reason: "status is 404, not 200"},
		{name: "either needs one of the alternatives", keys: `"strictness": "either", "script": [{"expect_request": true}, {"send": "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nok"}]`, verdict: h1test.Fail, reason: "status is 404, not 200"},
		{name: "an alternative counts", keys: `"script": [{"expect_request": true}, {"send": "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nok"}], "accept": [{"outcome": "error", "error": "closed"}, {"outcome": "response", "status": 404}]`},
		{name: "body_len", keys: `"script": [{"expect_request": true}, ` + answerOK + `], "expect": {"outcome": "response", "body": null, "body_len": 3}`, verdict: h1test.Fail, reason: "body has 2 bytes, not 3"},
		{name: "headers in order or joined", keys: `"script": [{"expect_request": true}, {"send": "HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nX-B: 1, 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"}], "expect": {"outcome": "response", "headers": {"x-a": ["1", "2"], "x-b": ["1", "2"], "set-cookie": ["a", "b"], "x-c": null}}`},
		{name: "set-cookie is never joined", keys: `"script": [{"expect_request": true}, {"send": "HTTP/1.1 200 OK\r\nSet-Cookie: a, b\r\nContent-Length: 0\r\n\r\n"}], "expect": {"outcome": "response", "headers": {"set-cookie": ["a", "b"]}}`, verdict: h1test.Fail, reason: `header set-cookie is ["a, b"]`},
		{name: "trailer missing", keys: `"script": [{"expect_request": true}, ` + answerOK + `], "expect": {"outcome": "response", "trailers": {"x-sum": "1"}}`, verdict: h1test.Fail, reason: "trailer x-sum is []"},
		{name: "retried is not seen", keys: `"script": [{"expect_request": true}, ` + answerOK + `], "expect": {"outcome": "response", "retried": true}`, verdict: h1test.Fail, reason: "retried is false (seen 1 times for 1 calls)"},
		{name: "the request never comes", keys: `"request": {"method": "GET", "path": "/a b"}, "script": [{"expect_request": true}], "expect": {"outcome": "error", "error": "malformed"}`, verdict: h1test.Fail, reason: "all calls have ended"},
		{name: "a refused call needs no connection", keys: `"request": {"method": "GET", "path": "/a b"}, "script": [{"expect_request": true, "optional": true}], "expect": {"outcome": "error", "error": "malformed", "reusable": false, "retried": false}`},
		{name: "a call behind the script is not asked for", keys: `"request": {"method": "GET", "path": "/"}, "expect": {"outcome": "response", "status": 200}, "script": [{"expect_request": true}, ` + answerOK + `], "more": [{"start": "after", "delay_ms": 20, "request": {"method": "GET", "path": "/2"}, "expect": {"outcome": "response", "status": 500}}]`, verdict: h1test.Fail, reason: `unexpected request "GET" "/2"`},
		{name: "no_read holds a large body back", keys: `"strictness": "must", "request": {"method": "POST", "path": "/", "body_repeat": {"text": "ab", "count": 8388608}}, "script": [{"expect_request_head": true}, {"wait_ms": 100, "no_read": true}], "expect": {"outcome": "error", "error": "closed"}, "accept": [{"outcome": "error", "error": "timeout"}]`},
		{name: "body_repeat arrives whole", keys: `"request": {"method": "POST", "path": "/", "body_repeat": {"text": "ab", "count": 3}, "body_replayable": false}, "script": [{"expect_request": true, "body": "ababab"}, ` + answerOK + `]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := h1test.Play(t.Context(), oneCase(t, test.keys), newNaive(habits{}))
			if r.Verdict != test.verdict || !strings.Contains(strings.Join(r.Details, "\n"), test.reason) {
				t.Errorf("want %v %s; got %s", test.verdict, test.reason, r.Explain())
			}
		})
	}
}
