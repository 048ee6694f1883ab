package sidecar

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// socketAccess is who may connect to a Unix socket. Connecting needs the
// permission to write.
type socketAccess struct {
	mode  fs.FileMode
	group int // -1: what the system gives it
}

// newSocketAccess reads a mode in octal and a group by name or number; the keys
// are for errors.
func newSocketAccess(modeKey, mode, groupKey, group string) (socketAccess, error) {
	a := socketAccess{group: -1}
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil || bits > 0o777 {
		return a, fmt.Errorf(`%s: %q must be permission bits in octal, such as "0660"`, modeKey, mode)
	}
	a.mode = fs.FileMode(bits)
	if group == "" {
		return a, nil
	}
	if a.group, err = strconv.Atoi(group); err == nil && a.group >= 0 {
		return a, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return a, fmt.Errorf("%s: %q is no group of this system; give its name or its number", groupKey, group)
	}
	a.group, err = strconv.Atoi(g.Gid)
	return a, err
}

// maxSocketPath is what fits into sockaddr_un beside its closing NUL.
const maxSocketPath = 107

// unixSocket is a listener on a path. Closing it removes the path, unless
// another process has put its own socket there in the meantime.
type unixSocket struct {
	*net.UnixListener
	path  string
	file  os.FileInfo // identity of what was bound
	close func() error
}

// listenUnix binds path so that there is never a moment at which it is missing,
// half set up or more open than access says: the socket is made under another
// name in the same folder and renamed over what is there. Nobody is asked whether
// the old one is alive: a crashed predecessor is no obstacle, and one that still
// runs keeps its open connections and gets no new ones.
func listenUnix(path string, access socketAccess) (*unixSocket, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("the path must be absolute: unix:///run/warmpool/warmpool.sock")
	}
	path = filepath.Clean(path)
	temporary := temporaryName(path)
	if n := max(len(path), len(temporary)); n > maxSocketPath {
		return nil, fmt.Errorf("the path is %d bytes long, a Unix socket's may have %d: use a shorter folder", n, maxSocketPath)
	}
	if err := checkPlace(path); err != nil {
		return nil, err
	}
	l, err := bindAt(temporary, access)
	if err != nil {
		return nil, err
	}
	file, err := os.Lstat(temporary)
	if err == nil {
		unlock := lockFolder(filepath.Dir(path))
		err = os.Rename(temporary, path)
		unlock()
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(temporary)
		return nil, err
	}
	s := &unixSocket{UnixListener: l, path: path, file: file}
	s.close = sync.OnceValue(s.closeNow)
	return s, nil
}

// temporaryName is a hidden name beside path, as long as its own where that is
// long enough not to be met by chance, so that the path limit is the same.
func temporaryName(path string) string {
	const least = 12
	dir, base := filepath.Split(path)
	name := "." + rand.Text()
	return dir + name[:min(max(len(base), least), len(name))]
}

// checkPlace says what stands in the way before anything is made.
func checkPlace(path string) error {
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist: create it, or mount a volume there", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to look at the folder %s: those above it must let user %d through (mode x)", dir, os.Getuid())
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, fs.ErrPermission):
		return noPermission(dir)
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is something that is not a socket (%s): remove it, or choose another path", info.Mode())
	}
	return nil
}

func noPermission(dir string) error {
	return fmt.Errorf("no permission to make a socket in %s: it must be writable for user %d", dir, os.Getuid())
}

// bindAt makes a listening socket. Its permissions hold from the moment it is
// visible: the mode is set before the bind, and again after it because the
// process's umask has taken its part.
func bindAt(path string, access socketAccess) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { narrow(fd, access.mode) })
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, noPermission(filepath.Dir(path))
	case errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("the folder %s is on a read-only file system: mount a volume there (in Kubernetes an emptyDir)", filepath.Dir(path))
	case err != nil:
		return nil, err
	}
	ul := l.(*net.UnixListener) //nolint:forcetypeassert // what the network "unix" gives
	ul.SetUnlinkOnClose(false)
	if access.group >= 0 {
		if err = os.Chown(path, -1, access.group); err != nil {
			err = fmt.Errorf("group %d cannot be given to the socket: the process must be a member of it: %w", access.group, err)
		}
	}
	if err == nil {
		err = os.Chmod(path, access.mode)
	}
	if err != nil {
		_ = ul.Close()
		_ = os.Remove(path)
		return nil, err
	}
	return ul, nil
}

// Close stops listening. It may be called more than once.
func (s *unixSocket) Close() error { return s.close() }

// closeNow removes the path while the socket is still held: so long nothing else
// can have its inode, and the comparison cannot be deceived. The lock keeps a
// successor from taking the path between the two.
func (s *unixSocket) closeNow() error {
	defer lockFolder(filepath.Dir(s.path))()
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
		_ = os.Remove(s.path) // a socket that stays behind is no obstacle to the next process
	}
	return s.UnixListener.Close()
}
