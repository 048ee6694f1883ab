package pool

// What an upstream counts of attempts that failed, and how many more it allows. Whether
// a request may be sent again at all is for proof.go and exchange.go to say.

// spoils reports that x has met so many new connections that were over before
// it could be sent that another would be no better. An upstream that has
// answered before is given the time of a restart: the listener that goes down
// takes connections that nobody will serve.
func (u *Upstream) spoils(x *Exchange) bool {
	if x.spoilt < maxSpoilt {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return x.spoilt >= alwaysSpoilt || u.mu.counters.Exchanges == 0 || u.pool.now()-x.asked >= u.mu.admission.patience()
}

// allowRetry reports whether x may be sent again as far as the budget for
// retries goes, which keeps an upstream in trouble from getting a multiple of
// the load that troubles it, and counts it.
func (u *Upstream) allowRetry(x *Exchange) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !x.retrying {
		policy := u.policy()
		budget := max(policy.MinRetries, int(policy.RetryBudget*float64(u.mu.admission.active)))
		if u.mu.retrying >= budget {
			u.mu.counters.RetriesRefused++
			return false
		}
		u.mu.retrying++
		x.retrying = true
	}
	u.mu.counters.Retries++
	u.mu.counters.RetriesAfter[x.fault.Reason]++
	return true
}

// missed counts what an attempt that failed met.
func (u *Upstream) missed(f *Error, stale bool) {
	u.mu.Lock()
	if stale {
		u.mu.counters.Stale++
	}
	if f != nil && f.Delivery == DeliveryNotReceived {
		u.mu.counters.NotReceived++
	}
	u.mu.Unlock()
}

// retryEnded makes room in the budget again.
func (u *Upstream) retryEnded() {
	u.mu.Lock()
	u.mu.retrying--
	u.mu.Unlock()
}
