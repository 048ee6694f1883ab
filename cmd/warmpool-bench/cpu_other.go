//go:build !linux

package main

import (
	"errors"
	"runtime"
	"syscall"
	"time"
)

var errNotLinux = errors.New("warmpool-bench reads CPU time and memory of other processes as Linux shows them; this is " + runtime.GOOS)

func cpuTime(int) (time.Duration, error)  { return 0, errNotLinux }
func residentBytes(int) (int64, error)    { return 0, errNotLinux }
func loadAverage() (float64, error)       { return 0, errNotLinux }
func kernel() string                      { return runtime.GOOS }
func processor() string                   { return "" }
func boundToParent() *syscall.SysProcAttr { return nil }
