package client

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// header is a field as the generated code has it.
func header(name, value string) *warmpoolv1.Header {
	if utf8.ValidString(value) {
		return &warmpoolv1.Header{Name: name, Value: value}
	}
	return &warmpoolv1.Header{Name: name, RawValue: []byte(value)}
}

// FuzzRequest holds the encoding of a request to what the generated code reads of it.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "web", "/path?query", "", "X-A", "one", "X-A", "two", "", int64(0), false, false)
	f.Add("POST", "payments", "/", "other.example", "Content-Type", "text/plain", "x-lower", "caf\xe9", "the body", int64(time.Second), true, true)
	f.Add("", "a.b", "*", "", "User-Agent", "", "Accept-Encoding", "br", "\x00\xff", int64(1500*time.Millisecond), false, true)
	f.Fuzz(func(t *testing.T, method, upstream, path, host, name1, value1, name2, value2, body string, timeout int64, promised, receipt bool) {
		u := &url.URL{Scheme: "http", Host: upstream, Opaque: path}
		req := &http.Request{Method: method, URL: u, Host: host, Header: http.Header{}}
		req.Header[name1] = append(req.Header[name1], value1)
		req.Header[name2] = append(req.Header[name2], value2)
		if body != "" {
			req.Body, req.ContentLength = http.NoBody, int64(len(body)) // what is read is given below
		}
		c := &Client{}
		ctx := t.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(timeout))
			defer cancel()
		}
		if promised {
			ctx = WithIdempotent(ctx)
		}
		if receipt {
			ctx = WithReceipt(ctx, func(*warmpoolv1.Receipt) {})
		}
		p, failure := c.newPlan(ctx, req)
		if failure != nil {
			return
		}
		p.length = int64(len(body))
		message := appendRequest(nil, &p)
		if body != "" {
			message = protowire.AppendTag(message, requestBody, protowire.BytesType)
			message = protowire.AppendString(message, body)
		}
		var got warmpoolv1.HttpRequest
		if err := proto.Unmarshal(message, &got); err != nil {
			t.Fatalf("the generated code cannot read it: %v", err)
		}

		want := &warmpoolv1.HttpRequest{Upstream: p.upstream, Method: method, Path: p.target, Body: []byte(body)}
		if host != "" && host != upstream {
			want.Headers = append(want.Headers, header("Host", host))
		}
		agent := "Go-http-client/1.1"
		if values, given := req.Header["User-Agent"]; given {
			agent = values[0]
		}
		if agent != "" {
			want.Headers = append(want.Headers, header("User-Agent", agent))
		}
		if body != "" {
			want.Headers = append(want.Headers, header("Content-Length", protoDecimal(len(body))))
		}
		names := []string{name1}
		if name2 != name1 {
			names = append(names, name2)
		}
		slices.Sort(names)
		for _, name := range names {
			switch name {
			case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer":
				continue
			}
			for _, value := range req.Header[name] {
				want.Headers = append(want.Headers, header(name, value))
			}
		}
		if p.gzip {
			want.Headers = append(want.Headers, header("Accept-Encoding", "gzip"))
		}
		if p.promised || receipt {
			want.Options = &warmpoolv1.RequestOptions{Idempotent: p.promised, Receipt: receipt}
		}
		if left := got.GetTimeout().AsDuration(); (timeout > 0) != (got.GetTimeout() != nil) || left > time.Duration(max(timeout, 1)) || left < 0 {
			t.Errorf("the timeout is %s of %s", got.GetTimeout(), time.Duration(timeout))
		}
		got.Timeout = nil
		if diff := cmp.Diff(want, &got, protocmp.Transform(), protocmp.IgnoreDefaultScalars()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func protoDecimal(n int) string {
	var digits []byte
	for ; n > 0; n /= 10 {
		digits = append(digits, byte('0'+n%10))
	}
	slices.Reverse(digits)
	return string(digits)
}

// FuzzSessionRequest holds the encoding of calls and cancels to the generated code's.
func FuzzSessionRequest(f *testing.F) {
	f.Add(uint64(1), "payments", uint64(2))
	f.Add(uint64(1<<63), "", uint64(0))
	f.Fuzz(func(t *testing.T, id uint64, upstream string, cancel uint64) {
		request := &warmpoolv1.HttpRequest{Upstream: strings.ToValidUTF8(upstream, "?")}
		encoded, err := proto.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		message := appendSessionCall(nil, id, encoded)
		if n := len(message) - len(encoded); n > maxCallFrame {
			t.Errorf("the frame has %d bytes, more than maxCallFrame", n)
		}
		n := len(message)
		message = appendSessionCancel(message, cancel)
		if n = len(message) - n; n > maxCancel {
			t.Errorf("the cancel has %d bytes, more than maxCancel", n)
		}
		var got warmpoolv1.SessionRequest
		if err := proto.Unmarshal(message, &got); err != nil {
			t.Fatal(err)
		}
		want := &warmpoolv1.SessionRequest{Calls: []*warmpoolv1.SessionCall{
			{Id: id, Call: &warmpoolv1.SessionCall_Request{Request: request}},
			{Id: cancel, Call: &warmpoolv1.SessionCall_Cancel{Cancel: &warmpoolv1.Cancel{}}},
		}}
		if diff := cmp.Diff(want, &got, protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// pieces is a message as gRPC gives it: in one piece, or cut in two.
func pieces(message []byte) []mem.BufferSlice {
	half := len(message) / 2
	return []mem.BufferSlice{
		{mem.SliceBuffer(message)},
		{mem.SliceBuffer(message[:half]), mem.SliceBuffer(message[half:])},
	}
}

// FuzzSessionResponse holds what is read of replies to what the generated code reads.
func FuzzSessionResponse(f *testing.F) {
	for _, m := range []*warmpoolv1.SessionResponse{
		{Draining: true},
		{Replies: []*warmpoolv1.SessionReply{
			{Id: 7, Outcome: &warmpoolv1.SessionReply_Response{Response: &warmpoolv1.HttpResponse{
				Status: 200, Body: []byte("body"),
				Headers:  []*warmpoolv1.Header{header("x-a", "1"), header("X-A", "2"), header("Latin", "caf\xe9"), header("Empty", "")},
				Trailers: []*warmpoolv1.Header{header("X-Sum", "7")}, Receipt: &warmpoolv1.Receipt{ConnectionId: 3, Reused: true},
			}}},
			{Id: 1 << 63, Outcome: &warmpoolv1.SessionReply_Failure{Failure: &warmpoolv1.Failure{
				Code: 14, Message: "gone", Reason: warmpoolv1.Reason_REASON_DRAINING, Delivery: warmpoolv1.Delivery_DELIVERY_NOT_SENT, Attempts: 2,
			}}},
		}},
	} {
		encoded, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var in replies
		_ = in.take(mem.BufferSlice{mem.SliceBuffer(data)}) // whatever it is, it does not panic
		for i := range in.list {
			_, _ = readAnswer(in.list[i].response)
		}
		var want warmpoolv1.SessionResponse
		if proto.Unmarshal(data, &want) != nil {
			return
		}
		canonical, err := proto.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range pieces(canonical) {
			if err := in.take(message); err != nil {
				t.Fatalf("not read: %v", err)
			}
			if in.draining != want.GetDraining() || len(in.list) != len(want.GetReplies()) {
				t.Fatalf("got %d replies, draining %t, want %v", len(in.list), in.draining, &want)
			}
			for i, reply := range want.GetReplies() {
				compareReply(t, &in.list[i], reply)
			}
		}
	})
}

func compareReply(t *testing.T, got *outcome, want *warmpoolv1.SessionReply) {
	t.Helper()
	if got.id != want.GetId() || (got.failure != nil) != (want.GetFailure() != nil) {
		t.Fatalf("got %+v, want %v", got, want)
	}
	if f := want.GetFailure(); f != nil {
		if got.failure.Reason != f.GetReason() || got.failure.Delivery != f.GetDelivery() || got.failure.Message != f.GetMessage() ||
			got.failure.Attempts != int(f.GetAttempts()) || got.failure.RetryAfter != f.GetRetryAfter().AsDuration() {
			t.Errorf("got %+v, want %v", got.failure, f)
		}
		return
	}
	r := want.GetResponse()
	a, err := readAnswer(got.response)
	if status := r.GetStatus(); status < 200 || status > 999 {
		if err == nil {
			t.Errorf("status %d was taken", status)
		}
		return
	}
	if err != nil {
		t.Fatalf("not read: %v", err)
	}
	if a.status != int(r.GetStatus()) || !bytes.Equal(a.body, r.GetBody()) || !proto.Equal(a.receipt, r.GetReceipt()) {
		t.Errorf("got %+v, want %v", a, r)
	}
	if diff := cmp.Diff(anyFields(r.GetHeaders()), a.header); diff != "" {
		t.Errorf("headers (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(fieldsOf(r.GetTrailers()), a.trailer); diff != "" {
		t.Errorf("trailers (-want +got)\n%s", diff)
	}
}

// anyFields is fieldsOf, not nil.
func anyFields(list []*warmpoolv1.Header) http.Header {
	if fields := fieldsOf(list); fields != nil {
		return fields
	}
	return http.Header{}
}

// FuzzStreamResponse holds what is read of a Stream to what the generated code reads.
func FuzzStreamResponse(f *testing.F) {
	for _, m := range []*warmpoolv1.StreamResponse{
		{Part: &warmpoolv1.StreamResponse_Data{Data: []byte("piece")}},
		{Part: &warmpoolv1.StreamResponse_Head{Head: &warmpoolv1.HttpResponse{Status: 204}}},
		{Part: &warmpoolv1.StreamResponse_Interim{Interim: &warmpoolv1.InterimResponse{Status: 103}}},
		{Part: &warmpoolv1.StreamResponse_End{End: &warmpoolv1.StreamEnd{}}},
	} {
		encoded, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var in streamMessage
		_ = in.take(mem.BufferSlice{mem.SliceBuffer(data)})
		var want warmpoolv1.StreamResponse
		if proto.Unmarshal(data, &want) != nil {
			return
		}
		canonical, err := proto.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range pieces(canonical) {
			if err := in.take(message); err != nil {
				t.Fatalf("not read: %v", err)
			}
			got := new(warmpoolv1.StreamResponse)
			switch {
			case in.data != nil:
				got.Part = &warmpoolv1.StreamResponse_Data{Data: in.data}
			case in.head != nil:
				head := new(warmpoolv1.HttpResponse)
				err = proto.Unmarshal(in.head, head)
				got.Part = &warmpoolv1.StreamResponse_Head{Head: head}
			case in.interim != nil:
				interim := new(warmpoolv1.InterimResponse)
				err = proto.Unmarshal(in.interim, interim)
				got.Part = &warmpoolv1.StreamResponse_Interim{Interim: interim}
			case in.end != nil:
				end := new(warmpoolv1.StreamEnd)
				err = proto.Unmarshal(in.end, end)
				got.Part = &warmpoolv1.StreamResponse_End{End: end}
			}
			want.ProtoReflect().SetUnknown(nil)
			if err != nil || !proto.Equal(got, &want) {
				t.Errorf("got %v, %v, want %v", got, err, &want)
			}
			in.free()
		}
	})
}

func TestAPieceOfABodyIsEncodedAsByTheGeneratedCode(t *testing.T) {
	for _, n := range []int{1, 127, 128, uploadBlock} {
		block := messages.Get(n)
		for i := range *block {
			(*block)[i] = byte(i)
		}
		want := &warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Data{Data: bytes.Clone(*block)}}
		var got warmpoolv1.StreamRequest
		if err := proto.Unmarshal(dataMessage{block}.give().Materialize(), &got); err != nil || !proto.Equal(&got, want) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
