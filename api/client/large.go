package client

import (
	"sync"
	"sync/atomic"
)

// largeBody is the size from which a response makes the next request to its path a
// Stream: so long a reply holds up those behind it on a Session.
const largeBody = 256 << 10

// maxLarge bounds how many paths are remembered. Beyond, some are forgotten, which
// costs each of them one request.
const maxLarge = 1024

// place is where large responses come from: the path without the query.
type place struct{ upstream, path string }

// largePlaces are the places that gave responses too large, or rather large, for a
// Session.
type largePlaces struct {
	known atomic.Int32 // how many; most programs know none
	mu    struct {
		sync.RWMutex
		places map[place]struct{}
	}
}

func (l *largePlaces) has(p place) bool {
	if l.known.Load() == 0 {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, ok := l.mu.places[p]
	return ok
}

func (l *largePlaces) add(p place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.places == nil {
		l.mu.places = make(map[place]struct{})
	}
	if len(l.mu.places) >= maxLarge {
		for some := range l.mu.places {
			delete(l.mu.places, some)
			break
		}
	}
	l.mu.places[p] = struct{}{}
	l.known.Store(int32(len(l.mu.places)))
}
