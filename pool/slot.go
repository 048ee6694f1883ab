package pool

import (
	"context"
	"time"
)

// slot is the decisions' record of one connection.
type slot struct {
	id        uint64
	endpoint  *endpoint
	state     slotState
	round     int // its endpoint's fails when it was dialed
	cause     DialCause
	haste     float64 // 0 to 1: how much sooner than it must it ends, and is replaced
	began     instant // the dial
	connected bool    // its TCP connection stands, TLS does not
	held      bool    // while dialing: it waits for those of other upstreams, and has not begun
	late      bool    // while dialing: counted in late
	stopped   bool    // while dialing: given up for another address
	opened    instant
	idleSince instant
	leaving   bool          // idle, and its end is near
	doubted   bool          // idle and not leaving: a wary request may not have it
	overdue   CloseReason   // idle, and its end has come for this reason, but not its replacement
	until     instant       // watched: how long at most
	expires   instant       // end of its lifetime; 0: none
	idleLimit time.Duration // how long it may idle by the server's own word; 0: it said nothing
	idled     time.Duration // for how long it was idle before what is outstanding
	allowed   int           // exchanges it may carry by the server's own word; 0: it said nothing
	rtt       time.Duration // of its TCP handshake
	exchanges int           // carried so far
	inflight  int           // outstanding now
	alone     bool          // what is outstanding must not be followed by more
	last      bool          // what is outstanding has said that it is the connection's last …
	lastFor   CloseReason   // … and why; CloseNone: its endpoint's connections carry one each
	tcp       tcpSample     // what the kernel said of its TCP
	sampled   instant       // when; 0: it never did
	own       window        // this side's congestion window
	peer      window        // the peer's, guessed from what it sent
	usedAt    instant       // when a caller's exchange last ended on it
	called    bool          // active, and a caller's exchange is or was on it
	tending   bool          // active, and a request that keeps windows open is or was on it
	begun     int           // the own window, segments, when what is outstanding began
	losses    losses        // what had to be sent again of late
	outlier   bool          // its round trip or its losses stand out among its siblings
	place     int           // its index in endpoint.told.slots
	condemned CloseReason   // it goes as soon as it is free; CloseNone: it need not

	generation uint32 // see replacing

	conn   *conn              // the connection itself; nil while dialing. Never used here
	number uint64             // its id in the pool. Never used here
	target *target            // what it is dialed for. Never used here
	ctx    context.Context    // while it is dialed. Never used here
	stop   context.CancelFunc // ends the dial. Never used here
}

type slotState uint8

const (
	slotDialing slotState = iota
	slotIdle
	slotActive
	slotRetiring // told to close, not closed yet
	slotWatched  // left to its server to close, and used no more
	slotLost
)

// String is the state's name as operators see it.
func (s slotState) String() string {
	return nameOf([]string{"dialing", "idle", "active", "draining", "draining", "closed"}, uint8(s))
}
