package soak_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// treat does to a request what was drawn for it. It reports whether the
// connection goes on.
func (p *peer) treat(req *incoming) bool {
	f, r := p.origin.drawFault(&req.script, req.arrival)
	if f == declineExpect && !req.expects {
		f = answerWell
	}
	p.origin.did[f].Add(1)
	req.entry.did(f)
	switch f {
	case closeUnread:
		p.fin()
		return false
	case resetUnread:
		p.reset()
		return false
	case earlyKeep, earlyClose, earlyReset, declineExpect:
		return p.answerEarly(req, f, r)
	}
	if req.expects && r.IntN(4) > 0 { // else it is left to the client to lose patience
		if !p.send(req, []byte("HTTP/1.1 100 Continue\r\n\r\n")) {
			return false
		}
	}
	if !p.readBody(req) {
		return false
	}
	switch f {
	case closeUnanswered:
		p.fin()
		return false
	case resetUnanswered:
		p.reset()
		return false
	case halfCloseUnanswered:
		p.halfClose()
		return false
	case silence:
		p.hold()
		return false
	}
	if bad := malformed(f, req); bad != nil {
		p.send(req, bad)
		p.hold()
		return false
	}
	return p.answer(req, f, r)
}

// answerEarly answers before the request's body was read.
func (p *peer) answerEarly(req *incoming, f fault, r *rand.Rand) bool {
	if f == declineExpect {
		req.entry.declined.Add(1)
		return p.send(req, []byte(fmt.Sprintf("HTTP/1.1 417 Expectation Failed\r\nX-Id: %d\r\nContent-Length: 0\r\n\r\n", req.id))) && p.followUp(req)
	}
	a := newAnswer(req, byLength, r)
	if f == earlyClose {
		a.fields = append(a.fields, "Connection: close")
	}
	if !p.send(req, a.whole()) {
		return false
	}
	switch f {
	case earlyClose:
		p.fin()
		return false
	case earlyReset:
		p.reset()
		return false
	}
	return p.followUp(req)
}

// followUp reads what follows an answer that came before the request's body:
// the body, or the end.
func (p *peer) followUp(req *incoming) bool {
	if !req.expects {
		return p.readBody(req)
	}
	// A client that withheld the body and now sends another request on the connection
	// has broken it: the bytes are the body.
	_, err := p.in.Peek(1)
	if err == nil {
		return p.readBody(req)
	}
	return false
}

// answer answers a request that was read whole.
func (p *peer) answer(req *incoming, f fault, r *rand.Rand) bool {
	how := byLength
	switch f {
	case answerWell, answerSlowly, answerInterims, sayClose, sayCloseLinger, thenClose, thenReset, thenHalfClose, thenBareClose, hintFew, hintNone,
		thenGarbage, thenAnotherAnswer, stallContent:
		if r.IntN(3) == 0 {
			how = chunked
		}
	case cutChunk, resetChunk, cutLastChunk:
		how = chunked
	case cutTrailers:
		how = chunkedWithTrailers
	case answerUntilClose, resetUntilClose, bareUntilClose, stallUntilClose:
		how = untilClose
	case answerOld:
		how = old
	case answerOldKeep:
		how = oldKeep
	}
	if how == chunked && r.IntN(4) == 0 {
		how = chunkedWithTrailers
	}
	if req.bodyless() && how == untilClose {
		how = byLength
	}
	a := newAnswer(req, how, r)
	switch f {
	case sayClose, sayCloseLinger:
		a.fields = append(a.fields, "connection: Close")
	case hintFew:
		a.fields = append(a.fields, fmt.Sprintf("Connection: keep-alive\r\nKeep-Alive: max=%d", r.IntN(3)))
	case hintNone:
		a.fields = append(a.fields, "Connection: keep-alive\r\nKeep-Alive: timeout=0")
	case answerInterims, cutAfterInterim, resetAfterInterim:
		for range 1 + r.IntN(3) {
			a.interims += []string{"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"}[r.IntN(3)]
		}
	}
	switch f {
	case cutStatusLine, resetStatusLine, cutHead, resetHead, stallHead, cutAfterInterim, resetAfterInterim,
		cutLength, resetLength, cutChunk, resetChunk, cutLastChunk, cutTrailers, resetUntilClose, bareUntilClose, stallContent, stallUntilClose:
		p.send(req, a.part(f, r))
		p.breakOff(f)
		return false
	}
	return p.answerWhole(req, a, f, r)
}

// breakOff ends a connection inside an answer.
func (p *peer) breakOff(f fault) {
	switch f {
	case resetStatusLine, resetHead, resetAfterInterim, resetLength, resetChunk, resetUntilClose:
		p.reset()
	case stallHead, stallContent, stallUntilClose:
		p.hold()
	case bareUntilClose:
		p.tcp.Close()
	default:
		p.fin()
	}
}

func (p *peer) answerWhole(req *incoming, a *answer, f fault, r *rand.Rand) bool {
	out := a.whole()
	switch f {
	case thenGarbage:
		out = append(out, "garbage"...)
	case thenAnotherAnswer:
		out = append(out, "HTTP/1.1 200 OK\r\nX-Id: behind\r\nContent-Length: 6\r\n\r\nbehind"...)
	case thenReset:
	default:
		// Nothing can come between this answer and its caller, except on a connection
		// where the failure of a request ahead, or another caller's leaving, takes it along.
		req.entry.complete.Store(!p.origin.pipelined)
	}
	if f == answerSlowly {
		for len(out) > 1 {
			n := 1 + r.IntN(len(out)-1)
			if !p.send(req, out[:n]) {
				break
			}
			out = out[n:]
			time.Sleep(time.Duration(r.IntN(int(2 * time.Millisecond))))
		}
	}
	if !p.send(req, out) || p.killed.Load() {
		req.entry.complete.Store(false)
		return false
	}
	switch f {
	case thenClose, answerOld, answerUntilClose, sayClose:
		p.fin()
	case thenReset:
		p.reset()
	case thenHalfClose, sayCloseLinger:
		p.halfClose()
	case thenBareClose:
		p.tcp.Close()
	case thenGarbage, thenAnotherAnswer:
		p.hold()
	default:
		return true
	}
	return false
}

// send writes a piece of an answer.
func (p *peer) send(req *incoming, piece []byte) bool {
	req.entry.answered.Store(true)
	_, err := p.conn.Write(piece)
	return err == nil
}

// framing is how an answer says where it ends.
type framing uint8

const (
	byLength framing = iota
	chunked
	chunkedWithTrailers
	untilClose
	old     // HTTP/1.0
	oldKeep // HTTP/1.0 with keep-alive
)

// answer is one answer in its parts.
type answer struct {
	interims string
	start    string
	fields   []string
	content  []byte   // framed
	chunks   [][]byte // of content, when it is chunked; the last chunk and the trailers are the last ones
}

func newAnswer(req *incoming, how framing, r *rand.Rand) *answer {
	a := &answer{
		start:  fmt.Sprintf("HTTP/1.1 %d %s", req.status, http.StatusText(req.status)),
		fields: []string{fmt.Sprintf("X-Id: %d", req.id)},
	}
	if how == old || how == oldKeep {
		a.start = strings.Replace(a.start, "1.1", "1.0", 1)
	}
	if how == oldKeep {
		a.fields = append(a.fields, "Connection: Keep-Alive")
	}
	body := req.content()
	if req.bodyless() {
		if req.method == "HEAD" && how == byLength && req.status == 200 {
			a.fields = append(a.fields, fmt.Sprintf("Content-Length: %d", req.size))
		}
		return a
	}
	switch how {
	case chunked, chunkedWithTrailers:
		a.fields = append(a.fields, "Transfer-Encoding: chunked")
		for len(body) > 0 {
			n := 1 + r.IntN(min(len(body), 9000))
			extension := ""
			if r.IntN(8) == 0 {
				extension = `;a="b"`
			}
			a.chunks = append(a.chunks, fmt.Appendf(nil, "%x%s\r\n%s\r\n", n, extension, body[:n]))
			body = body[n:]
		}
		a.chunks = append(a.chunks, []byte("0\r\n"))
		if how == chunkedWithTrailers {
			a.chunks = append(a.chunks, fmt.Appendf(nil, "X-Trailer: %d\r\n", req.id))
		}
		a.chunks = append(a.chunks, []byte("\r\n"))
		a.content = bytes.Join(a.chunks, nil)
	case untilClose:
		a.content = body
	default:
		a.fields = append(a.fields, fmt.Sprintf("Content-Length: %d", len(body)))
		a.content = body
	}
	return a
}

func (a *answer) head() string {
	return a.interims + a.start + "\r\n" + strings.Join(a.fields, "\r\n") + "\r\n\r\n"
}

func (a *answer) whole() []byte { return append([]byte(a.head()), a.content...) }

// part is what leaves of an answer that is broken off.
func (a *answer) part(f fault, r *rand.Rand) []byte {
	head := a.head()
	switch f {
	case cutStatusLine, resetStatusLine:
		return []byte(a.start[:1+r.IntN(len(a.start)-1)])
	case cutHead, resetHead, stallHead:
		begin := len(a.start)
		return []byte(head[:begin+r.IntN(len(head)-1-begin)])
	case cutAfterInterim, resetAfterInterim:
		return []byte(a.interims)
	case cutLastChunk, cutTrailers:
		last := 2 // the last chunk, the empty line
		if f == cutTrailers {
			last = 1
		}
		return append([]byte(head), bytes.Join(a.chunks[:len(a.chunks)-last], nil)...)
	case cutChunk, resetChunk:
		n := r.IntN(max(1, len(a.content)-len("\r\n0\r\n\r\n")))
		return append([]byte(head), a.content[:n]...)
	default:
		return append([]byte(head), a.content[:r.IntN(len(a.content))]...)
	}
}

// malformed is an answer that breaks the protocol; nil where f is none.
func malformed(f fault, req *incoming) []byte {
	id := fmt.Sprintf("X-Id: %d\r\n", req.id)
	const ok = "HTTP/1.1 200 OK\r\n"
	switch f {
	case malformedStatus:
		return []byte("HTTP/1.1 20 OK\r\n" + id + "Content-Length: 0\r\n\r\n")
	case malformedField:
		return []byte(ok + id + "Content-Length : 0\r\n\r\n")
	case malformedLength:
		return []byte(ok + id + "Content-Length: +5\r\n\r\n")
	case malformedTwoLengths:
		return []byte(ok + id + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nfive!")
	case malformedBoth:
		return []byte(ok + id + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	case malformedVersion:
		return []byte("HTTP/2.0 200 OK\r\n" + id + "Content-Length: 0\r\n\r\n")
	case malformedBytes:
		return []byte("\x16\x03\x01 this is not HTTP\r\n\r\n")
	case malformedChunk:
		return []byte(ok + id + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nfive!\r\n0\r\n\r\n")
	case oversizedHead:
		return []byte(ok + id + "X-Large: " + strings.Repeat("x", 80<<10) + "\r\n\r\n")
	case switchUnasked:
		return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n")
	}
	return nil
}
