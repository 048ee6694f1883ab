package pool

import "testing"

// However the stream is cut, the end of a record is known.
func TestTLSRecordsAreFollowedAtAnySplit(t *testing.T) {
	var stream []byte
	ends := map[int]bool{0: true}
	for _, length := range []int{0, 1, 5, 300, 16 << 10} {
		stream = append(stream, 23, 3, 3, byte(length>>8), byte(length))
		stream = append(stream, make([]byte, length)...)
		ends[len(stream)] = true
	}
	for _, piece := range []int{1, 2, 3, 4, 5, 6, 7, 11, 306, 4096, len(stream)} {
		var r tlsRecord
		for at := 0; at < len(stream); {
			next := min(at+piece, len(stream))
			if inside := r.follow(stream[at:next]); inside == ends[next] {
				t.Fatalf("pieces of %d: inside a record at %d: %v", piece, next, inside)
			}
			at = next
		}
	}
}

func TestArrivalsAreSettledOnlyWhenTheReaderHasDoneWithThem(t *testing.T) {
	var a arrivals
	step := func(what string, settled bool, count int64) {
		t.Helper()
		if a.settled() != settled || a.count() != count {
			t.Errorf("%s: settled %v with %d bytes, want %v with %d", what, a.settled(), a.count(), settled, count)
		}
	}
	step("nothing came", true, 0)
	a.take()
	a.took(-1) // EAGAIN
	step("nothing was there", true, 0)
	a.take()
	a.took(7)
	step("bytes were taken", false, 7)
	a.settle()
	step("they are done with", true, 7)
	a.take()
	a.took(3)
	a.partial = true
	a.take()
	a.took(-1)
	step("half a record was taken, and no more is there", false, 10)
	a.partial = false
	a.settle()
	step("the rest came", true, 10)
}
