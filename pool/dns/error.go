package dns

import (
	"fmt"
	"time"
)

// Kind is what a failed lookup failed for.
type Kind uint8

// The kinds of failure.
const (
	NotFound     Kind = iota + 1 // the name does not exist (NXDOMAIN): servers agree on it
	NoAddress                    // the name exists and has nothing of what was asked for
	ServerFailed                 // servers answered that they cannot (SERVFAIL, REFUSED and the like), or nothing that makes sense
	Timeout                      // servers did not answer in time
	Unreachable                  // servers could not be reached: nobody listens, no route
	Malformed                    // the name is none
)

// String is the kind's name.
func (k Kind) String() string {
	names := [...]string{"", "not found", "no address", "server failure", "timeout", "unreachable", "malformed name"}
	if int(k) < len(names) {
		return names[k]
	}
	return "invalid"
}

// Error is why a lookup failed.
type Error struct {
	Kind   Kind
	Name   string        // as it was asked for
	Detail string        // which servers said what, which full names were tried
	TTL    time.Duration // for how long NotFound and NoAddress hold; Unknown for others, or when the server did not say
	Err    error         // the cause below, if there is one
}

func (e *Error) Error() string {
	what := map[Kind]string{
		NotFound:     "the name %q does not exist",
		NoAddress:    "the name %q has no address",
		ServerFailed: "the DNS servers failed to look up %q",
		Timeout:      "no DNS server answered for %q in time",
		Unreachable:  "no DNS server could be reached for %q",
		Malformed:    "%q is no DNS name",
	}[e.Kind]
	text := fmt.Sprintf(what, e.Name)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// settles reports that the servers agree that there is nothing to be found, so
// that asking them again soon is of no use.
func (e *Error) settles() bool { return e.Kind == NotFound || e.Kind == NoAddress }
