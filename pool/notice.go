package pool

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
)

// noticer stands between TLS and TCP, and beside a plain TCP connection, and
// knows what the layer above does not tell: whether the peer's last word was a
// TLS close_notify or a bare FIN, whether a failed write left anything in the
// kernel, and what has arrived before a request is written.
type noticer struct {
	net.Conn
	socket socket
	tls    bool
	dry    bool         // owned by who reads: the socket is not to be asked for more
	bare   atomic.Bool  // TCP ended; under TLS a close_notify would have come first
	sent   atomic.Int64 // bytes the kernel has accepted

	arrivals *arrivals
	record   tlsRecord // owned by who reads
}

func newNoticer(c net.Conn, secured bool) *noticer {
	a := &arrivals{}
	return &noticer{Conn: c, socket: newSocket(c, a), tls: secured, arrivals: a}
}

// Read is the reader's read, or TLS's on its behalf. Who reads on has done with
// what was read before, but for a TLS record that has not come in full.
func (n *noticer) Read(p []byte) (int, error) {
	if n.dry {
		return 0, os.ErrDeadlineExceeded // to TLS an error that passes
	}
	k, err := n.socket.read(p)
	if errors.Is(err, errors.ErrUnsupported) {
		n.arrivals.settle()
		k, err = n.Conn.Read(p)
		n.arrivals.took(k)
	}
	if n.tls {
		n.arrivals.partial = n.record.follow(p[:k])
		if errors.Is(err, io.EOF) {
			n.bare.Store(true)
		}
	}
	return k, err
}

// Write is a plain connection's write, or TLS's.
func (n *noticer) Write(p []byte) (int, error) {
	k, err := n.socket.write(p)
	if errors.Is(err, errors.ErrUnsupported) {
		k, err = n.Conn.Write(p)
	}
	n.sent.Add(int64(k))
	return k, err
}

// readAhead takes from secured, the TLS connection over n, what has left the
// socket already and was not asked for yet: TLS reads whole records, and several
// at once where they came together. A look at the socket does not see that.
func (n *noticer) readAhead(secured net.Conn, p []byte) (int, error) {
	n.dry = true
	k, err := secured.Read(p)
	n.dry = false
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return k, err
}

// truncated reports that a TLS connection ended without close_notify, so that
// anyone on the way could have ended it (RFC 9112, 9.8). crypto/tls reports
// that as a plain io.EOF when it happens between two records.
func (n *noticer) truncated() bool { return n.tls && n.bare.Load() }

// look asks, just before a request is written to an idle connection, whether
// the peer has sent or ended anything that the reader has not done with, be it
// still in the kernel or on its way through the reader: such a connection must
// not be used. The bytes may be TLS's own, session tickets, on a connection that
// has not answered yet; after that they are as unwelcome as on a plain one. clean says
// that the kernel need not be asked: it had nothing just now.
func (n *noticer) look(answered, clean bool) CloseReason {
	readable, ended := false, false
	if !clean {
		readable, ended = n.socket.look()
	}
	switch {
	case ended:
		return ClosePeerClosedIdle
	case (!n.tls || answered) && (readable || !n.arrivals.settled()):
		return CloseUnsolicitedData
	}
	return CloseNone
}
