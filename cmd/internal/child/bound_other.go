//go:build !linux

package child

import "syscall"

func boundToParent() *syscall.SysProcAttr { return nil }
