// Package netns makes network namespaces that nothing outlives: they have no name
// and no file, so the kernel removes them with the last process and descriptor
// that holds them, a crash included.
package netns

import "fmt"

// UnavailableError says what this machine lacks.
type UnavailableError struct {
	Lacks string
	Err   error
}

func (e *UnavailableError) Error() string {
	if e.Err == nil {
		return e.Lacks
	}
	return fmt.Sprintf("%s (%v)", e.Lacks, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }
