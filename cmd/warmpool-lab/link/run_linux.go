package link

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// batch is how many packets are read from one end before those that have
// arrived are seen to.
const batch = 32

// Line is a line between two TUN devices.
type Line struct {
	devices [2]*os.File // held so that their descriptors stay open
	ends    [2]int
	stop    [2]*os.File // a pipe: closed at its second end, Run returns
	mu      struct {
		sync.Mutex

		ways [2]*way // ways[i] begins at ends[i]
	}
}

// New makes a line between two TUN devices. They must be without packet
// information (IFF_NO_PI) and their packets no longer than 2048 bytes.
func New(s Setting, a, b *os.File) (*Line, error) {
	l := &Line{devices: [2]*os.File{a, b}}
	var err error
	if l.stop[0], l.stop[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	for i, f := range l.devices {
		fd := int(f.Fd())
		l.ends[i] = fd
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		l.mu.ways[i] = newWay(s)
	}
	return l, nil
}

// Figures is what has passed so far, from the first end to the second and back.
func (l *Line) Figures() [2]Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	return [2]Figures{l.mu.ways[0].report(), l.mu.ways[1].report()}
}

// Close makes Run return.
func (l *Line) Close() error { return l.stop[1].Close() }

// Run carries packets until Close, or a device fails. It keeps a thread to itself, and
// puts it before all others where the system lets it: call it in a goroutine of
// its own, whose end ends that thread.
func (l *Line) Run() error {
	runtime.LockOSThread()
	urgent := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if err := unix.SchedSetAttr(0, &urgent, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("real-time priority: %w", err)
	}
	began := time.Now()
	clock := func() instant { return time.Since(began) }
	ready := []unix.PollFd{
		{Fd: int32(l.ends[0]), Events: unix.POLLIN},
		{Fd: int32(l.ends[1]), Events: unix.POLLIN},
		{Fd: int32(l.stop[0].Fd())},
	}
	var left unix.Timespec // until the next packet arrives; out here, so that nothing is allocated
	for ready[2].Revents == 0 {
		next, more, err := l.turn(ready, clock)
		if err != nil {
			return err
		}
		if more { // unread packets are left
			continue
		}
		var wait *unix.Timespec
		if next != 0 {
			left = unix.NsecToTimespec(int64(max(0, next-clock())))
			wait = &left
		}
		if _, err := unix.Ppoll(ready, wait, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for packets: %w", err)
		}
	}
	return errors.Join(l.stop[0].Close(), l.devices[0].Close(), l.devices[1].Close())
}

// turn hands over what has arrived and takes what was sent. It says when the
// next packet arrives, 0 for none, and whether some are left to be taken.
func (l *Line) turn(ready []unix.PollFd, clock func() instant) (next instant, more bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.mu.ways {
		from, to := l.ends[i], l.ends[1-i]
		if ready[i].Revents != 0 {
			full, err := take(w, from, clock)
			if err != nil {
				return 0, false, err
			}
			more = more || full
		}
		for p := w.arrived(clock()); p != nil; p = w.arrived(clock()) {
			w.left(clock())
			// A device that is down takes none, like a cable that is out.
			if _, err := unix.Write(to, p); err != nil && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOBUFS) {
				return 0, false, fmt.Errorf("handing over a packet: %w", err)
			}
		}
		if at, ok := w.due(); ok && (next == 0 || at < next) {
			next = at
		}
	}
	return next, more, nil
}

// take reads packets from a device into w. It reports whether there may be more.
func take(w *way, fd int, clock func() instant) (full bool, err error) {
	for range batch {
		n, err := unix.Read(fd, w.room())
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, fmt.Errorf("taking a packet: %w", err)
		}
		w.enter(n, clock())
	}
	return true, nil
}
