//go:build !linux

package link

import (
	"errors"
	"os"
	"runtime"
)

// Line is a line between two TUN devices.
type Line struct{}

// New fails: TUN devices are driven on Linux only.
func New(Setting, *os.File, *os.File) (*Line, error) {
	return nil, errors.New("the link needs Linux; this is " + runtime.GOOS)
}

// Figures is nothing.
func (*Line) Figures() [2]Figures { return [2]Figures{} }

// Run fails.
func (*Line) Run() error { return errors.ErrUnsupported }

// Close does nothing.
func (*Line) Close() error { return nil }
