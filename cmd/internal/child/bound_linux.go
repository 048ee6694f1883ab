package child

import "syscall"

// boundToParent makes a child die with the thread that starts it, so that a
// measurement that is killed leaves no server behind.
func boundToParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
