//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package sidecar

func lockFolder(string) (unlock func()) { return func() {} }
