//go:build !linux

package main

import (
	"errors"
	"runtime"
	"time"
)

var errNotLinux = errors.New("warmpool-bench reads CPU time and memory of other processes as Linux shows them; this is " + runtime.GOOS)

func cpuTime(int) (time.Duration, error) { return 0, errNotLinux }
func residentBytes(int) (int64, error)   { return 0, errNotLinux }
