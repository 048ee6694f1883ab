//go:build !linux

package netns

import (
	"net/netip"
	"os"
	"runtime"
)

// Namespace is a network namespace. There is none here.
type Namespace struct{}

// New fails: network namespaces are Linux's.
func New() (*Namespace, error) {
	return nil, &UnavailableError{Lacks: "network namespaces need Linux; this is " + runtime.GOOS}
}

// Close does nothing.
func (*Namespace) Close() error { return nil }

// Do fails.
func (*Namespace) Do(func() error) error { return os.ErrInvalid }

// Set fails.
func (*Namespace) Set(map[string]string) error { return os.ErrInvalid }

// Tun fails.
func (*Namespace) Tun(string, netip.Addr, netip.Addr) (*os.File, error) { return nil, os.ErrInvalid }

// Congestion fails.
func (*Namespace) Congestion(string, netip.Addr, string) error { return os.ErrInvalid }
