package sidecar

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// observers tells all of them what the pool tells.
type observers []pool.Observer

// one is the observer that the pool knows.
func (all observers) one() pool.Observer {
	return pool.Observer{
		AttemptEnded: all.attemptEnded(),
		Resolved: func(upstream string, took time.Duration, err error) {
			for i := range all {
				if f := all[i].Resolved; f != nil {
					f(upstream, took, err)
				}
			}
		},
		ConnectionOpened: func(c pool.ConnectionInfo) {
			for i := range all {
				if f := all[i].ConnectionOpened; f != nil {
					f(c)
				}
			}
		},
		ConnectionClosed: func(c pool.ConnectionInfo, why pool.CloseReason) {
			for i := range all {
				if f := all[i].ConnectionClosed; f != nil {
					f(c, why)
				}
			}
		},
		DialFailed: all.failed(func(o *pool.Observer) failureFunc { return o.DialFailed }),
		Refused:    all.failed(func(o *pool.Observer) failureFunc { return o.Refused }),
		Retried:    all.failed(func(o *pool.Observer) failureFunc { return o.Retried }),
		ResolveFailed: func(failure pool.ResolveFailure) {
			for i := range all {
				if f := all[i].ResolveFailed; f != nil {
					f(failure)
				}
			}
		},
		ResolveRecovered: func(upstream string, failures int, lasted time.Duration) {
			for i := range all {
				if f := all[i].ResolveRecovered; f != nil {
					f(upstream, failures, lasted)
				}
			}
		},
		EndpointsChanged: func(c pool.EndpointChange) {
			for i := range all {
				if f := all[i].EndpointsChanged; f != nil {
					f(c)
				}
			}
		},
		ModeChanged: func(upstream string, mode pool.Mode) {
			for i := range all {
				if f := all[i].ModeChanged; f != nil {
					f(upstream, mode)
				}
			}
		},
		WarmChanged: func(upstream string, ready, floor int) {
			for i := range all {
				if f := all[i].WarmChanged; f != nil {
					f(upstream, ready, floor)
				}
			}
		},
		UpkeepChanged: func(c pool.UpkeepChange) {
			for i := range all {
				if f := all[i].UpkeepChanged; f != nil {
					f(c)
				}
			}
		},
		PortsShort: func(upstream string, use pool.PortUse) {
			for i := range all {
				if f := all[i].PortsShort; f != nil {
					f(upstream, use)
				}
			}
		},
		PrivilegeChanged: func(c pool.PrivilegeChange) {
			for i := range all {
				if f := all[i].PrivilegeChanged; f != nil {
					f(c)
				}
			}
		},
	}
}

// attemptEnded is nil when nobody wants to know: it is called for every request.
func (all observers) attemptEnded() func(pool.AttemptEnd) {
	var told func(pool.AttemptEnd)
	for i := range all {
		before, f := told, all[i].AttemptEnded
		switch {
		case f == nil:
		case before == nil:
			told = f
		default:
			told = func(end pool.AttemptEnd) { before(end); f(end) }
		}
	}
	return told
}

type failureFunc = func(upstream string, why pool.Reason, endpoint netip.AddrPort, err error)

func (all observers) failed(of func(*pool.Observer) failureFunc) failureFunc {
	return func(upstream string, why pool.Reason, endpoint netip.AddrPort, err error) {
		for i := range all {
			if f := of(&all[i]); f != nil {
				f(upstream, why, endpoint, err)
			}
		}
	}
}

// endpointsText words a change of addresses.
func endpointsText(c pool.EndpointChange) string {
	var parts []string
	for _, list := range []struct {
		what  string
		addrs []netip.AddrPort
	}{{"added", c.Added}, {"returned", c.Returned}, {"missing", c.Missing}, {"gone", c.Gone}} {
		if len(list.addrs) > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", list.what, addressesText(list.addrs)))
		}
	}
	return fmt.Sprintf("%s; %d now", strings.Join(parts, "; "), c.Current)
}

// addressesText lists addresses, of many the first.
func addressesText(addrs []netip.AddrPort) string {
	const most = 10
	var b strings.Builder
	for i, a := range addrs {
		switch {
		case i == most:
			fmt.Fprintf(&b, " and %d more", len(addrs)-most)
			return b.String()
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	return b.String()
}

func portsText(use pool.PortUse) string {
	return fmt.Sprintf("of %d local ports from %s, %d are open and %d in TIME_WAIT", use.Range, use.Source, use.Open, use.TimeWait)
}
