package sidecar

import (
	"net/netip"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// headerMessages keeps order and duplicates. The messages lie in one piece of
// memory: two allocations for any number of fields.
func headerMessages(fields []h1.Field) []*warmpoolv1.Header {
	if len(fields) == 0 {
		return nil
	}
	messages := make([]warmpoolv1.Header, len(fields))
	list := make([]*warmpoolv1.Header, len(fields))
	for i := range fields {
		m := &messages[i]
		m.Name = fields[i].Name
		if utf8.ValidString(fields[i].Value) {
			m.Value = fields[i].Value
		} else {
			m.RawValue = []byte(fields[i].Value)
		}
		list[i] = m
	}
	return list
}

// receiptMessage translates a receipt; nil stays nil. A handshake is reported as
// time spent when the exchange waited for it, and as time spared when the
// connection stood before.
func receiptMessage(r *pool.Receipt) *warmpoolv1.Receipt {
	if r == nil {
		return nil
	}
	m := &warmpoolv1.Receipt{
		ConnectionId:        r.Connection,
		Endpoint:            addressText(r.Endpoint),
		Reused:              r.Reused,
		Attempts:            uint32(r.Attempts),
		Waited:              spent(r.Waited),
		Written:             spent(r.Written),
		FirstByte:           spent(r.FirstByte),
		Total:               spent(r.Total),
		Delivery:            deliveryTwin(r.Delivery),
		BytesSent:           uint64(r.Sent),
		BytesReceived:       uint64(r.Received),
		ConnectionExchanges: uint64(r.Exchanges),
		ConnectionAge:       spent(r.Age),
		ConnectionIdle:      spent(r.Idle),
		CloseReason:         closeReasonTwin(r.Closed),
		Pipelined:           r.Pipelined,
		Rtt:                 spent(r.RTT),
	}
	for _, a := range r.Failed {
		m.FailedAttempts = append(m.FailedAttempts, &warmpoolv1.Attempt{
			ConnectionId: a.Connection, Endpoint: addressText(a.Endpoint), Reused: a.Reused,
			Reason: reasonTwin(a.Reason), Delivery: deliveryTwin(a.Delivery), Duration: spent(a.Duration),
		})
	}
	if r.Reused {
		m.HandshakeSpared = spent(r.Connect + r.Handshake)
		if r.Rounds >= 0 {
			m.SlowStartRoundsSpared = new(uint32(r.Rounds))
		}
	} else {
		m.Connect = spent(r.Connect)
		m.Tls = spent(r.Handshake)
	}
	return m
}

func addressText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// spent leaves out what did not happen.
func spent(d time.Duration) *durationpb.Duration {
	if d <= 0 {
		return nil
	}
	return durationpb.New(d)
}
