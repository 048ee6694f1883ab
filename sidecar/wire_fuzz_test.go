package sidecar

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// What the generated code accepts is read here as the same, and in the same way
// when it comes in several pieces of memory.

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	encoded, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// sameRequest compares a request as the generated code has it with the encoding
// that was found here; nil: none.
func sameRequest(t *testing.T, want *warmpoolv1.HttpRequest, found []byte) {
	t.Helper()
	if (want == nil) != (found == nil) {
		t.Fatalf("generated %v, here %x", want, found)
	}
	if want == nil {
		return
	}
	got := new(warmpoolv1.HttpRequest)
	if err := proto.Unmarshal(found, got); err != nil {
		t.Fatalf("found %x here: %v", found, err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-generated +here):\n%s", diff)
	}
}

// pieces is a message as gRPC hands it over, cut in two.
func pieces(encoded []byte) mem.BufferSlice {
	cut := len(encoded) / 2
	return mem.BufferSlice{mem.SliceBuffer(encoded[:cut]), mem.SliceBuffer(encoded[cut:])}
}

func FuzzSendRequest(f *testing.F) {
	for _, in := range sampleRequests() {
		encoded := encode(f, &warmpoolv1.SendRequest{Request: in})
		f.Add(encoded)
		f.Add(append(encoded, encoded...)) // merged
	}
	f.Add([]byte{0x0a, 0x05, 'x'})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		want := new(warmpoolv1.SendRequest)
		if proto.Unmarshal(encoded, want) != nil {
			return // what is wrong with it is found here, or with the request
		}
		var c sendCall
		if err := c.take(pieces(encoded)); err != nil {
			t.Fatal(err)
		}
		sameRequest(t, want.GetRequest(), c.message)
	})
}

func FuzzSessionCall(f *testing.F) {
	for i, in := range sampleRequests() {
		encoded := encode(f, &warmpoolv1.SessionCall{Id: uint64(i) << (8 * i), Call: &warmpoolv1.SessionCall_Request{Request: in}})
		cancel := encode(f, &warmpoolv1.SessionCall{Id: 7, Call: &warmpoolv1.SessionCall_Cancel{Cancel: &warmpoolv1.Cancel{}}})
		f.Add(encoded)
		f.Add(append(encoded, encoded...)) // merged
		f.Add(append(encoded, cancel...))  // of a oneof the last one counts
		f.Add(append(cancel, encoded...))
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		want := new(warmpoolv1.SessionCall)
		if proto.Unmarshal(encoded, want) != nil {
			return
		}
		id, request, cancel, ok := readCall(encoded)
		if !ok || id != want.GetId() || cancel != (want.GetCancel() != nil) {
			t.Fatalf("read %d, %v, %v here of %v", id, cancel, ok, want)
		}
		sameRequest(t, want.GetRequest(), request)
	})
}

func FuzzStreamRequest(f *testing.F) {
	for _, in := range []*warmpoolv1.StreamRequest{
		{},
		{End: true},
		{Part: &warmpoolv1.StreamRequest_Head{Head: sampleRequests()[2]}, End: true},
		{Part: &warmpoolv1.StreamRequest_Data{Data: []byte("abc")}},
		{Part: &warmpoolv1.StreamRequest_Data{}},
		{Part: &warmpoolv1.StreamRequest_Trailers{Trailers: &warmpoolv1.Trailers{Trailers: []*warmpoolv1.Header{{Name: "A", Value: "b"}}}}},
	} {
		encoded := encode(f, in)
		f.Add(encoded)
		f.Add(append(encoded, encoded...))
		f.Add(append(encoded, encode(f, &warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Data{Data: []byte("d")}})...))
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		want := new(warmpoolv1.StreamRequest)
		if proto.Unmarshal(encoded, want) != nil {
			return
		}
		var got streamMessage
		if err := got.take(pieces(encoded)); err != nil {
			t.Fatal(err)
		}
		if got.end != want.GetEnd() || !bytes.Equal(got.data, want.GetData()) {
			t.Errorf("end %v, data %x here of %v", got.end, got.data, want)
		}
		sameRequest(t, want.GetHead(), got.head)
		fields, err := readTrailers(got.trailers)
		if err != nil || len(fields) != len(want.GetTrailers().GetTrailers()) {
			t.Fatalf("trailers %v, %v here of %v", fields, err, want)
		}
		for i, h := range want.GetTrailers().GetTrailers() {
			if (h1.Field{Name: h.GetName(), Value: headerValue(h)}) != fields[i] {
				t.Errorf("trailer %d: %v here, %v", i, fields[i], h)
			}
		}
	})
}

// FuzzReplies holds the messages of a session to what the generated code reads of
// them: every reply once, in order, none cut, messages no larger than they are
// meant to be.
func FuzzReplies(f *testing.F) {
	f.Add(uint64(1), 3, 100, false)
	f.Add(uint64(1<<40), 300, 4<<10, true)
	f.Add(uint64(300), 40, 16<<10, true)
	f.Add(uint64(0), 5, messageGoal, false)
	f.Fuzz(func(t *testing.T, first uint64, count, size int, failures bool) {
		count, size = 1+count&0x1ff, size&0x7ffff
		if count*size > 16<<20 {
			count = 1 + 16<<20/size
		}
		want := &warmpoolv1.HttpResponse{Status: 200, Headers: []*warmpoolv1.Header{{Name: "A", Value: "b"}}, Body: bytes.Repeat([]byte("x"), size)}
		encoded := encode(t, want)
		var out outgoing
		for i := range count {
			id := first + uint64(i)
			if failures && i%3 == 0 {
				out.failure(encodeFailure(id, &warmpoolv1.Failure{Message: "no"}))
				continue
			}
			var r reply
			r.memory = messages.Get(len(encoded))
			message := (*r.memory)[:0]
			message = append(message, encoded...)
			r.message = message
			out.response(id, &r)
			r.release()
		}
		i := 0
		for n := range out.messages {
			m := &out.messages[n]
			replies := m.replies
			if n == 0 {
				m.draining()
			}
			given := m.give()
			if replies > 1 && given.Len() > messageGoal+2 {
				t.Errorf("a message of %d replies is %d bytes", replies, given.Len())
			}
			got := new(warmpoolv1.SessionResponse)
			if err := proto.Unmarshal(given.Materialize(), got); err != nil {
				t.Fatal(err)
			}
			given.Free()
			if len(got.GetReplies()) != replies || got.GetDraining() != (n == 0) {
				t.Errorf("%d replies, draining %v; want %d", len(got.GetReplies()), got.GetDraining(), replies)
			}
			for _, r := range got.GetReplies() {
				if r.GetId() != first+uint64(i) {
					t.Fatalf("reply %d has id %d", i, r.GetId())
				}
				if failures && i%3 == 0 {
					if r.GetFailure().GetMessage() != "no" {
						t.Errorf("reply %d: %v", i, r)
					}
				} else if !proto.Equal(r.GetResponse(), want) {
					t.Errorf("reply %d is not what was written", i)
				}
				i++
			}
		}
		if i != count {
			t.Errorf("%d replies, want %d", i, count)
		}
	})
}
