package sidecar

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerOf is who runs the process at the other end of a Unix socket, as the kernel
// noted it when that connected. Its process id is left alone: in a pod it is that
// of another namespace.
func peerOf(conn *net.UnixConn) (uid, gid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var peer *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if controlErr != nil {
		return 0, 0, controlErr
	}
	if err != nil {
		return 0, 0, err
	}
	return peer.Uid, peer.Gid, nil
}
