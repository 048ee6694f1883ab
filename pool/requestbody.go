package pool

import (
	"errors"
	"sync"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// RequestBody is a request's body that is handed over piece by piece while the
// exchange runs. Its length is what the request's Content-Length field says; with
// none it is chunked, and refused where the upstream answers in HTTP/1.0, which has no
// chunks. Write and Close are for one goroutine, which calls neither before Start has
// returned.
//
// A body of declared length is complete with its last byte, whether or not Close
// has been called: an upstream that answers then has what it needs.
//
// The exchange is not sent again once a piece was taken. When the response is
// complete before the body is, the exchange is over, and its connection with it.
type RequestBody struct {
	// AtHand says, before Start, that the first Write comes at once: the head waits for
	// it, and leaves with it in one run of segments (writeBody).
	AtHand bool

	exchange *Exchange
	scratch  []byte // a piece with its framing
	declared bool   // its length is, by Content-Length
	left     int64  // of a declared length
	parted   bool   // the first piece has left

	mu struct {
		sync.Mutex
		ready *sync.Cond
		conn  *conn // the connection that takes the body now; nil: none yet
		took  bool  // a piece was taken
		over  bool
	}
}

// What Write and Close return, beside the *h1.RequestError of a trailer that
// cannot be sent. After any other than ErrBodyEnded the exchange goes on, without
// an end: it is for the caller to cancel it.
var (
	// ErrBodyEnded: the exchange is over, for reasons that its sink has been told.
	ErrBodyEnded = errors.New("the exchange is over, the rest of the request's body is not wanted")
	// ErrBodyLength: the body is not as long as its Content-Length says.
	ErrBodyLength = errors.New("the request's body is not as long as its Content-Length says")
	// ErrBodyTrailers: Content-Length declares the body's length, and only a chunked
	// body has trailers behind it (RFC 9112, 7.1.2).
	ErrBodyTrailers = errors.New("the request's trailers cannot be sent: only a chunked body has trailers behind it, and Content-Length declares this one's length; leave that field out")
)

// Write sends a piece of the body. It returns when the kernel has taken it, so
// an upstream that reads slowly slows the writer down. p is not kept.
func (b *RequestBody) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.complete() {
		return 0, ErrBodyLength
	}
	c, err := b.take()
	if err != nil {
		return 0, err
	}
	x := b.exchange
	if b.declared {
		if int64(len(p)) > b.left {
			c.wrote(x, bodyOpen, nil)
			return 0, ErrBodyLength
		}
		b.left -= int64(len(p))
	}
	for rest := p; len(rest) > 0 && err == nil; {
		piece := rest[:min(len(rest), writePiece)]
		rest = rest[len(piece):]
		c.moving(x, phaseUpload)
		err = b.send(c, piece)
	}
	b.part(c)
	if err != nil {
		c.wrote(x, writeFailed, err)
		return 0, ErrBodyEnded
	}
	if b.complete() {
		c.moving(x, phaseHead)
		c.wrote(x, allWritten, nil)
	} else {
		c.wrote(x, bodyOpen, nil)
	}
	return len(p), nil
}

// part lets the first piece, behind which the next may take its time, leave with the
// head. It is called by the body's writer, before it says wrote.
func (b *RequestBody) part(c *conn) {
	if b.AtHand && !b.parted {
		c.notice.socket.gather(false)
	}
	b.parted = true
}

// complete reports that every byte of a declared length was written.
func (b *RequestBody) complete() bool { return b.declared && b.left == 0 }

// send writes one piece with its framing.
func (b *RequestBody) send(c *conn, piece []byte) error {
	if !b.declared {
		b.scratch = h1.AppendChunk(b.scratch[:0], piece)
		piece = b.scratch
	}
	return c.writeRaw(b.exchange, piece)
}

// Close ends the body, with trailers where it is chunked. A body of declared length
// can have none: they are refused, though the upstream may have the whole body by
// then, so that nobody believes that they have arrived.
func (b *RequestBody) Close(trailers []h1.Field) error {
	if err := h1.CheckTrailers(trailers); err != nil {
		return err
	}
	if b.declared && len(trailers) > 0 {
		return ErrBodyTrailers
	}
	if b.complete() {
		return nil
	}
	c, err := b.take()
	if err != nil {
		return err
	}
	x := b.exchange
	if b.declared {
		c.wrote(x, bodyOpen, nil)
		return ErrBodyLength
	}
	err = c.writeRaw(x, h1.AppendLastChunk(b.scratch[:0], trailers))
	b.part(c)
	if err != nil {
		c.wrote(x, writeFailed, err)
		return ErrBodyEnded
	}
	c.moving(x, phaseHead)
	c.wrote(x, allWritten, nil)
	return nil
}

// take waits until a connection takes the body, and makes the caller its writer:
// until it says wrote, the exchange does not end.
func (b *RequestBody) take() (*conn, error) {
	var tried *conn
	for {
		b.mu.Lock()
		for !b.mu.over && (b.mu.conn == nil || b.mu.conn == tried) {
			b.mu.ready.Wait()
		}
		c, over := b.mu.conn, b.mu.over
		b.mu.took = b.mu.took || !over
		b.mu.Unlock()
		if over {
			return nil, ErrBodyEnded
		}
		if c.resume(b.exchange) {
			return c, nil
		}
		tried = c // it has ended: either the exchange has too, or another takes the body
	}
}

// begin attaches the body to an exchange that is about to be submitted.
func (b *RequestBody) begin(x *Exchange) {
	b.exchange = x
	b.left = x.head.BodyLength()
	b.declared = b.left >= 0
	b.mu.ready = sync.NewCond(&b.mu.Mutex)
}

// open lets the body go to c, whose request head has left.
func (b *RequestBody) open(c *conn) {
	b.mu.Lock()
	b.mu.conn = c
	b.mu.Unlock()
	b.mu.ready.Broadcast()
}

// wait takes the body back from a connection that has ended before any of it
// was taken.
func (b *RequestBody) wait() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.mu.conn = nil
	b.mu.Unlock()
	b.mu.ready.Broadcast()
}

// end tells the writer that the exchange is over.
func (b *RequestBody) end() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.mu.over = true
	b.mu.Unlock()
	b.mu.ready.Broadcast()
}

// taken reports that part of the body is gone, so that it cannot be sent again.
func (b *RequestBody) taken() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.took
}
