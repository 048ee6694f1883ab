package pool

import (
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sample asks the kernel for the connection's figures. It does not wait.
func (s socket) sample() (tcpSample, bool) {
	info, ok := s.info()
	if !ok {
		return tcpSample{}, false
	}
	least := time.Duration(info.Min_rtt) * time.Microsecond
	if info.Min_rtt == math.MaxUint32 { // none was measured
		least = 0
	}
	return tcpSample{
		rtt:       time.Duration(info.Rtt) * time.Microsecond,
		deviation: time.Duration(info.Rttvar) * time.Microsecond,
		leastRTT:  least,
		rto:       time.Duration(info.Rto) * time.Microsecond,
		mss:       int(info.Snd_mss),
		window:    int(info.Snd_cwnd),
		lastSent:  time.Duration(info.Last_data_sent) * time.Millisecond,
		unacked:   int(info.Unacked), segments: uint64(info.Data_segs_out), retransmits: uint64(info.Total_retrans),
		unanswered:   int(info.Retransmits) + int(info.Probes),
		deliveryRate: info.Delivery_rate,
	}, true
}

// congestion is the connection's congestion control by the kernel's name; empty
// when it does not say.
func (s socket) congestion() string {
	if s.raw == nil {
		return ""
	}
	name := ""
	_ = s.raw.Control(func(fd uintptr) {
		name, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	return strings.TrimRight(name, "\x00")
}
