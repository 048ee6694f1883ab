package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// bodyLimit is the default of limits.buffered_body_bytes.
const bodyLimit = 4 << 20

var bodyFeatures = []feature{
	{name: "bodies of any size up to the limit come back byte for byte", test: func(u target) {
		for _, size := range []int{0, 1, 16 << 10, 1 << 20, bodyLimit} {
			for _, query := range []string{"", "?chunked=1"} {
				r := u.request("POST", "/own/echo"+query)
				r.Body = pattern(size)
				sameBody(u.T, u.expect(200, r).GetBody(), r.GetBody())
			}
		}
	}},
	{name: "a request body over the limit is refused before anything is sent", test: func(u target) {
		r := u.request("POST", "/own/echo")
		r.Body = pattern(bodyLimit + 1)
		_, err := u.Send(u.Context(), r)
		expectFailure(u.T, err, codes.InvalidArgument, warmpoolv1.Reason_REASON_REQUEST_TOO_LARGE, warmpoolv1.Delivery_DELIVERY_NOT_SENT,
			"4194305", "4194304", "buffered_body_bytes")
	}},
	{name: "a response body over the limit is a failure, and the next request is answered", test: func(u target) {
		for _, query := range []string{"", "&chunked=1"} {
			_, err := u.Send(u.Context(), u.request("GET", fmt.Sprintf("/own/bytes?n=%d%s", bodyLimit+1, query)))
			expectFailure(u.T, err, codes.ResourceExhausted, warmpoolv1.Reason_REASON_BODY_TOO_LARGE, warmpoolv1.Delivery_DELIVERY_RESPONDED,
				"4194304", "buffered_body_bytes")
			sameBody(u.T, u.get(200, "/own/bytes?n=10").GetBody(), pattern(10))
		}
	}},
	{name: "a chunked response is put together", test: func(u target) {
		response := u.get(200, "/stream-bytes/50000?seed=7&chunk_size=999")
		if len(response.GetBody()) != 50000 {
			u.Errorf("%d bytes, want 50000", len(response.GetBody()))
		}
		if values := valuesOf(response.GetHeaders(), "Transfer-Encoding"); values != nil {
			u.Errorf("Transfer-Encoding: %q crossed, it belongs to the connection", values)
		}
		sameBody(u.T, u.get(200, "/stream-bytes/50000?seed=7&chunk_size=50000").GetBody(), response.GetBody())
	}},
	{name: "gzip passes untouched", test: func(u target) {
		response := u.get(200, "/gzip", header("Accept-Encoding", "gzip"))
		expectField(u.T, response, "Content-Encoding", "gzip")
		if text := gunzip(u.T, response.GetBody()); !strings.Contains(text, `"gzipped": true`) {
			u.Errorf("unzipped: %s", text)
		}
	}},
	{name: "gzip that nginx makes as it sends passes untouched", nginx: true, test: func(u target) {
		response := u.get(200, "/nginx/files/text", header("Accept-Encoding", "gzip"))
		expectField(u.T, response, "Content-Encoding", "gzip")
		sameBody(u.T, []byte(gunzip(u.T, response.GetBody())), []byte(fileText))
		sameBody(u.T, u.get(200, "/nginx/files/text").GetBody(), []byte(fileText))
	}},
	{name: "a range of a file is answered with 206", nginx: true, test: func(u target) {
		response := u.get(206, "/nginx/files/text", header("Range", "bytes=9-12"))
		expectField(u.T, response, "Content-Range", fmt.Sprintf("bytes 9-12/%d", len(fileText)))
		sameBody(u.T, response.GetBody(), []byte(fileText[9:13]))
	}},
	{name: "a file put on nginx is the file it gives back", nginx: true, test: func(u target) {
		for _, size := range []int{0, 1, 16 << 10, bodyLimit} {
			path := fmt.Sprintf("/nginx/files/put-%d", serial.Add(1))
			put := u.request("PUT", path)
			put.Body = pattern(size)
			u.expect(201, put)
			sameBody(u.T, u.get(200, path).GetBody(), put.GetBody())
			u.expect(204, u.request("DELETE", path))
			u.get(404, path)
		}
	}},
	{name: "a body sent with Expect: 100-continue arrives", test: func(u target) {
		r := u.request("POST", "/own/echo", header("Expect", "100-continue"))
		r.Body = pattern(100_000)
		sameBody(u.T, u.expect(200, r).GetBody(), r.GetBody())
	}},
}

// serial makes names unique.
var serial atomic.Int64

// sameBody compares bodies that are too long to be printed.
func sameBody(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("body of %d bytes, want %d; the first difference is at %d: %.40q, want %.40q", len(got), len(want), at, got[at:], want[at:])
}

func gunzip(t *testing.T, body []byte) string {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
