package pool

import (
	"net/netip"
	"time"
)

// Receipt is how an exchange was carried out. Times without another word count
// from the exchange's arrival.
type Receipt struct {
	Attempts int       // made, the last one included
	Failed   []Attempt // those that were followed by another, in order

	// Of the last attempt.
	Connection uint64         // id, unique in the pool; 0: none was taken
	Endpoint   netip.AddrPort // remote address
	Reused     bool           // it stood before the exchange asked for one
	Pipelined  bool           // the request left behind others that were not answered
	Exchanges  int            // the connection had carried before
	Age        time.Duration  // of the connection when it was taken
	Idle       time.Duration  // for how long it had been idle when it was taken
	Connect    time.Duration  // its TCP connect took, whoever waited for it
	Handshake  time.Duration  // its TLS handshake took; 0 for plain HTTP
	Sent       int64          // bytes written for the exchange, head and framing included, before TLS
	Received   int64          // bytes read for it, heads and framing included, after TLS
	RTT        time.Duration  // round trip as the kernel has it at the end; 0: unknown
	Rounds     int            // round trips of slow start that the connection's windows spared, estimated; negative: unknown
	Closed     CloseReason    // why the connection ended with the exchange; CloseNone: it did not

	Waited    time.Duration // until the last attempt had its connection
	Written   time.Duration // until the last byte of the request was handed to the kernel; 0: it never was
	FirstByte time.Duration // until the first byte of the response, interim ones included; 0: none came
	Total     time.Duration
	Delivery  Delivery
}

// Attempt is one try of an exchange that failed and was followed by another.
type Attempt struct {
	Connection uint64
	Endpoint   netip.AddrPort
	Reused     bool
	Reason     Reason
	Delivery   Delivery
	Duration   time.Duration
}

// account notes for the receipt that an attempt begins on c, under c's lock.
func (x *Exchange) account(c *conn, now instant) {
	r := &x.receipt
	r.Connection, r.Endpoint = c.id, c.endpoint()
	r.Reused = c.opened <= x.asked
	r.Pipelined = len(c.mu.queue) > 0
	r.Exchanges = c.mu.served
	r.Age, r.Idle = now-c.opened, x.idled
	r.Connect, r.Handshake = c.dialed.connect, c.dialed.handshake
	r.Waited = now - x.asked
	r.Sent, r.Received, r.Written, r.FirstByte, r.Rounds = 0, 0, 0, 0, -1
}

// accountFailure notes for the receipt an attempt that is followed by another.
func (x *Exchange) accountFailure() {
	x.receipt.Failed = append(x.receipt.Failed, Attempt{
		Connection: x.receipt.Connection, Endpoint: x.receipt.Endpoint, Reused: x.receipt.Reused,
		Reason: x.fault.Reason, Delivery: x.fault.Delivery, Duration: x.upstream.pool.now() - x.begun,
	})
}

// accountEnd completes the receipt.
func (x *Exchange) accountEnd() {
	r := &x.receipt
	r.Attempts = x.attempts
	r.Total = x.upstream.pool.now() - x.asked
	r.Delivery = DeliveryResponded
	if x.fault != nil {
		r.Delivery = x.fault.Delivery
	}
	c := x.conn
	if c == nil || r.Connection != c.id {
		r.Waited = r.Total
		return
	}
	c.mu.Lock()
	r.Closed = c.mu.life.reason
	c.mu.Unlock()
	r.RTT = c.notice.socket.rtt()
}
