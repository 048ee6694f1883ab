package pool

import "time"

// TCPFigures is what the kernel says of a connection's TCP (TCP_INFO, Linux). Where the system does not tell, and of a
// connection in memory, all of it is zero.
type TCPFigures struct {
	Age             time.Duration // since they were taken
	RTT             time.Duration // smoothed round-trip time
	RTTDeviation    time.Duration // its mean deviation
	RTO             time.Duration // retransmission timeout
	MSS             int           // bytes of a full segment
	Window          int64         // congestion window, bytes, as the kernel shows it: idleness does not lower it until something is sent
	EffectiveWindow int64         // congestion window, bytes, with which something sent now would begin
	LastSent        time.Duration // since data was last sent
	Unacked         int64         // bytes sent and not acknowledged, to a full segment each
	Retransmits     uint64        // segments sent again so far
	DeliveryRate    uint64        // bytes per second, last measured; 0: not measured
	Congestion      string        // congestion control by the kernel's name
}

// Known reports whether the kernel has told anything.
func (f TCPFigures) Known() bool { return f.MSS > 0 }

// tcpSample is what the kernel said of a connection's TCP when it was asked.
type tcpSample struct {
	rtt, deviation, rto time.Duration
	leastRTT            time.Duration // the shortest round trip of the last minutes; 0: not known
	mss                 int           // bytes of a full segment
	window              int           // congestion window, segments
	lastSent            time.Duration // since data was last sent
	unacked             int           // segments
	segments            uint64        // segments of data sent so far, those sent again included
	retransmits         uint64        // segments sent again so far
	unanswered          int           // retransmissions and keepalive probes in a row without an answer
	deliveryRate        uint64        // bytes per second
}
