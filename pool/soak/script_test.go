package soak_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// script is what one request is and what its answer has to be. Caller and origin
// both derive it from the seed and the request's id, so that each can tell a byte
// that belongs to another request.
type script struct {
	id       uint64
	method   string
	body     int  // bytes of the request's body
	mayTwice bool // it may be acted on twice: by method, by Idempotency-Key or by the caller's word
	key      bool // that is said by an Idempotency-Key
	expect   bool // Expect: 100-continue
	receipt  bool

	cancel   time.Duration // after which the caller gives up; 0: it does not
	deadline time.Duration // the context's; 0: none
	timeout  time.Duration // the request's own; 0: none

	status int
	size   int // bytes of the answer's content
}

const largest = 100 << 10

func scriptOf(seed, id uint64) script {
	r := chance(seed, forScript, id)
	s := script{id: id, status: 200, receipt: r.IntN(4) == 0}
	switch n := r.IntN(100); {
	case n < 40:
		s.method, s.mayTwice = "GET", true
	case n < 43:
		s.method, s.mayTwice = "HEAD", true
	case n < 45:
		s.method, s.mayTwice = "DELETE", true
	case n < 60:
		s.method, s.mayTwice = "PUT", true
		s.body = drawSize(r)
	default:
		s.method = "POST"
		s.body = drawSize(r)
		switch r.IntN(12) {
		case 0:
			s.mayTwice = true
		case 1:
			s.mayTwice, s.key = true, true
		}
	}
	s.expect = s.body > 0 && r.IntN(12) == 0
	s.size = drawSize(r)
	switch r.IntN(30) {
	case 0:
		s.status = 503
	case 1:
		s.status = 404
	case 2:
		s.status, s.size = 204, 0
	case 3:
		if s.method == "GET" || s.method == "HEAD" {
			s.status, s.size = 304, 0
		}
	}
	switch r.IntN(30) {
	case 0:
		s.cancel = time.Duration(1 + r.IntN(int(20*time.Millisecond)))
	case 1:
		s.deadline = time.Duration(1 + r.IntN(int(30*time.Millisecond)))
	case 2:
		s.timeout = time.Duration(1 + r.IntN(int(30*time.Millisecond)))
	}
	return s
}

// drawSize draws the size of a body: most are small, some fill several segments,
// pieces and buffers.
func drawSize(r *rand.Rand) int {
	switch n := r.IntN(20); {
	case n < 4:
		return 0
	case n < 14:
		return 1 + r.IntN(500)
	case n < 18:
		return r.IntN(12 << 10)
	default:
		return r.IntN(largest + 1)
	}
}

// noise is what bodies are cut from.
var noise = func() []byte {
	b := make([]byte, 3*largest)
	r := rand.NewPCG(1, 2)
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}()

func cut(id uint64, n int) []byte {
	at := int(id * 0x9e3779b1 % uint64(largest))
	return noise[at : at+n]
}

// requestBody is the request's body; it must not be changed.
func (s *script) requestBody() []byte { return cut(s.id, s.body) }

// content is the answer's content: the id, as far as it fits, and noise.
func (s *script) content() []byte {
	b := make([]byte, s.size)
	n := copy(b, fmt.Sprintf("%016x", s.id))
	copy(b[n:], cut(s.id^0x55555555, s.size-n))
	return b
}

// bodyless reports that an answer has no content whatever its fields say.
func (s *script) bodyless() bool { return s.method == "HEAD" || s.status == 204 || s.status == 304 }

func (s *script) request() *pool.Request {
	r := &pool.Request{
		Method: s.method, Path: "/r/" + strconv.FormatUint(s.id, 10), Body: s.requestBody(),
		Timeout: s.timeout, Receipt: s.receipt,
	}
	switch {
	case s.key:
		r.Fields = append(r.Fields, h1.Field{Name: "Idempotency-Key", Value: strconv.FormatUint(s.id, 10)})
	case s.mayTwice && s.method == "POST":
		r.Idempotent = true
	}
	if s.expect {
		r.Fields = append(r.Fields, h1.Field{Name: "Expect", Value: "100-continue"})
	}
	return r
}

// verify says what is wrong with an answer; nil when it is the one to this
// request, whole.
func (s *script) verify(res *pool.Response) error {
	id := field(res.Fields, "X-Id")
	switch {
	case id != strconv.FormatUint(s.id, 10):
		return fmt.Errorf("the answer of request %s came to request %d: status %d, %d bytes", orNone(id), s.id, res.Status, len(res.Body))
	case res.Status == 417 && s.expect && len(res.Body) == 0:
		return nil
	case res.Status != s.status:
		return fmt.Errorf("the status is %d, the origin sent %d", res.Status, s.status)
	}
	want := []byte(nil)
	if !s.bodyless() {
		want = s.content()
	}
	if !bytes.Equal(res.Body, want) {
		return fmt.Errorf("the answer has %d bytes, %s; the origin sent %d", len(res.Body), firstDifference(res.Body, want), len(want))
	}
	return nil
}

func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("not the same from byte %d", i)
		}
	}
	return "the same as far as they go"
}

func field(fields []h1.Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
