package pool

import "time"

// ticket is a request's place in the queue for a connection.
type ticket struct {
	exchange    *Exchange // whose it is. Never used by the decisions
	next, prev  *ticket
	queued      bool
	since       instant // when it last joined the queue
	giveUp      instant // refused then, if still waiting; 0: never
	deadline    instant // the caller's own; 0: none
	size        int64   // of the request's body, bytes; negative: not known
	pipelinable bool    // may follow others on a connection, and be followed, before they are answered
	fresh       bool    // must not have a connection that has been lying idle
	wary        bool    // may be lost where it meets the server's close: not to be sent again
	relents     instant // wary: when it takes any connection, if still waiting
	admitted    bool    // it was let in once: a drain finishes it
	upkeep      bool    // nobody's: it keeps windows open
	again       bool    // it had a connection before, and so its turn: goes to the front
}

// queue is the requests that wait for a connection, first come first served.
type queue struct {
	first, last *ticket
	len         int
}

// oldest is for how long the first request in it has waited that has not had a
// connection before. Those that had are in front.
func (q *queue) oldest(now instant) time.Duration {
	longest := time.Duration(0)
	for t := q.first; t != nil; t = t.next {
		longest = max(longest, now-t.since)
		if !t.again {
			break
		}
	}
	return longest
}

func (q *queue) pushBack(t *ticket) {
	t.prev, t.next, t.queued = q.last, nil, true
	if q.last == nil {
		q.first = t
	} else {
		q.last.next = t
	}
	q.last = t
	q.len++
}

func (q *queue) pushFront(t *ticket) {
	t.prev, t.next, t.queued = nil, q.first, true
	if q.first == nil {
		q.last = t
	} else {
		q.first.prev = t
	}
	q.first = t
	q.len++
}

func (q *queue) remove(t *ticket) {
	if t.prev == nil {
		q.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		q.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next, t.queued = nil, nil, false
	q.len--
}
