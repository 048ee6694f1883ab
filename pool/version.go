package pool

import (
	"sync/atomic"
	"time"
)

// version remembers that an endpoint speaks HTTP/1.0, which knows no chunked
// bodies: it would take the first chunk's size for the next request, or wait for
// ever. "A client MUST NOT send a request containing Transfer-Encoding unless it
// knows the server will handle HTTP/1.1 requests" (RFC 9112, 6.1). That an upstream
// is configured here says so, until an answer says otherwise. Self-synchronised.
//
// Error pages do not count: balancers in front of servers of any version have such
// of their own, and some begin them with HTTP/1.0. And an answer counts for a while
// only, because a server that is sent nothing but chunked bodies could never show
// that it has been replaced by a newer one.
type version struct{ old atomic.Int64 } // the instant until which it is held to be HTTP/1.0; 0: it is not

const versionMemory = time.Minute

// answered: a final response with that status has come in HTTP/1.minor.
func (v *version) answered(minor, status int, clock func() instant) {
	switch {
	case minor > 0:
		if v.old.Load() != 0 {
			v.old.Store(0)
		}
	case status < 400:
		v.old.Store(int64(clock() + versionMemory))
	}
}

// takesChunked reports whether a chunked body may be sent.
func (v *version) takesChunked(now instant) bool { return int64(now) >= v.old.Load() }
