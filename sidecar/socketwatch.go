package sidecar

import (
	"context"
	"os"
	"time"
)

// watchSockets tells in the log when callers do not come to this process any more
// because the path of a Unix socket is another's, or gone. A successor that takes
// over is the usual cause, and a second sidecar that was started by mistake the
// other one: nothing else shows either of them, because those who are connected stay.
func (s *Sidecar) watchSockets(ctx context.Context) {
	tick := time.NewTicker(watchPace)
	defer tick.Stop()
	told := make(map[*unixSocket]bool)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, l := range s.listeners {
			socket, ok := l.Listener.(*unixSocket)
			if !ok || told[socket] {
				continue
			}
			switch now, err := os.Lstat(socket.path); {
			case err != nil:
				s.log.Warn("a socket is gone: nobody can connect to it until this process is started again", "front", string(l.front), "address", l.address)
			case !os.SameFile(now, socket.file):
				s.log.Warn("another process has taken a socket: who connects comes to that one", "front", string(l.front), "address", l.address)
			default:
				continue
			}
			told[socket] = true
		}
	}
}
