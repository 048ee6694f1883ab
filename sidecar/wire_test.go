package sidecar

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/google/go-cmp/cmp"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

func sampleRequests() []*warmpoolv1.HttpRequest {
	return []*warmpoolv1.HttpRequest{
		{},
		{Upstream: "web"},
		{
			Upstream: "web", Method: "POST", Path: "/a?b=c",
			Headers: []*warmpoolv1.Header{
				{Name: "A", Value: "1"}, {Name: "A"}, {Name: "B", RawValue: []byte("\xff")}, {Name: "ü", Value: "ü"},
			},
			Body: []byte("body"), Timeout: durationpb.New(1500 * time.Millisecond),
			Options: &warmpoolv1.RequestOptions{Idempotent: true, Receipt: true},
		},
		{Upstream: "web", Headers: []*warmpoolv1.Header{{Name: "A", Value: "v", RawValue: []byte("r")}}},
		{Upstream: "web", Timeout: durationpb.New(-time.Second)},
		{Upstream: "web", Timeout: &durationpb.Duration{}},
		{Upstream: "web", Options: &warmpoolv1.RequestOptions{}},
	}
}

// FuzzRequest holds the reading of requests here to that by the generated code.
func FuzzRequest(f *testing.F) {
	for _, in := range sampleRequests() {
		encoded, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
		f.Add(append(encoded, encoded...))
		f.Add(append(encoded, 0x7a, 1, 2))
	}
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		var fast wireRequest
		if !fast.read(encoded) {
			return // the generated code decides
		}
		in := new(warmpoolv1.HttpRequest)
		if err := proto.Unmarshal(encoded, in); err != nil {
			t.Fatalf("read here, but: %v", err)
		}
		var slow pool.Request
		if err := readRequest(&slow, in); err != nil {
			t.Fatalf("read here, but: %v", err)
		}
		if len(slow.Fields) == 0 {
			slow.Fields = fast.request.Fields
		}
		if len(slow.Body) == 0 {
			slow.Body = fast.request.Body
		}
		if diff := cmp.Diff(slow, fast.request); diff != "" || in.GetUpstream() != fast.upstream {
			t.Errorf("upstream %q and %q, and (-generated +here):\n%s", in.GetUpstream(), fast.upstream, diff)
		}
	})
}

func TestOrdinaryRequestsAreReadWithoutTheGeneratedCode(t *testing.T) {
	for i, want := range []bool{false, true, true, false, false, false, true} {
		encoded, err := proto.Marshal(sampleRequests()[i])
		if err != nil {
			t.Fatal(err)
		}
		if got := new(wireRequest).read(encoded); got != want {
			t.Errorf("request %d: %v", i, got)
		}
	}
}

// parsed is the response in wire, parsed for method.
func answerTo(t testing.TB, method, wire string, sink pool.Sink) (trailers []h1.Field) {
	t.Helper()
	var p h1.Parser
	p.Start(h1.ResponseTo{Method: method})
	for in := []byte(wire); ; {
		n, event, err := p.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		in = in[n:]
		switch event {
		case h1.HeadDone:
			length, exact := p.Remaining()
			if !exact {
				length = -1
			}
			if err := sink.Head(p.Head(), length); err != nil {
				t.Fatal(err)
			}
		case h1.Body:
			if err := sink.Body(p.Chunk()); err != nil {
				t.Fatal(err)
			}
		case h1.End:
			return p.AppendTrailers(nil)
		case h1.More:
			t.Fatalf("incomplete: %q", wire)
		}
	}
}

type replyAlone struct{ reply }

func (*replyAlone) End([]h1.Field, *pool.Error) {}

func TestAReplyIsTheMessageThatTheGeneratedCodeReads(t *testing.T) {
	for name, c := range map[string]struct {
		method, wire string
		want         *warmpoolv1.HttpResponse
	}{
		"a body of known length": {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: \xff\r\nX-E:\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nhello", &warmpoolv1.HttpResponse{
			Status: 200, Body: []byte("hello"),
			Headers: []*warmpoolv1.Header{{Name: "Content-Length", Value: "5"}, {Name: "X-A", Value: "1"}, {Name: "X-A", RawValue: []byte("\xff")}, {Name: "X-E"}},
		}},
		"a body in chunks, with trailers": {"GET", "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\nX-T: t\r\n\r\n", &warmpoolv1.HttpResponse{
			Status: 404, Body: []byte("abcde"), Trailers: []*warmpoolv1.Header{{Name: "X-T", Value: "t"}},
		}},
		"no body in chunks": {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &warmpoolv1.HttpResponse{Status: 200}},
		"no body":           {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &warmpoolv1.HttpResponse{Status: 200, Headers: []*warmpoolv1.Header{{Name: "Content-Length", Value: "5"}}}},
		"a long body": {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + string(bytes.Repeat([]byte("x"), 65536)) + "\r\n0\r\n\r\n", &warmpoolv1.HttpResponse{
			Status: 200, Body: bytes.Repeat([]byte("x"), 65536),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var r replyAlone
			trailers := answerTo(t, c.method, c.wire, &r)
			r.complete(trailers, nil)
			got := new(warmpoolv1.HttpResponse)
			if err := proto.Unmarshal(r.message, got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			session := new(warmpoolv1.SessionResponse)
			var out outgoing
			out.response(300, &r.reply)
			given := out.messages[0].give()
			defer given.Free()
			if err := proto.Unmarshal(given.Materialize(), session); err != nil {
				t.Fatal(err)
			}
			want := &warmpoolv1.SessionResponse{Replies: []*warmpoolv1.SessionReply{{Id: 300, Outcome: &warmpoolv1.SessionReply_Response{Response: c.want}}}}
			if diff := cmp.Diff(want, session, protocmp.Transform()); diff != "" {
				t.Errorf("in a session (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzHeader holds the writing of headers here to the reading by the generated code.
func FuzzHeader(f *testing.F) {
	f.Add("Name", "value")
	f.Add("", "")
	f.Add("N", "\xff")
	f.Add("N", string(bytes.Repeat([]byte("ü"), 200)))
	f.Fuzz(func(t *testing.T, name, value string) {
		if !validUTF8(name) {
			return // no field of HTTP's
		}
		encoded := appendHeader(nil, responseHeaders, name, value)
		got := new(warmpoolv1.HttpResponse)
		if err := proto.Unmarshal(encoded, got); err != nil {
			t.Fatal(err)
		}
		h := got.GetHeaders()
		if len(h) != 1 || h[0].GetName() != name || h[0].GetValue()+string(h[0].GetRawValue()) != value {
			t.Errorf("%q: %q became %v", name, value, h)
		}
	})
}

func TestAnOpenLengthIsReadAsAnyOther(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 1 << 20, 1<<31 - 1} {
		var at [openLength]byte
		putOpenLength(at[:], n)
		if got, size := protowire.ConsumeVarint(at[:]); got != uint64(n) || size != openLength {
			t.Errorf("%d was written as %x", n, at)
		}
	}
}

func TestReadingAndWritingAllocateNothing(t *testing.T) {
	encoded, err := proto.Marshal(sampleRequests()[2])
	if err != nil {
		t.Fatal(err)
	}
	var r wireRequest
	if n := testing.AllocsPerRun(100, func() { r.read(encoded) }); n > 0 {
		t.Errorf("reading a request takes %v allocations", n)
	}
	var p h1.Parser
	var out reply
	wire := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: 128\r\nContent-Type: text/plain\r\nDate: now\r\n\r\n%128d", 1)
	if n := testing.AllocsPerRun(100, func() {
		p.Start(h1.ResponseTo{Method: "GET"})
		size, _, _ := p.Parse(wire)
		if err := out.Head(p.Head(), 128); err != nil {
			t.Fatal(err)
		}
		if err := out.Body(wire[size:]); err != nil {
			t.Fatal(err)
		}
		out.complete(nil, nil)
	}); n > 0 {
		t.Errorf("writing a reply takes %v allocations", n)
	}
}
