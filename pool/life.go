package pool

// life is one connection's states and the reason of its end. It is a plain
// value without I/O; the connection that owns it calls its verbs under its own
// lock. A verb that does not fit the state changes nothing and says so.
//
//	           established            begin
//	dialing ───────────────► idle ◄──────────► active
//	   │                      │  │    end        │
//	   │                drain │  │               │
//	   │                      ▼  │               │
//	   │                draining │               │
//	   │ close                │  │ close         │ close, or end with a reason
//	   └──────────► closed ◄──┴──┴───────────────┘
type life struct {
	state       connState
	reason      CloseReason // why it drains or closed; the first cause stands
	outstanding int         // exchanges begun and not ended
}

type connState uint8

const (
	stateDialing connState = iota
	stateIdle
	stateActive
	stateDraining
	stateClosed
)

// String is the state's name as operators see it.
func (s connState) String() string {
	return nameOf([]string{"dialing", "idle", "active", "draining", "closed"}, uint8(s))
}

// established: the handshakes are done.
func (l *life) established() bool {
	if l.state != stateDialing {
		return false
	}
	l.state = stateIdle
	return true
}

// begin: an exchange takes the connection, an idle one or, pipelined, one that
// is active.
func (l *life) begin() bool {
	if l.state != stateIdle && l.state != stateActive {
		return false
	}
	l.state = stateActive
	l.outstanding++
	return true
}

// end: an exchange is over. With CloseNone the connection is idle again;
// any other reason closes it.
func (l *life) end(why CloseReason) bool {
	if l.state != stateActive {
		return false
	}
	l.outstanding--
	if why != CloseNone {
		return l.close(why)
	}
	if l.outstanding == 0 {
		l.state = stateIdle
	}
	return true
}

// drain: no exchange may begin any more; what the peer still sends is read
// and dropped until it closes too.
func (l *life) drain(why CloseReason) bool {
	if l.state != stateIdle {
		return false
	}
	l.state, l.reason = stateDraining, why
	return true
}

// close: the connection is over, whatever it was doing.
func (l *life) close(why CloseReason) bool {
	if l.state == stateClosed {
		return false
	}
	if l.state != stateDraining {
		l.reason = why
	}
	l.state, l.outstanding = stateClosed, 0
	return true
}
