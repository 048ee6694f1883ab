//go:build unix

package sidecar

import (
	"io/fs"
	"syscall"
)

// fileID tells a file from another that has its name, size and time.
type fileID struct{ device, inode uint64 }

func idOf(info fs.FileInfo) fileID {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(st.Dev), uint64(st.Ino)} //nolint:unconvert // their types differ between systems
	}
	return fileID{}
}
