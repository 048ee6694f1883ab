//go:build !unix

package sidecar

import "io/fs"

// fileID would tell a file from another that has its name, size and time.
type fileID struct{}

func idOf(fs.FileInfo) fileID { return fileID{} }
