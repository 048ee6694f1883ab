package pool

// Kernel is what this system does to the sending windows of connections that lie
// idle, as far as it says so (Linux).
type Kernel struct {
	Known              bool   // the rest says something
	SlowStartAfterIdle bool   // net.ipv4.tcp_slow_start_after_idle, of this process's network namespace
	Congestion         string // net.ipv4.tcp_congestion_control, for sockets of which nothing else is said
}

// KeepsWindows reports whether connections that lie idle keep their sending
// windows under a congestion control; empty: the system's.
func (k Kernel) KeepsWindows(congestion string) bool {
	if congestion == "" {
		congestion = k.Congestion
	}
	return k.Known && (!k.SlowStartAfterIdle || keepsWindow(congestion))
}
