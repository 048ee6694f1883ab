package pool

import (
	"runtime"
	"sync/atomic"
	"syscall"
)

// arrivals is what is known of the bytes that came on a connection, so that
// none of them, however they are timed, is taken for the response to a request
// that was written later. The reader notes each step in one word; whoever begins
// a request looks at it.
//
// What is in the kernel can be asked for, and what the reader has done with is
// no danger. In between lie the moment at which bytes have left the kernel and
// are not counted, and the time, TLS's included, until the reader comes to them.
type arrivals struct {
	word atomic.Int64 // taken<<arrivalBits, and the bits below

	// Owned by the reader.
	taken   int64 // bytes that have left the kernel
	partial bool  // they end inside a TLS record
	into    []byte
	n       int
	err     syscall.Errno
}

const (
	taking     = 1 << iota // bytes may have left the kernel that are not counted
	undigested             // the reader has not done with all that it has taken
)

const arrivalBits = 2

func (a *arrivals) note(bits int64) {
	if a.partial {
		bits |= undigested
	}
	a.word.Store(a.taken<<arrivalBits | bits)
}

// take: the kernel is asked for bytes, and does not wait for them.
func (a *arrivals) take() { a.note(taking) }

// took: it gave n.
func (a *arrivals) took(n int) {
	if n <= 0 {
		a.note(0)
		return
	}
	a.taken += int64(n)
	a.note(undigested)
}

// settle: the reader has done with all that it has taken.
func (a *arrivals) settle() { a.note(0) }

// settled reports whether the reader has done with all that has left the
// kernel. It waits for a read that is asking the kernel.
func (a *arrivals) settled() bool {
	for spins := 0; ; spins++ {
		w := a.word.Load()
		if w&taking == 0 {
			return w&undigested == 0
		}
		if spins > takingSpins {
			runtime.Gosched()
		}
	}
}

// takingSpins is how often a read that is asking the kernel is looked at before
// the thread is given to others: it takes less than a microsecond, unless its
// own thread has to wait.
const takingSpins = 1000

// count is how many bytes have left the kernel.
func (a *arrivals) count() int64 { return a.word.Load() >> arrivalBits }

// tlsRecord follows the boundaries of TLS records (RFC 8446, 5.1).
type tlsRecord struct {
	header [5]byte
	have   int // bytes of the header
	rest   int // bytes of the record still to come, once the header is complete
}

// follow takes the next bytes and reports whether they end inside a record.
func (r *tlsRecord) follow(p []byte) bool {
	for len(p) > 0 {
		if r.have < len(r.header) {
			n := copy(r.header[r.have:], p)
			r.have += n
			p = p[n:]
			if r.have < len(r.header) {
				break
			}
			r.rest = int(r.header[3])<<8 | int(r.header[4])
		}
		n := min(r.rest, len(p))
		r.rest -= n
		p = p[n:]
		if r.rest == 0 {
			r.have = 0
		}
	}
	return r.have > 0
}
