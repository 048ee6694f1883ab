package pool

// Reason says why an exchange failed. It is the one code for that in logs,
// metrics, events, failures and receipts.
type Reason uint8

// The reasons of failed exchanges, in the order of a request's way.
const (
	ReasonNone              Reason = iota
	ReasonUnknownUpstream          // no upstream has the name that was asked for
	ReasonInvalidRequest           // the request cannot be sent as it is
	ReasonRequestTooLarge          // the request's body is over the upstream's buffer limit
	ReasonUnsupported              // the request asks for what a pooled connection cannot do (tunnel, upgrade)
	ReasonQueueFull                // as many requests wait for a connection as are allowed to
	ReasonWaitTimeout              // no connection came free within the queue's max_wait
	ReasonDeadlineExceeded         // the caller's deadline or timeout passed
	ReasonCancelled                // the caller gave up
	ReasonDNSFailed                // the upstream's host could not be resolved
	ReasonAddressForbidden         // the address is one that the upstream must not connect to
	ReasonDialRefused              // the endpoint refused the connection
	ReasonDialTimeout              // TCP connect or TLS handshake took too long
	ReasonDialFailed               // the connection could not be made for another cause
	ReasonNoLocalPort              // no local port is left towards the endpoint (EADDRNOTAVAIL)
	ReasonTLSFailed                // the TLS handshake failed
	ReasonConnectionClosed         // the peer closed before any byte of the response
	ReasonConnectionReset          // the peer reset before any byte of the response
	ReasonWriteFailed              // the request could not be written in full and no response came
	ReasonResponseTruncated        // the connection ended inside the response
	ReasonMalformedResponse        // the response breaks the protocol
	ReasonResponseTooLarge         // the response's head, trailers or framing are over a limit
	ReasonBodyTooLarge             // the response's body is over the upstream's buffer limit
	ReasonResponseTimeout          // the final response head did not arrive in time
	ReasonBodyTimeout              // the response or request body stopped moving
	ReasonUpstreamDeleted          // the upstream was removed while the request waited
	ReasonUpstreamPaused           // the upstream is paused and the request could not wait for it
	ReasonDraining                 // the upstream is drained, or the pool is shutting down
	ReasonInternal                 // a defect of the pool itself
	reasonCount
)

var reasonNames = [reasonCount]string{
	"NONE", "UNKNOWN_UPSTREAM", "INVALID_REQUEST", "REQUEST_TOO_LARGE", "UNSUPPORTED", "QUEUE_FULL",
	"WAIT_TIMEOUT", "DEADLINE_EXCEEDED", "CANCELLED", "DNS_FAILED", "ADDRESS_FORBIDDEN", "DIAL_REFUSED", "DIAL_TIMEOUT",
	"DIAL_FAILED", "NO_LOCAL_PORT", "TLS_FAILED", "CONNECTION_CLOSED", "CONNECTION_RESET", "WRITE_FAILED",
	"RESPONSE_TRUNCATED", "MALFORMED_RESPONSE", "RESPONSE_TOO_LARGE", "BODY_TOO_LARGE", "RESPONSE_TIMEOUT",
	"BODY_TIMEOUT", "UPSTREAM_DELETED", "UPSTREAM_PAUSED", "DRAINING", "INTERNAL",
}

// String is the reason's code: DIAL_REFUSED, MALFORMED_RESPONSE, …
func (r Reason) String() string { return nameOf(reasonNames[:], uint8(r)) }

// Reasons lists every reason an exchange can fail for, so that a translation
// of them can be shown to be total.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := ReasonNone + 1; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// CloseReason says why a connection ended. The first cause that was seen stands.
type CloseReason uint8

// The reasons for which connections end.
const (
	CloseNone              CloseReason = iota
	ClosePeerClosedIdle                // the peer closed it while it was idle
	ClosePeerResetIdle                 // the peer reset it while it was idle
	CloseUnsolicitedData               // bytes came while no request was outstanding (RFC 9112, 9.2)
	CloseByPeer                        // the response said Connection: close
	CloseRequested                     // the caller's request said Connection: close, or reuse is off
	CloseOldVersion                    // an HTTP/1.0 response without keep-alive
	CloseDelimited                     // the response's body ends with the connection
	CloseAmbiguousFraming              // the response's framing leaves a doubt (RFC 9112, 6.3)
	CloseExtraBytes                    // bytes followed the response
	CloseMalformedResponse             // the response broke the protocol
	CloseTooLarge                      // the response was over a limit
	CloseTruncated                     // the peer ended it inside a response
	CloseConnectionClosed              // the peer closed it before answering
	CloseConnectionReset               // the peer reset it before answering
	CloseResponseTimeout               // the response head did not arrive in time
	CloseBodyTimeout                   // a body stopped moving
	CloseDeadlineExceeded              // the exchange's deadline passed
	CloseCancelled                     // the exchange's caller gave up
	CloseUnsentBody                    // the response was complete before the request's body had left
	CloseIdleTimeout                   // idle for the policy's max_idle_time
	CloseIdleLimit                     // idle for as long as the server is known or has said to allow
	CloseMaxLifetime                   // older than the policy's max_lifetime
	CloseMaxRequests                   // carried as many exchanges as the policy or the server allows
	CloseEndpointGone                  // its address is no longer one of the upstream's, or refuses new connections
	CloseSurplus                       // gave its place to a connection that was needed more
	CloseUpgraded                      // the peer switched protocols
	CloseReconnect                     // all connections of the upstream are replaced
	CloseDrain                         // the upstream is drained
	CloseByOperator                    // it was named to be closed
	CloseUpstreamDeleted               // its upstream is removed
	CloseShutdown                      // the pool shuts down
	CloseInternal                      // a defect of the pool itself
	closeReasonCount
)

var closeReasonNames = [closeReasonCount]string{
	"NONE", "PEER_CLOSED_IDLE", "PEER_RESET_IDLE", "UNSOLICITED_DATA", "CLOSE_BY_PEER", "CLOSE_REQUESTED",
	"OLD_VERSION", "CLOSE_DELIMITED", "AMBIGUOUS_FRAMING", "EXTRA_BYTES", "MALFORMED_RESPONSE", "TOO_LARGE",
	"TRUNCATED", "CONNECTION_CLOSED", "CONNECTION_RESET", "RESPONSE_TIMEOUT", "BODY_TIMEOUT",
	"DEADLINE_EXCEEDED", "CANCELLED", "UNSENT_BODY", "IDLE_TIMEOUT", "IDLE_LIMIT", "MAX_LIFETIME",
	"MAX_REQUESTS", "ENDPOINT_GONE", "SURPLUS", "UPGRADED", "RECONNECT", "DRAIN",
	"CLOSED_BY_OPERATOR", "UPSTREAM_DELETED", "SHUTDOWN", "INTERNAL",
}

// String is the reason's code: PEER_CLOSED_IDLE, MAX_LIFETIME, …
func (r CloseReason) String() string { return nameOf(closeReasonNames[:], uint8(r)) }

// CloseReasons lists every reason a connection can end for.
func CloseReasons() []CloseReason {
	all := make([]CloseReason, 0, closeReasonCount-1)
	for r := CloseNone + 1; r < closeReasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// Delivery is what is known of a failed request's way to the upstream. It
// decides whether sending it again could make the upstream act twice.
type Delivery uint8

// What is known of a request's delivery.
const (
	DeliveryNotSent     Delivery = iota + 1 // no byte of it was written
	DeliveryNotReceived                     // bytes were written, and none of them reached the upstream: proven
	DeliveryUnknown                         // the upstream may have received and acted on it
	DeliveryResponded                       // the upstream answered, at least in part
)

// String is the delivery's code: NOT_SENT, NOT_RECEIVED, UNKNOWN or RESPONDED.
func (d Delivery) String() string {
	return nameOf([]string{"UNSPECIFIED", "NOT_SENT", "NOT_RECEIVED", "UNKNOWN", "RESPONDED"}, uint8(d))
}

func nameOf(names []string, i uint8) string {
	if int(i) < len(names) && names[i] != "" {
		return names[i]
	}
	return "INVALID"
}
