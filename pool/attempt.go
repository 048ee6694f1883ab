package pool

import (
	"net/netip"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// AttemptEnd is how one attempt ended, well or not.
type AttemptEnd struct {
	Upstream string
	Host     string // of the upstream's URL, as is Port
	Port     string
	Endpoint netip.AddrPort
	Method   string // as the caller gave it; valid during the call only
	Number   int    // 1 is the first attempt of its exchange
	Status   int    // of the response; 0: there was none
	Failure  *Error // nil: the response is complete
	Duration time.Duration
	Waited   time.Duration // from the exchange's arrival until the attempt had its connection
}

// Tracer follows one exchange through its attempts. Its methods are called one at
// a time and must not block.
type Tracer interface {
	// AttemptBegins is called before the attempt of that number, counted from 1, is
	// written, and again when the connection it was given turns out to be over. It
	// may exchange the values of the request's fields for valid ones that are not
	// longer.
	AttemptBegins(number int, fields []h1.Field)
	// AttemptEnded is called when it is over.
	AttemptEnded(AttemptEnd)
}

// attemptBegins tells the tracer, if there is one, outside every lock.
func (x *Exchange) attemptBegins() {
	if x.tracer != nil {
		x.tracer.AttemptBegins(x.attempts+1, x.head.Fields)
	}
}

// attemptEnded tells who wants to know that the attempt is over.
func (x *Exchange) attemptEnded() {
	told := x.upstream.pool.options.Observer.AttemptEnded
	if told == nil && x.tracer == nil || x.upkeep {
		return
	}
	over := x.over
	if over == 0 {
		over = x.upstream.pool.now()
	}
	o := &x.conn.slot.target.origin
	end := AttemptEnd{
		Upstream: x.upstream.name, Host: o.host, Port: o.port, Endpoint: x.conn.endpoint(),
		Method: x.head.Method, Number: x.attempts, Status: x.status, Failure: x.fault,
		Duration: over - x.begun, Waited: x.begun - x.asked,
	}
	if told != nil {
		told(end)
	}
	if x.tracer != nil {
		x.tracer.AttemptEnded(end)
	}
}
