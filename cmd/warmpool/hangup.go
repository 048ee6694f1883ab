package main

import (
	"os"
	"os/signal"
	"syscall"
)

// hangups takes SIGHUP, by which servers are told to read their files again. It
// is taken from the start on, so that one that comes early does not end the
// process.
type hangups chan os.Signal

func takeHangups() hangups {
	h := make(hangups, 1)
	signal.Notify(h, syscall.SIGHUP)
	return h
}

// answer calls reload for each, in a goroutine of its own, until stop: a file that
// cannot be read for a while must not hold up a signal to stop. What comes of a
// reload is told in the log.
func (h hangups) answer(reload func(why string) error) {
	go func() {
		for range h {
			_ = reload("SIGHUP")
		}
	}()
}

func (h hangups) stop() {
	signal.Stop(h)
	close(h)
}
