package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace.
type Namespace struct{ file *os.File }

// own opens the namespace of this thread.
func own() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }

// New makes a namespace with a loopback interface that is up, and nothing else.
// The caller's goroutine must be locked to its thread.
func New() (*Namespace, error) {
	home, err := own()
	if err != nil {
		return nil, &UnavailableError{"network namespaces need a kernel that has them and /proc", err}
	}
	defer home.Close() //nolint:errcheck // it was only looked at
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, &UnavailableError{"network namespaces need root", err}
	}
	n := &Namespace{}
	if n.file, err = own(); err == nil {
		err = up("lo")
	}
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("netns: the thread is lost in another namespace: %v", back))
	}
	return n, err
}

// Close lets go of the namespace. Processes in it keep it.
func (n *Namespace) Close() error { return n.file.Close() }

// Do calls f in the namespace: what it opens and starts belongs there. The
// caller's goroutine must be locked to its thread.
func (n *Namespace) Do(f func() error) error {
	home, err := own()
	if err != nil {
		return err
	}
	defer home.Close() //nolint:errcheck // it was only looked at
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("netns: the thread is lost in another namespace: %v", back))
	}
	return err
}

// Set writes settings of the namespace, given by their names below
// /proc/sys/net/ipv4.
func (n *Namespace) Set(settings map[string]string) error {
	return n.Do(func() error {
		for name, value := range settings {
			if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4", name), []byte(value), 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	mtu = 1500
	// A sender whose window is wide open hands over a megabyte at once; the device
	// must not be what drops it.
	queueLength = 20_000
)

// Tun makes a TUN device, which lives as long as the file, with an address and
// that of the other end.
func (n *Namespace) Tun(name string, local, other netip.Addr) (device *os.File, err error) {
	err = n.Do(func() error {
		const path = "/dev/net/tun"
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return &UnavailableError{"TUN devices need " + path, &fs.PathError{Op: "open", Path: path, Err: err}}
		}
		device = os.NewFile(uintptr(fd), path)
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return errors.Join(&UnavailableError{"TUN devices need a kernel that has them", err}, device.Close())
		}
		if err := address(name, local, other); err != nil {
			return errors.Join(err, device.Close())
		}
		return up(name)
	})
	return device, err
}

func address(name string, local, other netip.Addr) error {
	return configure(name,
		change{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(local.AsSlice()) }},
		change{"network mask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 255}) }},
		change{"address of the other end", unix.SIOCSIFDSTADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(other.AsSlice()) }},
		change{"MTU", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		change{"queue length", unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(queueLength); return nil }},
	)
}

func up(name string) error {
	return configure(name, change{"state", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	}})
}

// change is one setting of an interface.
type change struct {
	what string
	call uint
	fill func(*unix.Ifreq) error
}

func configure(name string, changes ...change) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // it carries requests only
	for _, c := range changes {
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := c.fill(request); err != nil {
			return fmt.Errorf("interface %s: %s: %w", name, c.what, err)
		}
		if err := unix.IoctlIfreq(fd, c.call, request); err != nil {
			return fmt.Errorf("interface %s: %s: %w", name, c.what, err)
		}
	}
	return nil
}
