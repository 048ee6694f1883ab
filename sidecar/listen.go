package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// front is what a listener is for.
type front string

const (
	frontData    front = "data"
	frontControl front = "control"
	frontAdmin   front = "admin"
)

// listener is a bound address of one front.
type listener struct {
	net.Listener
	front   front
	address string // as Addrs reports it
	room    *room  // of its front; nil: no limit
	files   *descriptors
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.files.short(err)
			return nil, err
		}
		if l.front == frontData && !l.files.forCallers(conn) {
			_ = conn.Close()
			continue
		}
		a := &accepted{Conn: conn, front: l.front}
		if l.room == nil {
			return a, nil
		}
		if l.room.enter() {
			a.whenClosed(l.room.leave)
			return a, nil
		}
		_ = conn.Close() // it has no place here, whatever it says
	}
}

// room bounds the connections that are open on several listeners together.
type room struct {
	most int64
	open atomic.Int64
	full func() // told of each connection that is turned away
}

func (r *room) enter() bool {
	if r.open.Add(1) <= r.most {
		return true
	}
	r.open.Add(-1)
	r.full()
	return false
}

func (r *room) leave() { r.open.Add(-1) }

// accepted is a connection of a listener.
type accepted struct {
	net.Conn
	front front

	mu struct {
		sync.Mutex
		closed bool
		then   []func()
	}
}

// whenClosed calls f once when the connection is closed, now if it is already.
func (a *accepted) whenClosed(f func()) {
	a.mu.Lock()
	if !a.mu.closed {
		a.mu.then = append(a.mu.then, f)
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	f()
}

// SyscallConn implements syscall.Conn.
func (a *accepted) SyscallConn() (syscall.RawConn, error) {
	if c, ok := a.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close implements net.Conn.
func (a *accepted) Close() error {
	err := a.Conn.Close()
	a.mu.Lock()
	then := a.mu.then
	a.mu.closed, a.mu.then = true, nil
	a.mu.Unlock()
	for _, f := range then {
		f()
	}
	return err
}

// BindError says that a listener could not be bound.
type BindError struct {
	Setting string // the configuration key, such as "listen[1]"
	Address string // its value
	Err     error
}

func (e *BindError) Error() string {
	return fmt.Sprintf("%s %q: %v", e.Setting, e.Address, e.Err)
}

// Unwrap is the cause underneath.
func (e *BindError) Unwrap() error { return e.Err }

// off is the address that switches a listener off.
const off = "off"

// wanted is a listener that the configuration asks for.
type wanted struct {
	front   front
	setting string
	address string
	access  socketAccess
}

// bindAll binds what the configuration asks for, all or nothing, and reports
// every address that fails. TCP goes first: binding a Unix socket takes the path
// away from the process that has it now, which must not happen to a sidecar
// that runs well when a second one is started by mistake and fails on its ports.
func bindAll(cfg *warmpoolv1.Config) ([]*listener, error) {
	all, err := listenersWanted(cfg)
	if err != nil {
		return nil, err
	}
	bound := make([]*listener, len(all))
	var errs []error
	bindWhere := func(unix bool) {
		for i, w := range all {
			if strings.HasPrefix(w.address, unixScheme) != unix {
				continue
			}
			l, err := w.bind()
			if err != nil {
				errs = append(errs, &BindError{Setting: w.setting, Address: w.address, Err: err})
				continue
			}
			bound[i] = l
		}
	}
	bindWhere(false)
	if len(errs) == 0 {
		bindWhere(true)
	}
	if len(errs) > 0 {
		for _, l := range bound {
			if l != nil {
				_ = l.Close()
			}
		}
		return nil, errors.Join(errs...)
	}
	return bound, nil
}

func listenersWanted(cfg *warmpoolv1.Config) ([]wanted, error) {
	socket := cfg.GetSocket()
	data, err := newSocketAccess("socket.mode", cmp.Or(socket.GetMode(), "0660"), "socket.group", socket.GetGroup())
	control, controlErr := newSocketAccess("socket.control_mode", cmp.Or(socket.GetControlMode(), "0600"),
		"socket.control_group", socket.GetControlGroup())
	if err := errors.Join(err, controlErr); err != nil {
		return nil, err
	}
	var all []wanted
	for i, a := range cfg.GetListen() {
		all = append(all, wanted{frontData, setting("listen", i), a, data})
	}
	if !slices.Equal(cfg.GetControl(), []string{off}) {
		for i, a := range cfg.GetControl() {
			all = append(all, wanted{frontControl, setting("control", i), a, control})
		}
	}
	if a := cfg.GetAdmin(); a != "" && a != off {
		all = append(all, wanted{front: frontAdmin, setting: "admin", address: tcpScheme + a})
	}
	return all, nil
}

const (
	unixScheme = "unix://"
	tcpScheme  = "tcp://"
)

func (w *wanted) bind() (*listener, error) {
	if path, ok := strings.CutPrefix(w.address, unixScheme); ok {
		l, err := listenUnix(path, w.access)
		if err != nil {
			return nil, err
		}
		return &listener{Listener: l, front: w.front, address: w.address}, nil
	}
	hostport, ok := strings.CutPrefix(w.address, tcpScheme)
	if !ok {
		return nil, errors.New(`must be "unix://" and an absolute path, or "tcp://" and host:port`)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", hostport)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, errors.New("another process listens there already; is a sidecar running?")
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("user %d may not listen on this port; those below 1024 are often the system's", os.Getuid())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, errors.New("this is no address of this machine")
	case err != nil:
		return nil, err
	}
	return &listener{Listener: l, front: w.front, address: tcpScheme + l.Addr().String()}, nil
}
