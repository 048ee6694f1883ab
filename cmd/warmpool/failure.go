package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// failed turns the error of a request into the command's: what happened, for a
// person, and the exit code, for a script.
func (f *sendFlags) failed(err error, stderr io.Writer) error {
	failure, ok := errors.AsType[*client.Failure](err)
	switch {
	case !ok:
		return &exitError{exitFailed, err}
	case failure.Reason != warmpoolv1.Reason_REASON_UNSPECIFIED:
		return errors.Join(&exitError{exitFailed, explain(failure)}, printReceipt(stderr, failure.Receipt))
	case errors.Is(failure, client.ErrNoSidecar):
		return f.socket.unreached(strings.TrimPrefix(failure.Message, "no sidecar answers at "+f.socket.address+": "))
	case failure.Code == codes.Unimplemented:
		_, unknown, _ := strings.Cut(failure.Message, ": ")
		return &exitError{exitUnreachable, fmt.Errorf("what answers at %s is no data listener: %s\n  to do     name one of the sidecar's data listeners with -s: its setting `listen`", f.socket, unknown)}
	default:
		return &exitError{exitUnreachable, explain(failure)}
	}
}

// explain words a failure over several lines: what, why, what it did, what to do.
func explain(f *client.Failure) error {
	var b strings.Builder
	b.WriteString(f.Message)
	line := func(name, text string) { fmt.Fprintf(&b, "\n  %-9s %s", name, text) }
	line("reason", reasonName(f.Reason))
	line("delivery", deliveryText(f.Delivery))
	if f.Attempts > 0 || f.Delivery == warmpoolv1.Delivery_DELIVERY_NOT_SENT { // else nobody has told: the sidecar's word came too late
		line("attempts", fmt.Sprint(f.Attempts))
	}
	line("status", f.Code.String())
	if f.RetryAfter > 0 {
		line("again in", f.RetryAfter.String())
	}
	line("to do", adviceOn(f))
	return errors.New(b.String())
}

func reasonName(r warmpoolv1.Reason) string { return strings.TrimPrefix(r.String(), "REASON_") }

func deliveryText(d warmpoolv1.Delivery) string {
	name := strings.TrimPrefix(d.String(), "DELIVERY_")
	switch d {
	case warmpoolv1.Delivery_DELIVERY_NOT_SENT:
		return name + ": no byte of it left; safe to send again"
	case warmpoolv1.Delivery_DELIVERY_NOT_RECEIVED:
		return name + ": the upstream provably took none of it; safe to send again"
	case warmpoolv1.Delivery_DELIVERY_UNKNOWN:
		return name + ": the upstream may have acted on it; send again only if that does no harm"
	case warmpoolv1.Delivery_DELIVERY_RESPONDED:
		return name + ": the upstream has it and began to answer"
	default:
		return name
	}
}

// adviceOn is what to do about a failure: more exact than by its reason alone where its
// message tells.
func adviceOn(f *client.Failure) string {
	tls := f.Reason == warmpoolv1.Reason_REASON_TLS_FAILED
	switch {
	case tls && strings.Contains(f.Message, ", expired at "):
		return "have that certificate renewed where the upstream runs, and the new one loaded there; if the time told is wrong, set the clock where the sidecar runs"
	case tls && strings.Contains(f.Message, ", is not valid before "):
		return "if the time told is wrong, set the clock where the sidecar runs; else have the upstream show its former certificate until then"
	}
	return advice[f.Reason]
}

// advice says what to do about each reason.
var advice = map[warmpoolv1.Reason]string{
	warmpoolv1.Reason_REASON_UNSPECIFIED:        "look at the sidecar's log",
	warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM:   "name an upstream of the sidecar's configuration, or add this one to it",
	warmpoolv1.Reason_REASON_INVALID_REQUEST:    "correct what the message names",
	warmpoolv1.Reason_REASON_REQUEST_TOO_LARGE:  "send less, or raise the upstream's limits.buffered_body_bytes",
	warmpoolv1.Reason_REASON_UNSUPPORTED:        "tunnels and upgrades cannot be pooled: connect directly",
	warmpoolv1.Reason_REASON_QUEUE_FULL:         "try again later; if it stays so, raise connections.max or queue.max_waiting, or look why the upstream is slow",
	warmpoolv1.Reason_REASON_WAIT_TIMEOUT:       "try again later; if it stays so, raise connections.max or queue.max_wait, or look why the upstream is slow",
	warmpoolv1.Reason_REASON_DEADLINE_EXCEEDED:  "allow more time (--timeout), or look where it went (--receipt)",
	warmpoolv1.Reason_REASON_CANCELLED:          "nothing: the caller gave up",
	warmpoolv1.Reason_REASON_DNS_FAILED:         "check the host in the upstream's url and the resolver where the sidecar runs",
	warmpoolv1.Reason_REASON_ADDRESS_FORBIDDEN:  "look up what the name resolves to; if the address is meant, configure an upstream for it",
	warmpoolv1.Reason_REASON_DIAL_REFUSED:       "check that the upstream runs and listens at this address and port",
	warmpoolv1.Reason_REASON_DIAL_TIMEOUT:       "check the way to this address (firewall, network policy), or raise timeouts.connect or timeouts.tls_handshake",
	warmpoolv1.Reason_REASON_DIAL_FAILED:        "check the way to this address from where the sidecar runs",
	warmpoolv1.Reason_REASON_NO_LOCAL_PORT:      "lower connections.max or the rate of new connections, or give the sidecar more local ports or descriptors",
	warmpoolv1.Reason_REASON_TLS_FAILED:         "compare the upstream's certificate with tls.ca_file, tls.server_name, tls.min_version and the url's host",
	warmpoolv1.Reason_REASON_CONNECTION_CLOSED:  "if the delivery allows it, send again; set connections.max_idle_time below the upstream's idle timeout",
	warmpoolv1.Reason_REASON_CONNECTION_RESET:   "if the delivery allows it, send again; look at the upstream's log",
	warmpoolv1.Reason_REASON_WRITE_FAILED:       "if the delivery allows it, send again; look at the upstream's log",
	warmpoolv1.Reason_REASON_RESPONSE_TRUNCATED: "look at the upstream's log: it ended the connection inside its response",
	warmpoolv1.Reason_REASON_MALFORMED_RESPONSE: "correct the upstream: what it sent is no HTTP/1.1 response",
	warmpoolv1.Reason_REASON_RESPONSE_TOO_LARGE: "raise the upstream's limits for response heads and trailers, if it may send that much",
	warmpoolv1.Reason_REASON_BODY_TOO_LARGE:     "raise the upstream's limits.buffered_body_bytes, or ask it for less",
	warmpoolv1.Reason_REASON_RESPONSE_TIMEOUT:   "look why the upstream is slow, or raise timeouts.response_head",
	warmpoolv1.Reason_REASON_BODY_TIMEOUT:       "look why the upstream stopped, or raise timeouts.body_idle",
	warmpoolv1.Reason_REASON_UPSTREAM_DELETED:   "use another upstream, or configure this one again",
	warmpoolv1.Reason_REASON_UPSTREAM_PAUSED:    "resume the upstream",
	warmpoolv1.Reason_REASON_DRAINING:           "send again to the sidecar that replaces this one",
	warmpoolv1.Reason_REASON_CALLER_LIMIT:       "have less in flight at once, or try again later",
	warmpoolv1.Reason_REASON_RETRY_BUDGET:       "try again later",
	warmpoolv1.Reason_REASON_DUPLICATE_ID:       "give each open call of a session an id of its own",
	warmpoolv1.Reason_REASON_UNKNOWN_ID:         "cancel only calls that are open",
	warmpoolv1.Reason_REASON_ORIGIN_LIMIT:       "raise dynamic_origins.max, or wait until others have not been used for dynamic_origins.max_idle_time",
	warmpoolv1.Reason_REASON_NOT_ALLOWED:        "show a certificate (--cert, --key) or a token (--token-file) that a rule in the sidecar's allow names, or have this caller, or this origin, allowed there",
	warmpoolv1.Reason_REASON_INTERNAL:           "this is a defect of the sidecar: report it with the sidecar's log",
}
