package sidecar

import "github.com/warmpool-dev/warmpool/pool"

// IdleWindows says in words what this system does to what connections that lie
// idle may send at once, and what to do about it. Empty where it does not tell.
func IdleWindows(k pool.Kernel) string {
	switch {
	case !k.Known:
		return ""
	case k.KeepsWindows(""):
		return "connections that lie idle keep their sending windows: a large request does not begin in slow start again"
	}
	return "a connection that lay idle for longer than its retransmission timeout (the round trip and 200 ms, or more) sends its next large request " +
		"in slow start again; the sysctl net.ipv4.tcp_slow_start_after_idle=0, or tcp.congestion: bbr for an upstream, keeps the windows"
}
