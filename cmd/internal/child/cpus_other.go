//go:build !linux

package child

// CPUs are not known.
func CPUs() []int { return nil }

func onCPUs(_ []int, start func() error) error { return start() }
