// Package h1 is the HTTP/1.1 wire of a client: it turns a request into bytes and
// bytes into a response (RFC 9112, with the semantics of RFC 9110). It works on
// byte slices only: no connection, no goroutine, no clock, no I/O. The same input
// always gives the same output, however the input was cut into pieces.
//
// Writing: fill a [Request], call Prepare once, then AppendHead for every attempt;
// bodies of unknown length go through AppendChunk and AppendLastChunk.
//
// Reading: Start a [Parser] for one request, then Parse what has arrived until it
// says End:
//
//	p.Start(h1.ResponseTo{Method: req.Method, Close: req.WantsClose()})
//	for {
//		n, event, err := p.Parse(buf[r:w])
//		r += n
//		...
//	}
//
// After End, Persist tells whether the connection may carry another request.
//
// What it refuses: everything about which two recipients could disagree where a
// message ends. A response with both Content-Length and Transfer-Encoding, with any
// transfer coding but a single chunked, with Transfer-Encoding in HTTP/1.0, with
// differing or empty Content-Length values, with a bare LF, a bare CR or a NUL, with
// whitespace around a field name, is Malformed, although RFC 9112 permits a reading
// of some of them. There is no lenient mode.
//
// What it tolerates, each once and for every split alike:
//
//   - equal Content-Length values, on several lines or in one list (RFC 9110, 8.6);
//   - empty members in a Transfer-Encoding list (RFC 9110, 5.6.1.2);
//   - a missing reason phrase together with the space before it (RFC 9112, 4);
//   - status codes 600 to 999, passed on as they are;
//   - SP and HTAB after a chunk size (some servers pad it), around the ";" and "="
//     of chunk extensions, and extensions with any content but control characters,
//     as long as quotes are closed on the same line;
//   - obs-fold (RFC 9112, 5.2), read as one SP, except on the fields that decide
//     where the message ends;
//   - framing fields of any kind on a response that has no body by rule (HEAD, 1xx,
//     204, 304; RFC 9112, 6.3, rule 1). A faulty one makes the connection Ambiguous,
//     and Content-Length is then not passed on (RFC 9110, 8.6).
//
// Nothing may stand before a status line, not even an empty line.
package h1
