package pool

// One timer serves all of an upstream's time limits: those of its decisions, of what
// runs on its connections, and of the looks at what the kernel knows of them.

// remind makes sure that tick runs no later than at.
func (u *Upstream) remind(at instant) {
	if at == 0 {
		return
	}
	if set := instant(u.alarm.Load()); set != 0 && set <= at {
		return
	}
	u.mu.Lock()
	u.setAlarm(at)
	u.mu.Unlock()
}

func (u *Upstream) setAlarm(at instant) {
	set := instant(u.alarm.Load())
	if at == 0 || u.mu.closed && len(u.mu.conns) == 0 || set != 0 && set <= at {
		return
	}
	u.alarm.Store(int64(at))
	u.mu.timer.Reset(max(0, at-u.pool.now()))
}

// tick lets time pass: for the decisions, and for what runs on connections.
func (u *Upstream) tick() {
	now := u.pool.now()
	u.sampleDue(now)
	var late []*conn
	u.mu.Lock()
	u.alarm.Store(0)
	u.mu.admission.tick(now)
	next := instant(0)
	for c := range u.mu.conns {
		at := instant(c.deadline.Load())
		switch {
		case at == 0:
		case at <= now:
			late = append(late, c)
		case next == 0 || at < next:
			next = at
		}
	}
	u.setAlarm(next)
	u.setAlarm(u.mu.sampleAt)
	todo := u.settle()
	u.mu.Unlock()
	for _, c := range late {
		c.expire(now)
	}
	u.carryOut(todo)
}
