//go:build !linux

package machine

import (
	"errors"
	"runtime"
)

// Kernel is the operating system's name.
func Kernel() string { return runtime.GOOS }

// Processor is empty: only Linux is asked for it.
func Processor() string { return "" }

// LoadAverage fails: only Linux is asked for it.
func LoadAverage() (float64, error) {
	return 0, errors.New("the load average is read as Linux shows it; this is " + runtime.GOOS)
}
