package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// LookAtKernel reads what this system does to the windows of idle connections.
func LookAtKernel() Kernel {
	k := Kernel{SlowStartAfterIdle: slowStartAfterIdle()}
	k.Congestion, k.Known = readSysctl("tcp_congestion_control")
	return k
}

// CheckCongestion says why no socket of this process may have a congestion
// control by that name, what there is, and what to do; nil: one may.
func CheckCongestion(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // nothing is known
	}
	defer unix.Close(fd) //nolint:errcheck // it was never connected
	err = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("this system has no congestion control %q: net.ipv4.tcp_available_congestion_control is %q; load the kernel module tcp_%s on the node",
			name, sysctl("tcp_available_congestion_control"), name)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("this process may not use the congestion control %q: net.ipv4.tcp_allowed_congestion_control is %q; add it there, or give the process CAP_NET_ADMIN",
			name, sysctl("tcp_allowed_congestion_control"))
	}
	return fmt.Errorf("the congestion control %q cannot be set: %w; net.ipv4.tcp_available_congestion_control is %q, tcp_allowed_congestion_control %q",
		name, err, sysctl("tcp_available_congestion_control"), sysctl("tcp_allowed_congestion_control"))
}

// slowStartAfterIdle reads the sysctl of the network namespace that this process
// is in. Where it cannot be read the kernel's default is reported, which is on.
func slowStartAfterIdle() bool {
	value, ok := readSysctl("tcp_slow_start_after_idle")
	return !ok || value != "0"
}

func sysctl(name string) string {
	value, ok := readSysctl(name)
	if !ok {
		return "not readable"
	}
	return value
}

// readSysctl reads net.ipv4.name.
func readSysctl(name string) (string, bool) {
	text, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4", name))
	return strings.TrimSpace(string(text)), err == nil
}
