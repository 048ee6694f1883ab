package h1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// responseSeeds are responses of every framing, whole, faulty and cut.
var responseSeeds = []string{
	smallLength, smallChunked,
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 05\r\n\r\nhello!",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 ; a=\"\\\"b\"\r\nhello\r\n00\r\nX-A: 1\r\nX-B: a\r\n b\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked,\r\n\r\n0005\r\nhello\r\n10000000000000005\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
	"HTTP/1.0 200 OK\r\n\r\nhello",
	"HTTP/1.0 200\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5; max=1\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\nConnection: close\r\n\r\nHTTP/1.1 204 No Content\r\nVia: 1.0 a (b, c)\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\ndata",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 5x\r\nConnection: x-hop, ,close\r\nX-Hop: 1\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nX-A:\r\n\ta\r\n \r\n b\r\nX-B : c\r\n\r\n",
	"HTTP/1.1 200 a\x01b\r\n\r\n", "HTTP/1.1 200\rOK\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "",
}

var methods = [...]string{"GET", "HEAD", "POST", "CONNECT"}

// settings makes a request and an ending of the bits of a byte, and small limits of
// some of them, so that a fuzzer can reach those.
func settings(bits byte) (to h1.ResponseTo, end ending) {
	to.Method = methods[bits&3]
	to.Close, to.Upgrade = bits&4 != 0, bits&8 != 0
	end = [...]ending{open, fin, reset, fin}[bits>>4&3]
	if bits&64 != 0 {
		to.Limits = h1.Limits{HeadBytes: 96, Fields: 4, ChunkLineBytes: 12, TrailerBytes: 24}
	}
	return to, end
}

func seedResponses(f *testing.F, add func(in string, bits byte)) {
	for _, in := range responseSeeds {
		for _, bits := range []byte{0, 1, 8, 16, 32, 64, 80} {
			add(in, bits)
		}
	}
}

func FuzzResponse(f *testing.F) {
	seedResponses(f, func(in string, bits byte) { f.Add([]byte(in), bits) })
	f.Fuzz(func(t *testing.T, in []byte, bits byte) {
		to, end := settings(bits)
		var p h1.Parser
		p.Start(to)
		total, calls := 0, 0
		for {
			n, event, err := p.Parse(in[total:])
			if total += n; total > len(in) {
				t.Fatal("consumed more than there was")
			}
			if calls++; calls > 2*len(in)+4 {
				t.Fatal("Parse goes round in circles")
			}
			if left, _ := p.Remaining(); left < 0 {
				t.Fatalf("Remaining %d", left)
			}
			if err != nil || event == h1.End || event == h1.More {
				if held := len(in) - total; err == nil && event == h1.More && held > 65536 {
					t.Fatalf("%d bytes are held back", held)
				}
				break
			}
			p.Head().AppendFields(nil)
		}
		if end != open {
			event, err := p.EOF(end == fin)
			if (event == h1.End) == (err != nil) {
				t.Fatal(event, err)
			}
		}
		p.AppendTrailers(nil)
		p.Persist()
	})
}

func FuzzResponseSplit(f *testing.F) {
	seedResponses(f, func(in string, bits byte) { f.Add([]byte(in), bits, uint64(len(in))) })
	f.Fuzz(func(t *testing.T, in []byte, bits byte, seed uint64) {
		if len(in) > 4096 {
			in = in[:4096]
		}
		to, end := settings(bits)
		whole := play(t, to, end, string(in))
		comparePlays(t, whole, play(t, to, end, bytewise(string(in))...))
		random := rand.New(rand.NewPCG(seed, 1))
		var pieces []string
		for rest := string(in); rest != ""; {
			n := random.IntN(min(len(rest), 40) + 1)
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		comparePlays(t, whole, play(t, to, end, pieces...))
	})
}

func FuzzRequest(f *testing.F) {
	f.Add("GET", "/a?b", "up:80", "Accept: */*\nX: y ", "", false, false)
	f.Add("POST", "/", "up", "Connection: x-a, close\nX-A: 1\nTE: trailers\nContent-Length: 5", "hello", true, true)
	f.Add("PUT", "/%2f", "[::1]:80", "host: own\nExpect: 100-continue\nTransfer-Encoding: chunked", "hello", true, false)
	f.Add("OPTIONS", "*", "up", "Upgrade: echo/1\nConnection: Upgrade\nKeep-Alive: x", "", false, false)
	f.Add("M", "/a\r\nX-Evil: 1", "up", "A: b\rc", "", false, false)
	f.Fuzz(func(t *testing.T, method, target, host, text, body string, stream, wantClose bool) {
		r := h1.Request{Method: method, Target: target, Host: host, Length: int64(len(body))}
		if stream {
			r.Length = -1
		}
		for line := range strings.SplitSeq(text, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok {
				r.Fields = append(r.Fields, h1.Field{Name: name, Value: value})
			}
		}
		if r.Prepare() != nil {
			return
		}
		if r.BodyLength() >= 0 && r.BodyLength() != int64(len(body)) {
			return
		}
		wire := r.AppendHead(nil, h1.HeadOptions{Close: wantClose, Upgrade: len(text)%2 == 0})
		if r.BodyLength() < 0 {
			half := len(body) / 2
			wire = h1.AppendChunk(wire, []byte(body[:half]))
			wire = h1.AppendChunk(wire, []byte(body[half:]))
			wire = h1.AppendLastChunk(wire, []h1.Field{{Name: "X-Sum", Value: "1"}})
		} else {
			wire = append(wire, body...)
		}
		if _, err := url.ParseRequestURI(target); err != nil && target != "*" {
			return // net/http reads no target with a bad percent-encoding
		}
		reader := bufio.NewReader(bytes.NewReader(wire))
		got, err := http.ReadRequest(reader)
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return // a Trailer field that net/http holds against its sender
			}
			t.Fatalf("net/http cannot read %q: %v", wire, err)
		}
		read, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatalf("net/http cannot read the body of %q: %v", wire, err)
		}
		if rest, _ := io.ReadAll(reader); len(rest) > 0 {
			t.Fatalf("%q is left over of %q", rest, wire)
		}
		if got.Method != method || got.RequestURI != target || got.ContentLength != r.BodyLength() || string(read) != body {
			t.Fatalf("net/http reads %q as %s %s, length %d, body %q", wire, got.Method, got.RequestURI, got.ContentLength, read)
		}
		if got.Close != (wantClose || r.WantsClose()) {
			t.Fatalf("net/http reads %q with close %v", wire, got.Close)
		}
		sent, wantHost, connection := http.Header{}, host, []string(nil)
		for _, field := range r.Fields {
			name, value := textproto.CanonicalMIMEHeaderKey(field.Name), strings.Trim(field.Value, " \t")
			switch {
			case name == "Host":
				wantHost = value
			case name == "Connection":
				connection = append(connection, value)
				fallthrough
			case name == "Expect" && len(body) == 0:
			default:
				sent[name] = append(sent[name], value)
			}
		}
		// Whatever has an authority in its target takes the host from there.
		if got.URL.Host == "" && got.Host != wantHost {
			t.Fatalf("net/http reads %q with host %q", wire, got.Host)
		}
		compareHeaders(t, sent, got.Header, connection)
		for name := range got.Header {
			if h1.IsHopByHop(name) && name != "Connection" && name != "Te" && name != "Upgrade" {
				t.Fatalf("%s crossed: %q", name, wire)
			}
		}
		if r.BodyLength() < 0 && got.Trailer.Get("X-Sum") != "1" {
			t.Fatalf("trailers %v of %q", got.Trailer, wire)
		}
	})
}

func FuzzChunked(f *testing.F) {
	f.Add([]byte("hello world"), uint64(1), "X-A: 1\nX-B:  2")
	f.Add([]byte(""), uint64(2), "")
	f.Fuzz(func(t *testing.T, body []byte, seed uint64, text string) {
		var trailers []h1.Field
		want := ""
		for line := range strings.SplitSeq(text, "\n") {
			name, value, ok := strings.Cut(line, ":")
			if ok && !strings.EqualFold(name, "host") {
				trailers = append(trailers, h1.Field{Name: name, Value: value})
				want += fmt.Sprintf("%s: %s\n", name, strings.Trim(value, " \t"))
			}
		}
		if h1.CheckTrailers(trailers) != nil || len(trailers) > 200 || len(text) > 60000 {
			return
		}
		random := rand.New(rand.NewPCG(seed, 2))
		wire := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for rest := body; len(rest) > 0; {
			n := random.IntN(len(rest) + 1)
			wire = h1.AppendChunk(wire, rest[:n])
			rest = rest[n:]
		}
		wire = append(h1.AppendLastChunk(wire, trailers), "next"...)
		o := play(t, h1.ResponseTo{Method: "GET"}, open, string(wire))
		if o.Body != string(body) || o.Trailers != want || o.Rest != "next" || o.Persist != h1.Keep || o.Kind != 0 {
			t.Fatalf("%q came back as %q, trailers %q, rest %q, %v %s", body, o.Body, o.Trailers, o.Rest, o.Persist, o.What)
		}
	})
}
