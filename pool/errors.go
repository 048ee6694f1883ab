package pool

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Error is how an exchange fails. Every error that Do returns is one.
type Error struct {
	Reason   Reason
	Delivery Delivery
	Upstream string         // the name as the caller gave it
	Endpoint netip.AddrPort // the address involved; the zero value where none was
	Attempts int            // attempts made; 0 when no connection was ever taken
	Detail   string         // what happened, with the values involved
	State    *State         // the upstream's numbers at that moment, on a refusal by the queue
	Receipt  *Receipt       // how far the exchange came; nil unless asked for
	Err      error          // the cause underneath, or nil
}

// State is an upstream's connections and queue at one moment.
type State struct {
	Max, Total, Active, Idle, Dialing, Waiting int
	Waited                                     time.Duration // how long the refused request had waited
	LastDialError                              string        // the newest dial or resolver error, empty when the newest dial succeeded
}

// Error words the failure for an operator: the upstream, what happened and
// where, and, for a refusal by the queue, the pool's numbers.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Upstream != "" {
		fmt.Fprintf(&b, "upstream %q: ", e.Upstream)
	}
	b.WriteString(e.Detail)
	if e.Endpoint.IsValid() && !strings.Contains(e.Detail, e.Endpoint.String()) {
		fmt.Fprintf(&b, " (endpoint %s)", e.Endpoint)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if s := e.State; s != nil {
		fmt.Fprintf(&b, " (waited %s; connections: %d of %d, %d active, %d idle, %d dialing; %d waiting",
			s.Waited.Round(time.Millisecond), s.Total, s.Max, s.Active, s.Idle, s.Dialing, s.Waiting)
		if s.LastDialError != "" {
			fmt.Fprintf(&b, "; last dial error: %s", s.LastDialError)
		}
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap is the cause underneath: a net.OpError, an h1.ParseError, context.Canceled, …
func (e *Error) Unwrap() error { return e.Err }

// SafeToRetry reports whether the request provably never reached the
// upstream, so that it may be sent again whatever its method.
func (e *Error) SafeToRetry() bool {
	return e.Delivery == DeliveryNotSent || e.Delivery == DeliveryNotReceived
}
