//go:build !unix

package sidecar

// descriptorLimit would be how many files the process may have open.
func descriptorLimit() int { return 0 }
