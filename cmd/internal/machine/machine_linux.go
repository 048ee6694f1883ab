package machine

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Kernel names the running kernel, or says that it is unknown.
func Kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown kernel"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// Processor is the model of the first CPU; empty when the kernel does not say.
func Processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(info, []byte("model name"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	_, model, _ := bytes.Cut(line, []byte(":"))
	return string(bytes.TrimSpace(model))
}

// LoadAverage is how many tasks ran or wanted to, on average over the last
// minute.
func LoadAverage() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, found := bytes.Cut(text, []byte(" "))
	if !found {
		return 0, errors.New("/proc/loadavg: not as expected")
	}
	return strconv.ParseFloat(string(first), 64)
}
