//go:build !linux

package pool

import "errors"

// LookAtKernel knows of Linux only.
func LookAtKernel() Kernel { return Kernel{} }

// CheckCongestion says why no socket may have a congestion control by that name.
func CheckCongestion(string) error {
	return errors.New("the congestion control of a socket can be chosen on Linux only")
}

func slowStartAfterIdle() bool { return true }
