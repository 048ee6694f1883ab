package pool

// What a connection that stood already has spared an exchange: the handshakes,
// as long as they took when it was dialed, and round trips of slow start.
//
// A sender with a window of w segments needs r round trips for n segments, r
// being the least number for which w + 2w + … + 2^(r-1)w reaches n. What is
// spared is that for the window a new connection begins with, less that for the
// one which was found, in both directions. This side's is what the kernel shows
// when the exchange begins, lowered by idleness as the kernel will; the peer's is
// not to be seen, and is guessed from what it has sent: it grows with each
// segment, up to twice what was in flight at once, and falls with idleness as
// Linux's default is. So where the peer's system keeps idle windows more was
// spared than is said, and where segments were lost on the way less.

// carried takes what an exchange that has ended on s moved, bytes of HTTP, and
// returns the round trips of slow start that it was spared.
func (s *slot) carried(sent, received int64, now instant) int {
	if s.sampled == 0 {
		return 0
	}
	spared := 0
	if sent > s.flight() {
		n := s.segments(sent)
		spared = max(0, rounds(n, s.own.initial)-rounds(n, s.begun))
	}
	// The peer sent the end of its response half a round trip ago, and its
	// beginning as many earlier as it took. Taking the end for both errs to the
	// safe side, and never by a whole halving while the window is enough.
	n := s.segments(received)
	if n > s.peer.initial {
		spared += max(0, rounds(n, s.peer.initial)-rounds(n, s.peer.at(now-s.tcp.rtt)))
	}
	s.peer.carried(n, now)
	return spared
}

// segments is how many segments it takes to carry so many bytes.
func (s *slot) segments(bytes int64) int {
	mss := int64(max(1, s.tcp.mss))
	return int((bytes + mss - 1) / mss)
}

// served counts, under the lock, what an exchange that was answered on c, and is
// about to end there, was spared.
func (u *Upstream) served(c *conn, x *Exchange, now instant) {
	if x.upkeep {
		u.mu.counters.UpkeepBytes += x.receipt.Sent + x.receipt.Received
	}
	if x.fault != nil {
		return
	}
	rounds := c.slot.carried(x.receipt.Sent, x.receipt.Received, now)
	if x.upkeep || c.opened > x.asked { // nobody was spared anything
		return
	}
	u.mu.counters.HandshakesSaved++
	u.mu.counters.HandshakeTimeSaved += c.dialed.connect + c.dialed.handshake
	u.mu.counters.RoundsSaved += uint64(rounds)
	if x.wantReceipt && c.slot.sampled != 0 {
		x.receipt.Rounds = rounds
	}
}

// lastServed counts the same for an exchange that its connection ends with.
func (u *Upstream) lastServed(c *conn, x *Exchange) {
	now := u.pool.now()
	u.mu.Lock()
	u.served(c, x, now)
	u.mu.Unlock()
}
