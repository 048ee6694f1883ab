package pool

import (
	"cmp"
	"slices"
)

// The part of admission that chooses between addresses.
//
// Requests go to the addresses of the lowest priority of which one can be
// reached, those that the newest answer holds; to others only where these have no
// idle connection. So do dials. Between such addresses connections are shared out
// by weight (RFC 2782), evenly where there is none.

// byStanding compares addresses by whether they should be used at all: first
// those that have not failed, of these those that are not missing, of these by
// priority.
func (a *admission) byStanding(one, two *endpoint) int {
	return cmp.Or(
		against(a.doubtful(one), a.doubtful(two)),
		against(one.misses > 0, two.misses > 0),
		cmp.Compare(one.priority, two.priority),
	)
}

// against puts what has something against it behind what has not.
func against(one, two bool) int {
	switch {
	case one == two:
		return 0
	case two:
		return -1
	}
	return 1
}

// byLoad compares addresses by how many connections they have for their share.
// Of those that have the same, one of the family with fewer dials in flight comes
// first, so that dials alternate between the families (RFC 8305, 4).
func (a *admission) byLoad(one, two *endpoint) int {
	return cmp.Or(
		cmp.Compare(uint64(one.kept()+1)*two.share, uint64(two.kept()+1)*one.share),
		a.inFlight(one)-a.inFlight(two),
	)
}

// inFlight is how many dials are in flight to e's family.
func (a *admission) inFlight(e *endpoint) int {
	n := 0
	for _, s := range a.flying {
		if familyOf(s.endpoint) == familyOf(e) {
			n++
		}
	}
	return n
}

// dialTarget is the address to dial next: of those that are not being left
// alone after a failure, the first by standing and then by load; one with a late
// dial only where there is no other. Towards an address that failed
// only one dial is in flight at a time, and once it succeeds, one more with each
// that does, so that an upstream that returns is not met by all who want it at once.
func (a *admission) dialTarget(now instant) *endpoint {
	var best *endpoint
	ties := 0
	for _, e := range a.endpoints {
		if e.gone || e.dialing > 0 && a.doubtful(e) || e.ramp > 0 && e.dialing >= e.ramp {
			continue
		}
		if at := a.heldBack(e); at > now {
			a.remind(at)
			continue
		}
		order := -1
		if best != nil {
			order = cmp.Or(against(e.late > 0, best.late > 0), a.byStanding(e, best), a.byLoad(e, best))
		}
		switch {
		case order < 0:
			best, ties = e, 1
		case order == 0:
			if ties++; a.chance.IntN(ties) == 0 {
				best = e
			}
		}
	}
	if best != nil && best.late > 0 && a.wanting() <= a.dialing && a.kept()+a.dialing >= a.want(now) {
		return nil // every address is late: another dial to one would be, too
	}
	return best
}

// arrange puts the addresses first to which requests go where they can: those of
// the best standing. Gone ones never are.
func (a *admission) arrange() {
	var best *endpoint
	for _, e := range a.endpoints {
		if !e.gone && (best == nil || a.byStanding(e, best) < 0) {
			best = e
		}
	}
	rank := func(e *endpoint) int {
		if !e.gone && a.byStanding(e, best) == 0 {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(a.endpoints, func(x, y *endpoint) int { return rank(x) - rank(y) })
	a.preferred, a.weighted = 0, false
	for _, e := range a.endpoints {
		if rank(e) == 0 {
			a.preferred++
			a.weighted = a.weighted || e.share != a.endpoints[0].share
		}
	}
}

// idleEndpoint is the address whose idle connection is taken: the less active one
// of two preferred ones drawn by chance, or the next one that has any. There is
// one.
func (a *admission) idleEndpoint() *endpoint {
	n := a.preferred
	first := 0
	switch {
	case n == 1:
		if e := a.endpoints[0]; len(e.idle) > 0 {
			return e
		}
	case n > 1:
		var second int
		first, second = a.drawTwo(n)
		one, two := a.endpoints[first], a.endpoints[second]
		switch {
		case len(one.idle) > 0 && (len(two.idle) == 0 || uint64(one.active)*two.share <= uint64(two.active)*one.share):
			return one
		case len(two.idle) > 0:
			return two
		}
	}
	for i := range n { // what was drawn has none
		if e := a.endpoints[(first+i)%n]; len(e.idle) > 0 {
			return e
		}
	}
	for _, e := range a.endpoints[n:] {
		if len(e.idle) > 0 {
			return e
		}
	}
	panic("pool: idle connections are counted that no endpoint has")
}

// drawTwo draws two of the first n addresses, different ones, by their shares.
func (a *admission) drawTwo(n int) (first, second int) {
	if !a.weighted {
		first, second = a.chance.IntN(n), a.chance.IntN(n-1)
		if second >= first {
			second++
		}
		return first, second
	}
	first = a.drawByShare(n, -1)
	return first, a.drawByShare(n, first)
}

func (a *admission) drawByShare(n, except int) int {
	sum := uint64(0)
	for i, e := range a.endpoints[:n] {
		if i != except {
			sum += e.share
		}
	}
	at := a.chance.Uint64N(sum)
	for i, e := range a.endpoints[:n] {
		switch {
		case i == except:
		case at < e.share:
			return i
		default:
			at -= e.share
		}
	}
	panic("pool: shares that do not add up")
}

// shareOf is an address' share by its weight: one of weight 0 has next to none
// (RFC 2782), but is not left out where all have it.
func shareOf(f located) uint64 {
	const scale = 64
	switch {
	case !f.weighed:
		return scale
	case f.weight == 0:
		return 1
	}
	return scale * uint64(f.weight)
}
