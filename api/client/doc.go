// Package client sends HTTP requests through a warmpool sidecar, as net/http
// would send them itself: the sidecar has the connections, warm and shared.
//
//	pool, err := client.Dial("unix:///run/warmpool/warmpool.sock")
//	if err != nil {
//		return err
//	}
//	defer pool.Close()
//	web := &http.Client{Transport: pool.Transport(), Timeout: 2 * time.Second}
//
//	response, err := web.Get("http://payments/v1/balance") // the host is the upstream's name
//	if failure, ok := errors.AsType[*client.Failure](err); ok {
//		log.Print(failure.Reason, failure.Delivery, failure.Retryable())
//	}
//	if err != nil {
//		return err
//	}
//	defer response.Body.Close()
//
// A program that calls https://payments.internal:8443/v1/balance today keeps its
// URLs with one option:
//
//	client.Dial(target, client.Upstreams(map[string]string{"payments.internal:8443": "payments"}))
//
// One whose hosts are not known beforehand does with another, where the sidecar's
// dynamic_origins let it: [Origins] makes the URL's origin the upstream.
//
//	client.Dial(target, client.Origins())
//
// # Session or Stream
//
// A request rides a Session, one gRPC stream that all goroutines share, or a
// Stream of its own. A Session costs a fraction of a Stream, and answers in
// whole: the response is returned once all of it is there, and its body is limited
// by the upstream's limits.buffered_body_bytes (4 MiB unless configured). A Stream
// returns the response with its head, and bodies of any length flow. The client
// chooses; a Stream it is when
//
//   - the request's body is larger than 64 KiB together with the head, of unknown
//     length, or not in memory (Request.GetBody is nil: http.NewRequest sets it for
//     bytes and strings);
//   - the request has trailers, accepts text/event-stream, or is traced for interim
//     responses (httptrace.ClientTrace.Got1xxResponse);
//   - an earlier response from the same path was larger than 256 KiB;
//   - [WithStream] or [Streaming] asks for it.
//
// What remains is a response that turns out too large for a Session. An idempotent
// request is then sent again, as a Stream. Any other one fails with
// REASON_BODY_TOO_LARGE, though the upstream has carried it out, and the next one
// to that path is a Stream. The same goes for responses that should be read while
// the upstream still writes them, long polls that flush early for example: the
// client cannot know. Say WithStream where a POST may be answered by megabytes, or
// a head must be seen before its body.
//
// # As http.Transport, and not
//
// Transport does what http.Transport does with contexts, bodies, trailers (those of a
// request whose body has a known length, or that has none, are left out in silence:
// set ContentLength to -1), Content-Length, Expect: 100-continue, the default
// User-Agent, gzip (asked for and undone unless the caller does either, or
// [DisableCompression] says not to), and never changes a request. It differs in what
// belongs to a connection, which is the sidecar's:
//
//   - Whether TLS is used is the upstream's configuration, not the URL's scheme,
//     unless [Origins] makes it so. A response has no TLS state.
//   - Proto is always HTTP/1.1, Status has the standard text, and Header holds no
//     fields of the connection. Close is false and TransferEncoding nil.
//   - Of httptrace's hooks WroteHeaders, WroteRequest, Wait100Continue,
//     Got100Continue, Got1xxResponse and GotFirstResponseByte are called; the two of
//     interim responses on a Stream alone, which Got1xxResponse asks for. There is no
//     connection to tell of: [WithReceipt] tells which one the sidecar used, whether
//     it was new, and where time went.
//   - Errors are a [*Failure], which says what is known of the request's delivery.
//   - A request ends with its context; Request.Cancel is not looked at.
//   - Proxies, CONNECT and upgrades are refused, and so are bytes in a query that
//     must be percent-encoded.
//
// # When the sidecar restarts
//
// A sidecar that drains finishes the calls it has, while new ones go to the next one.
// Calls that were not handed to it are handed to its successor, within [Patience].
// So are those that it was lost with, or that it cut because their time was over,
// if they are idempotent, by method, by a field Idempotency-Key or [WithIdempotent],
// and nothing of a response was given out. They are sent again three times at most.
// Any other call fails with what is known of its delivery.
//
// # A call's way
//
//	transport.go  Do and RoundTrip: Session or Stream
//	request.go    what is sent, checked
//	wire.go       ... and encoded
//	calls.go      calls that wait, and the session they go to
//	solo.go       ... or one that is alone reads its own reply
//	session.go    calls that share a session
//	stream.go     one exchange on a Stream; upload.go its request's body
//	response.go   the reply becomes an http.Response
//	body.go       ... and its body
//	failure.go    or an error
package client
