package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// printReceipt writes a table of what the receipt knows, one line each, all
// times in milliseconds. A receipt that is nil writes nothing.
func printReceipt(w io.Writer, r *warmpoolv1.Receipt) error {
	if r == nil {
		return nil
	}
	var b strings.Builder
	row := func(name, value, unit string) {
		fmt.Fprintf(&b, "%-24s %22s%s\n", name, value, unit)
	}
	duration := func(name string, d *durationpb.Duration) {
		if d != nil {
			row(name, milliseconds(d.AsDuration()), " ms")
		}
	}
	if r.GetConnectionId() != 0 {
		row("connection", fmt.Sprint(r.GetConnectionId()), "")
		row("endpoint", r.GetEndpoint(), "")
		row("reused", yesNo(r.GetReused()), "")
		row("exchanges before", fmt.Sprint(r.GetConnectionExchanges()), "")
	}
	duration("age", r.GetConnectionAge())
	duration("idle before", r.GetConnectionIdle())
	if r.GetPipelined() {
		row("pipelined", yesNo(true), "")
	}
	row("attempts", fmt.Sprint(r.GetAttempts()), "")
	for i, a := range r.GetFailedAttempts() {
		row(fmt.Sprintf("failed attempt %d", i+1), reasonName(a.GetReason()), "")
		row("  endpoint", a.GetEndpoint(), "")
		duration("  took", a.GetDuration())
	}
	duration("waited for connection", r.GetWaited())
	duration("  name resolution", r.GetDns())
	duration("  TCP connect", r.GetConnect())
	duration("  TLS handshake", r.GetTls())
	duration("request written at", r.GetWritten())
	duration("first byte at", r.GetFirstByte())
	duration("total", r.GetTotal())
	duration("handshake spared", r.GetHandshakeSpared())
	if r.SlowStartRoundsSpared != nil {
		row("slow start spared", fmt.Sprint(r.GetSlowStartRoundsSpared()), " round trips")
	}
	duration("round-trip time", r.GetRtt())
	if r.GetBytesSent() != 0 {
		row("sent", fmt.Sprint(r.GetBytesSent()), " bytes")
		row("received", fmt.Sprint(r.GetBytesReceived()), " bytes")
	}
	if d := r.GetDelivery(); d != warmpoolv1.Delivery_DELIVERY_UNSPECIFIED {
		row("delivery", strings.TrimPrefix(d.String(), "DELIVERY_"), "")
	}
	if c := r.GetCloseReason(); c != warmpoolv1.CloseReason_CLOSE_REASON_UNSPECIFIED {
		row("connection closed", strings.TrimPrefix(c.String(), "CLOSE_REASON_"), "")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// milliseconds writes d with three decimals and no unit.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3f", float64(d)/float64(time.Millisecond))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
