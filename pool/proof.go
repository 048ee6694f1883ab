package pool

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// provenUnread reports that the kernel proves of the request being answered
// that no byte of it reached the upstream's application, so that it may be sent
// again whatever its method.
//
// The case it is for: the peer closes an idle connection, and before its FIN
// arrives a request is written. What then happens on the peer's side is TCP's
// alone: its socket is closed, so there is nobody left to read, and the kernel
// answers the first segment of the request with a reset. What is seen here:
//
//  1. The FIN comes first. The read ends with io.EOF, not with ECONNRESET, and
//     the socket is in CLOSE_WAIT.
//  2. The reset comes second. A reset in CLOSE_WAIT is reported as EPIPE, in any
//     other state as ECONNRESET (tcp_reset), so the socket's pending error says
//     which came first even when both have arrived before anybody looked.
//  3. None of the request's bytes was acknowledged: tcpi_bytes_acked, which
//     stays readable after the reset, has not passed what was sent before it.
//     A peer that still read, having closed only its own direction (shutdown,
//     or a lingering close), would have acknowledged them and not sent a reset.
//
// All three are needed. An unacknowledged byte alone proves nothing, because
// acknowledgements are delayed. A FIN alone proves nothing, because a peer may
// close one direction and go on reading. A reset alone proves nothing, because a
// server that has read the request may crash. So when the FIN has come and no
// reset yet, the reset is awaited for two round trips and a margin; if none
// comes the delivery stays unknown. Systems other than Linux do not tell, and
// there nothing is ever proven.
func (c *conn) provenUnread(err error) bool {
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
		return false
	}
	c.mu.Lock()
	ours := c.mu.life.state == stateClosed // this side ended it
	var before int64
	var reset error
	begun := false
	if len(c.mu.queue) > 0 {
		x := c.mu.queue[0]
		before, begun = x.sentBefore, x.written != notWritten && x.written != nothingAccepted
		reset = x.writeErr // a write that met the reset has taken the pending error away
	}
	c.mu.Unlock()
	if ours || !begun {
		return false
	}
	if reset == nil {
		reset = c.notice.socket.awaitReset(min(2*c.dialed.connect+proofMargin, proofMost))
	}
	if !errors.Is(reset, syscall.EPIPE) {
		return false
	}
	acked, ok := c.notice.socket.acked()
	return ok && acked <= before
}

const (
	proofMargin = 5 * time.Millisecond
	proofMost   = 500 * time.Millisecond
)
