// Package h1test is a scripted HTTP/1.1 origin and a player of conformance
// cases, for tests of HTTP/1.1 clients. Nothing but tests imports it.
//
// # Origin
//
// [Listen] opens a real TCP (or TLS) listener on 127.0.0.1 that does nothing by
// itself: a test takes connections and requests from it and says byte for byte
// what goes back. [Start] wraps it for a test that reads as a list of verbs:
//
//	origin := h1test.Start(t, h1test.Plain)
//	... point a client at origin.Addr() and let it send a request ...
//	peer := origin.Accept()
//	peer.ReadRequest()
//	peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
//	peer.CloseRST()
//
// # Cases
//
// A [Case] is one fresh client against one scripted origin: what the script
// does, which calls the client makes, and which results are right. [Cases] are
// those that come with the package, [Load] reads more from a file of the same
// format. [Play] plays one and judges it, [RunAll] plays many as subtests and
// returns a [Report]. The client under test is reached through [Client], which
// is small on purpose: an adapter is a page of code.
//
// # The format
//
// A file is a JSON list of cases. All text is Latin-1: one code point is one
// byte. The fields of [Case], [CallSpec], [Step] and [Expectation] describe the
// keys. The rules that span them:
//
//   - Connections are numbered in the order in which the script takes them;
//     warm ones are 0..N-1. Steps act on the current connection, the one taken
//     last, unless they name another.
//   - A request that the script does not ask for is answered 500 and fails the
//     case; on a connection which the script has closed it is a race between
//     the two sides, not counted against the client but counted as an attempt.
//     An extra connection that carries no request is no failure.
//   - Every call must end within 3 s.
//   - After the script and the calls have ended the player watches for 150 ms
//     for repeated requests, then, where the case asks for it, sends GET
//     /__probe to see whether the connection is used again.
//   - A result passes when outcome, reuse and repetition together match one of
//     the alternatives. An error of another kind than expected, all else being
//     right, is a deviation, not a failure.
//
// The only waits are those which the format prescribes and the bounds on what
// never comes; everything else is driven by what arrives.
package h1test
