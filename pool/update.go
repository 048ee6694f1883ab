package pool

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"slices"
)

// target is what an upstream's policy says, made ready for use. It is immutable:
// a change of the policy exchanges it as a whole.
type target struct {
	policy *Policy
	origin origin
	dialer *dialer
}

// newTarget makes a policy ready for use. What TLS has learned goes on from
// before, which may be nil, where it is still of use.
func newTarget(p *Pool, policy *Policy, before *target) (*target, error) {
	o, err := parseOrigin(policy.URL)
	if err != nil {
		return nil, err
	}
	var secured *tls.Config
	if before != nil && before.origin == o && before.policy.TLS.equal(&policy.TLS) {
		secured = before.dialer.tls
	} else {
		secured = tlsConfig(&policy.TLS, o)
	}
	return &target{policy: policy, origin: o, dialer: newDialer(&p.options, policy, secured)}, nil
}

func (t *TLSPolicy) equal(other *TLSPolicy) bool {
	return t.RootCAs.Equal(other.RootCAs) &&
		slices.EqualFunc(t.Certificates, other.Certificates, func(a, b tls.Certificate) bool {
			return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
		}) &&
		t.ServerName == other.ServerName && t.MinVersion == other.MinVersion &&
		t.InsecureSkipVerify == other.InsecureSkipVerify && t.SessionCache == other.SessionCache
}

// begin starts what runs without being asked: resolution, and through it the
// warm floor.
func (u *Upstream) begin() {
	now := u.pool.now()
	u.mu.Lock()
	u.resolve(u.target.Load(), now)
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)
}

// Update exchanges the policy while requests are served. No exchange fails by
// it:
//
//   - what bounds connections and the queue holds at once, for open connections
//     and for requests that wait; what is too much by it retires when it is idle
//   - how connections are made holds for those dialed from then on
//   - time limits and sizes hold for attempts that begin from then on
//   - another URL replaces the connections as Reconnect does: until there are new
//     ones, requests go where they went before
//
// The name must be the upstream's: another name is another upstream. On an error
// nothing has changed.
func (u *Upstream) Update(policy Policy) error {
	if err := policy.Validate(); err != nil {
		return fmt.Errorf("upstream %q: %w", u.name, err)
	}
	if policy.Name != u.name {
		return fmt.Errorf("upstream %q: its name cannot be changed (to %q)", u.name, policy.Name)
	}
	now := u.pool.now()
	u.mu.Lock()
	before := u.target.Load()
	to, err := newTarget(u.pool, &policy, before)
	if err == nil && u.mu.closed {
		err = fmt.Errorf("it is being removed")
	}
	if err != nil {
		u.mu.Unlock()
		return fmt.Errorf("upstream %q: %w", u.name, err)
	}
	u.target.Store(to)
	u.mu.admission.changed(to.policy, u.slots(), now)
	moved := to.origin != before.origin
	if moved {
		u.mu.admission.moved(now)
	}
	if moved || !slices.Equal(before.policy.Endpoints, policy.Endpoints) || !before.policy.DNS.equal(&policy.DNS) {
		u.resolve(to, now)
	}
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)
	return nil
}

// slots are the decisions' records of the connections that stand.
func (u *Upstream) slots() []*slot {
	all := make([]*slot, 0, len(u.mu.conns))
	for c := range u.mu.conns {
		all = append(all, c.slot)
	}
	return all
}
