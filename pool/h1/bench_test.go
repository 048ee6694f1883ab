package h1_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

const smallLength = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 08:30:00 GMT\r\n" +
	"Content-Type: application/json\r\nContent-Length: 13\r\nConnection: keep-alive\r\nETag: \"65f1-0d\"\r\n\r\n" +
	`{"ok":"true"}`

const smallChunked = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 08:30:00 GMT\r\n" +
	"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n\r\n" +
	"d\r\n{\"ok\":\"true\"}\r\n0\r\n\r\n"

func smallRequest() h1.Request {
	return h1.Request{
		Method: "GET", Target: "/v1/accounts/42?expand=balance", Host: "payments.internal:8443",
		Fields: []h1.Field{
			{Name: "accept", Value: "application/json"},
			{Name: "user-agent", Value: "shop/3.1"},
			{Name: "authorization", Value: "Bearer 0123456789abcdef0123456789abcdef"},
			{Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		},
	}
}

// readAll parses one whole response fed in one piece and returns its body bytes.
func readAll(p *h1.Parser, in []byte) (body int) {
	p.Start(h1.ResponseTo{Method: "GET"})
	for {
		n, event, err := p.Parse(in)
		if err != nil {
			panic(err)
		}
		in = in[n:]
		switch event {
		case h1.Body:
			body += len(p.Chunk())
		case h1.End:
			if p.Persist() != h1.Keep {
				panic(p.Persist().String())
			}
			return body
		case h1.More:
			panic("more")
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	r := smallRequest()
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Prepare(); err != nil {
			b.Fatal(err)
		}
		dst = r.AppendHead(dst[:0], h1.HeadOptions{})
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkResponse(b *testing.B) {
	for name, response := range map[string]string{"length/body=13B": smallLength, "chunked/body=13B": smallChunked} {
		b.Run("net_http/"+name, func(b *testing.B) {
			in := strings.NewReader(response)
			reader := bufio.NewReader(in)
			request := &http.Request{Method: "GET"}
			b.ReportAllocs()
			b.SetBytes(int64(len(response)))
			for b.Loop() {
				in.Reset(response)
				reader.Reset(in)
				r, err := http.ReadResponse(reader, request)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("h1/"+name, func(b *testing.B) {
			var p h1.Parser
			in := []byte(response)
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				readAll(&p, in)
			}
		})
	}
}

func BenchmarkResponseChunked(b *testing.B) {
	for _, size := range []int{16, 1024, 16384} {
		b.Run(fmt.Sprintf("body=1MiB/chunk=%dB", size), func(b *testing.B) {
			in := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			chunk := []byte(strings.Repeat("x", size))
			for range (1 << 20) / size {
				in = h1.AppendChunk(in, chunk)
			}
			in = h1.AppendLastChunk(in, nil)
			var p h1.Parser
			b.ReportAllocs()
			b.SetBytes(1 << 20)
			for b.Loop() {
				readAll(&p, in)
			}
		})
	}
}

// A head that arrives byte by byte must cost its length, not its square.
func BenchmarkResponseBytewise(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 15} {
		b.Run(fmt.Sprintf("head=%dB", size), func(b *testing.B) {
			in := []byte("HTTP/1.1 204 N\r\n" + strings.Repeat("X-A: 0123456789\r\n", size/17/4) + "X: " + strings.Repeat("v", size*3/4) + "\r\n\r\n")
			var p h1.Parser
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			to := h1.ResponseTo{Method: "GET", Limits: h1.Limits{Fields: 1000}}
			for b.Loop() {
				p.Start(to)
				for i := range in {
					if n, event, err := p.Parse(in[:i+1]); err != nil || (n > 0) != (event == h1.HeadDone) {
						b.Fatal(i, n, event, err)
					}
				}
			}
		})
	}
}

func BenchmarkHeadFields(b *testing.B) {
	var p h1.Parser
	p.Start(h1.ResponseTo{Method: "GET"})
	if _, event, err := p.Parse([]byte(smallLength)); err != nil || event != h1.HeadDone {
		b.Fatal(event, err)
	}
	dst := make([]h1.Field, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		dst = p.Head().AppendFields(dst[:0])
	}
}

func TestTheHitPathAllocatesNothing(t *testing.T) {
	var p h1.Parser
	r := smallRequest()
	dst := make([]byte, 0, 4096)
	fields := make([]h1.Field, 0, 16)
	length, chunked := []byte(smallLength), []byte(smallChunked)
	readAll(&p, chunked)
	for name, c := range map[string]struct {
		want float64
		run  func()
	}{
		"request": {0, func() {
			if err := r.Prepare(); err != nil {
				t.Fatal(err)
			}
			dst = r.AppendHead(dst[:0], h1.HeadOptions{})
		}},
		"fresh request": {0, func() {
			fresh := h1.Request{Method: r.Method, Target: r.Target, Host: r.Host, Fields: r.Fields}
			if err := fresh.Prepare(); err != nil {
				t.Fatal(err)
			}
			dst = fresh.AppendHead(dst[:0], h1.HeadOptions{Close: true})
		}},
		"chunk":            {0, func() { dst = h1.AppendLastChunk(h1.AppendChunk(dst[:0], length), nil) }},
		"length response":  {0, func() { readAll(&p, length) }},
		"chunked response": {0, func() { readAll(&p, chunked) }},
		"fields, one string": {1, func() {
			p.Start(h1.ResponseTo{Method: "GET"})
			if _, _, err := p.Parse(length); err != nil {
				t.Fatal(err)
			}
			fields = p.Head().AppendFields(fields[:0])
		}},
	} {
		if got := testing.AllocsPerRun(100, c.run); got != c.want {
			t.Errorf("%s: %v allocations, want %v", name, got, c.want)
		}
	}
}
