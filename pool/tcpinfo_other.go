//go:build !linux

package pool

func (socket) sample() (tcpSample, bool) { return tcpSample{}, false }

func (socket) congestion() string { return "" }
