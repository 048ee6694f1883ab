// Package pool keeps warm, persistent and parallel HTTP/1.1 connections to
// named upstreams and sends requests on them.
//
// What it does not do: it follows no redirects, stores no cookies, decodes no
// content codings, retries on no status, caches nothing, tunnels nothing and
// speaks no other version of HTTP. A request goes out as it came, less the
// fields that concern only one connection, and so does the response.
//
// # A request's way
//
//	upstream.go   Do, submit         the request is checked and asks for a connection
//	admission.go  ask                an idle one, or dial, or wait, or refuse
//	              (dialing.go, warm.go, demand.go, lifetime.go, watch.go, pipelining.go,
//	              changing.go, gate.go, replacing.go, endpoints.go, standing.go, racing.go,
//	              choice.go, trust.go: its further decisions)
//	dial.go       dial               TCP and TLS, when one is dialed; resolve.go (through dns) keeps the addresses
//	conn.go       start              the exchange begins on it, if nothing has come there (in a batch: glance.go)
//	writer.go     enqueue, flush     the request leaves, in the goroutine that brought it
//	h1            Request.AppendHead
//	reader.go     serve, read, parse the connection's own goroutine reads the response
//	h1            Parser
//	exchange.go   readHead, readBody the sink (sink.go) is told
//	reader.go     end                the verdict: may the connection be used again?
//	conn.go       release            idle again, or closed, with the reason
//	exchange.go   complete           sent once more (proof.go: may it be? retrying.go: does the budget have it?), or over
//
// # Who decides and who does
//
// Three parts decide and do nothing else: h1 (what the bytes mean), life (what
// state a connection is in) and admission (who gets which connection, who waits,
// what is dialed and retired). They are plain values without I/O, goroutines or
// clocks. What drives them: one goroutine per connection that reads for as long
// as it lives, so that a close or a stray byte on an idle connection is noticed
// when it happens; the goroutine that submits a request, which also writes it;
// and one timer per upstream for everything that takes too long.
//
// The reader ends the exchange it reads for, gives the connection to the next
// request that waits and writes that request too, so that under load an
// exchange costs no goroutine switch but the caller's own.
//
// # Changes
//
// An upstream's policy is immutable and exchanged as a whole (update.go). An
// attempt keeps the one that it began with, a connection the one that it was
// dialed for; the decisions take another one as an event like any other
// (changing.go). What an operator does is in operate.go: to pause and to drain
// (gate.go decides), to replace connections and to end one (replacing.go).
//
// # Locks
//
// Upstream.mu guards the decisions, conn.mu one connection's state. Neither is
// held while the other is taken, nor during I/O or a callback.
//
// # Isolation
//
// A response never reaches another request. Whatever leaves a doubt closes the
// connection: bytes that no request asked for, bytes behind a response, framing
// that could be read in two ways, a response that is complete before its request
// was sent in full, a caller that gave up.
package pool
