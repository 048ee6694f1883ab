package pool

// The part of admission that judges connections by what the kernel says of them.

// measured takes what the kernel said at now of s's TCP. decays says that
// idleness lowers its window.
func (a *admission) measured(s *slot, sample tcpSample, decays bool, now instant) {
	if s.sampled == 0 { // nothing has been sent on it but its handshakes
		s.own.initial = sample.window
	}
	s.tcp, s.sampled = sample, now
	s.own.segments, s.own.sent, s.own.rto = sample.window, now-sample.lastSent, 0
	if decays {
		s.own.rto = sample.rto
	}
}

// figures are what is known of s's TCP, for people.
func (s *slot) figures(now instant) TCPFigures {
	if s.sampled == 0 {
		return TCPFigures{}
	}
	mss := int64(s.tcp.mss)
	return TCPFigures{
		Age: now - s.sampled,
		RTT: s.tcp.rtt, RTTDeviation: s.tcp.deviation, RTO: s.tcp.rto,
		MSS: s.tcp.mss, Window: int64(s.tcp.window) * mss, EffectiveWindow: int64(s.own.at(now)) * mss,
		LastSent: now - s.own.sent, Unacked: int64(s.tcp.unacked) * mss,
		Retransmits: s.tcp.retransmits, DeliveryRate: s.tcp.deliveryRate,
	}
}

// keepsWindow reports whether a congestion control, by the kernel's name, has a
// model of its own that idleness does not touch (cong_control in the kernel's
// table: bbr and its versions).
func keepsWindow(congestion string) bool {
	return len(congestion) >= len("bbr") && congestion[:len("bbr")] == "bbr"
}
