package pool

import "time"

// The part of admission that decides which requests follow others on a connection
// before these are answered.

// pipelinePenalty is for how long an endpoint that handled pipelined requests
// badly gets none.
const pipelinePenalty = time.Minute

// follow is the next request to be pipelined on s, which is active. It is
// asked again until it has none: requests that waited leave together.
func (a *admission) follow(s *slot, now instant) *ticket {
	t := a.waiting.first
	if t == nil || a.gate == gatePaused || !t.pipelinable || !a.pipelines(s, now) {
		return nil
	}
	a.waiting.remove(t)
	a.begin(s, t, now)
	return t
}

// pipeline is the active connection that a request may be pipelined on: of
// those that allow it the one with the least outstanding.
func (a *admission) pipeline(now instant) *slot {
	if a.policy.PipelineDepth <= 1 {
		return nil
	}
	var best *slot
	for s := range a.busy {
		if a.pipelines(s, now) && (best == nil || s.inflight < best.inflight || s.inflight == best.inflight && s.id < best.id) {
			best = s
		}
	}
	return best
}

// pipelines reports whether one more request may follow on s: it has answered
// before, nothing on it must be alone, the depth is not reached, and it is not
// about to be retired (RFC 9112, 9.3.2).
func (a *admission) pipelines(s *slot, now instant) bool {
	return s.state == slotActive && s.exchanges > 0 && !s.alone && s.condemned == CloseNone && !a.outdated(s) &&
		s.inflight < a.policy.PipelineDepth &&
		now >= s.endpoint.noPipelining && !s.endpoint.gone &&
		(s.expires == 0 || now < s.expires) && !a.lastExchange(s, s.inflight)
}

// enlist keeps note of s, which is active, where requests may follow others on it.
func (a *admission) enlist(s *slot) {
	if a.policy.PipelineDepth <= 1 {
		return
	}
	if a.busy == nil {
		a.busy = make(map[*slot]struct{})
	}
	a.busy[s] = struct{}{}
}

// badPipeline takes the privilege of pipelined requests from an endpoint that
// ended a connection with several of them unanswered.
func (a *admission) badPipeline(s *slot, now instant) {
	e := s.endpoint
	e.noPipelining = now + pipelinePenalty
	a.lose(e, PrivilegePipelining, "it ended a connection with several requests unanswered", e.noPipelining)
}

// The part of it that tells of privileges.

// stopReuse lets connections to e carry one exchange each for a while.
func (a *admission) stopReuse(e *endpoint, because string, now instant) {
	e.reuse.stop(now)
	a.lose(e, PrivilegeReuse, because, e.reuse.off)
}

// lose takes note that e has lost a privilege until then.
func (a *admission) lose(e *endpoint, p Privilege, because string, until instant) {
	a.remind(until)
	if !e.lost[p] {
		e.lost[p] = true
		a.tellOf(e, p, because)
	}
}

// giveBack tells of the privileges that e has again.
func (a *admission) giveBack(e *endpoint, now instant) {
	for p, until := range [...]instant{PrivilegeReuse: e.reuse.off, PrivilegePipelining: e.noPipelining} {
		switch {
		case !e.lost[p]:
		case now < until:
			a.remind(until)
		default:
			e.lost[p] = false
			a.tellOf(e, Privilege(p), "its time without is over")
		}
	}
}

func (a *admission) tellOf(e *endpoint, p Privilege, because string) {
	a.orders = append(a.orders, order{kind: orderPrivilege, privilege: PrivilegeChange{
		Endpoint: e.addr, Privilege: p, Lost: e.lost[p], Because: because,
	}})
}
