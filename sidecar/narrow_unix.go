//go:build unix

package sidecar

import (
	"io/fs"
	"syscall"
)

// narrow sets the mode that bind will give to the socket's file. Linux honours
// it; where a system does not, the mode set after the bind is the first one.
func narrow(fd uintptr, mode fs.FileMode) { _ = syscall.Fchmod(int(fd), uint32(mode.Perm())) }
