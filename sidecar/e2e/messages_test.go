package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

var messageFeatures = []feature{
	{name: "HEAD is answered with the length and without a body", test: func(u target) {
		whole := u.get(200, "/bytes/4321?seed=1")
		for range 2 { // the second one shows that the first left nothing behind
			response := u.expect(200, u.request("HEAD", "/bytes/4321?seed=1"))
			if len(response.GetBody()) != 0 {
				u.Errorf("a body of %d bytes", len(response.GetBody()))
			}
			expectField(u.T, response, "Content-Length", fmt.Sprint(len(whole.GetBody())))
		}
	}},
	{name: "204 has no body", test: func(u target) {
		for range 2 {
			if body := u.get(204, "/status/204").GetBody(); len(body) != 0 {
				u.Errorf("body %q", body)
			}
		}
	}},
	{name: "304 carries the ETag and no body", test: func(u target) {
		for range 2 {
			response := u.get(304, "/etag/abc", header("If-None-Match", `"abc"`))
			expectField(u.T, response, "ETag", `"abc"`)
			if len(response.GetBody()) != 0 {
				u.Errorf("body %q", response.GetBody())
			}
		}
	}},
	{name: "nginx answers a file that has not changed with 304", nginx: true, test: func(u target) {
		tag := valuesOf(u.get(200, "/nginx/files/text").GetHeaders(), "ETag")
		if len(tag) != 1 {
			u.Fatalf("ETag %q", tag)
		}
		expectField(u.T, u.get(304, "/nginx/files/text", header("If-None-Match", tag[0])), "ETag", tag[0])
	}},
	{name: "a redirect is passed through, not followed", test: func(u target) {
		response := u.get(302, "/redirect-to?url=http%3A%2F%2Felsewhere.example%2F")
		expectField(u.T, response, "Location", "http://elsewhere.example/")
	}},
	{name: "every status of the upstream is a response", test: func(u target) {
		for _, status := range []uint32{201, 400, 401, 404, 418, 429, 500, 502, 503, 504} {
			u.get(status, fmt.Sprintf("/status/%d", status))
		}
	}},
	{name: "fields keep their order, their repetitions and their bytes", test: func(u target) {
		response := u.get(200, "/own/fields")
		var got []string
		for _, h := range response.GetHeaders() {
			switch name := strings.ToLower(h.GetName()); name {
			case "x-bee", "x-ant", "x-latin", "set-cookie":
				got = append(got, fmt.Sprintf("%s: %s%s", name, h.GetValue(), h.GetRawValue()))
			}
		}
		want := []string{
			"x-bee: one", "set-cookie: b=1; Path=/; HttpOnly", "x-ant: two",
			"set-cookie: a=2; Expires=Wed, 21 Oct 2099 07:28:00 GMT", "x-bee: three", "set-cookie: c=", "x-latin: caf\xe9",
		}
		if !slices.Equal(got, want) {
			u.Errorf("got  %q\nwant %q", got, want)
		}
	}},
	{name: "a value that is not UTF-8 goes out and comes back as bytes", test: func(u target) {
		response := u.get(200, "/own/reflect?field=X-Latin&field=X-Greek", header("X-Greek", "αβγ"),
			&warmpoolv1.Header{Name: "X-Latin", RawValue: []byte("caf\xe9")})
		if got, want := string(response.GetBody()), fmt.Sprintf("X-Latin %x\nX-Greek %x\n", "caf\xe9", "αβγ"); got != want {
			u.Errorf("the upstream got %q, want %q", got, want)
		}
		for _, h := range u.get(200, "/own/fields").GetHeaders() {
			if strings.EqualFold(h.GetName(), "X-Latin") && (h.GetValue() != "" || string(h.GetRawValue()) != "caf\xe9") {
				u.Errorf("X-Latin came as value %q, raw_value %q", h.GetValue(), h.GetRawValue())
			}
		}
	}},
	{name: "repeated request fields and cookies arrive", test: func(u target) {
		response := u.get(200, "/own/reflect?field=X-Twice&field=Cookie",
			header("X-Twice", "b"), header("Cookie", "one=1; two=2"), header("X-Twice", "a"))
		if got, want := string(response.GetBody()), fmt.Sprintf("X-Twice %x\nX-Twice %x\nCookie %x\n", "b", "a", "one=1; two=2"); got != want {
			u.Errorf("the upstream got %q, want %q", got, want)
		}
		body := string(u.get(200, "/cookies", header("Cookie", "one=1; two=2")).GetBody())
		if !strings.Contains(body, `"one": "1"`) || !strings.Contains(body, `"two": "2"`) {
			u.Errorf("cookies as httpbin saw them: %s", body)
		}
	}},
	{name: "fields of the connection do not cross", test: func(u target) {
		response := u.get(200, "/own/reflect?field=X-Named&field=Keep-Alive&field=Proxy-Connection&field=X-Stays",
			header("Connection", "X-Named"), header("X-Named", "1"), header("Keep-Alive", "timeout=9"), header("Proxy-Connection", "keep-alive"),
			header("X-Stays", "1"))
		if got, want := string(response.GetBody()), fmt.Sprintf("X-Stays %x\n", "1"); got != want {
			u.Errorf("the upstream got %q, want %q", got, want)
		}
		for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Proxy-Connection"} {
			if values := valuesOf(response.GetHeaders(), name); values != nil {
				u.Errorf("%s: %q came back", name, values)
			}
		}
	}},
	{name: "large heads pass both ways", test: func(u target) {
		value := strings.Repeat("q", 32<<10)
		response := u.get(200, "/own/reflect?field=X-Large", header("X-Large", value))
		if got := len(response.GetBody()); got != len("X-Large ")+2*len(value)+1 {
			u.Errorf("the upstream got %d bytes", (got-9)/2)
		}
		response = u.get(200, fmt.Sprintf("/own/large-head?n=%d", 40<<10))
		for i := range 40 {
			expectField(u.T, response, fmt.Sprintf("X-Large-%04d", i), strings.Repeat("v", 1024))
		}
	}},
	{name: "a head over the limit is a failure, and the next request is answered", test: func(u target) {
		_, err := u.Send(u.Context(), u.request("GET", fmt.Sprintf("/own/large-head?n=%d", 65<<10)))
		expectFailure(u.T, err, codes.ResourceExhausted, warmpoolv1.Reason_REASON_RESPONSE_TOO_LARGE, warmpoolv1.Delivery_DELIVERY_RESPONDED, "65536")
		u.get(200, "/get")
	}},
	{name: "trailers come apart from the headers", test: func(u target) {
		path := "/trailers?X-Trailer=after%20the%20body"
		if u.upstream.nginx {
			path = "/nginx/files/with-trailer" // its proxy drops those of the app
		}
		response := u.get(200, path, header("TE", "trailers"), header("Accept-Encoding", "gzip"))
		if got := valuesOf(response.GetTrailers(), "X-Trailer"); !slices.Equal(got, []string{"after the body"}) {
			u.Errorf("trailers %v, headers %v", response.GetTrailers(), response.GetHeaders())
		}
		if got := valuesOf(response.GetHeaders(), "X-Trailer"); got != nil {
			u.Errorf("X-Trailer: %q is among the headers", got)
		}
	}},
	{name: "a receipt shows that the connection is used again", test: func(u target) {
		ask := func() *warmpoolv1.HttpResponse {
			r := u.request("GET", "/get")
			r.Options = &warmpoolv1.RequestOptions{Receipt: true}
			return u.expect(200, r)
		}
		again := func(a, b *warmpoolv1.Receipt) bool {
			return b.GetReused() && a.GetConnectionId() == b.GetConnectionId() && b.GetAttempts() == 1
		}
		first, second := ask(), ask()
		for range 20 { // the other clients use the same pool, and may take the connection in between
			if again(first.GetReceipt(), second.GetReceipt()) {
				break
			}
			first, second = second, ask()
		}
		if !again(first.GetReceipt(), second.GetReceipt()) {
			u.Errorf("receipts %v, then %v", first.GetReceipt(), second.GetReceipt())
		}
		if u.upstream.name != "nginx" && u.upstream.name != "nginx-tls" {
			return
		}
		a, b := valuesOf(first.GetHeaders(), "X-Connection"), valuesOf(second.GetHeaders(), "X-Connection")
		if len(a) != 1 || !slices.Equal(a, b) {
			u.Errorf("nginx saw connection %q, then %q", a, b)
		}
	}},
}

// valuesOf lists the values of the fields of that name.
func valuesOf(headers []*warmpoolv1.Header, name string) []string {
	var values []string
	for _, h := range headers {
		if strings.EqualFold(h.GetName(), name) {
			values = append(values, h.GetValue())
		}
	}
	return values
}

// expectField wants exactly one field of that name, with that value.
func expectField(t *testing.T, r *warmpoolv1.HttpResponse, name, value string) {
	t.Helper()
	if got := valuesOf(r.GetHeaders(), name); !slices.Equal(got, []string{value}) {
		t.Errorf("%s: %.80q, want %.80q", name, got, value)
	}
}

// expectFailure wants an error with code, reason and delivery, whose text has all of the words, and the same reason in its
// ErrorInfo.
func expectFailure(t *testing.T, err error, code codes.Code, why warmpoolv1.Reason, delivery warmpoolv1.Delivery, words ...string) *warmpoolv1.Failure {
	t.Helper()
	f := failureIn(err)
	if f == nil {
		t.Fatalf("%v has no Failure, want %v", err, why)
	}
	if codes.Code(f.GetCode()) != code || f.GetReason() != why || f.GetDelivery() != delivery {
		t.Errorf("%v, %v, %v, want %v, %v, %v\n%v", codes.Code(f.GetCode()), f.GetReason(), f.GetDelivery(), code, why, delivery, err)
	}
	for _, word := range words {
		if !strings.Contains(f.GetMessage(), word) {
			t.Errorf("the message lacks %q: %s", word, f.GetMessage())
		}
	}
	if info := errorInfoIn(err); info.GetDomain() != "warmpool" || info.GetReason() != why.String() {
		t.Errorf("ErrorInfo %v, want domain warmpool, reason %v", info, why)
	}
	return f
}
