package h1test

import (
	"context"
	"time"
)

// Config is what a case asks of the client under test. All limits are set in
// every case; a client that lacks one ignores it and the case judges the
// result.
type Config struct {
	Addr string // of the origin, 127.0.0.1:port
	TLS  bool   // speak TLS; the certificate is valid for 127.0.0.1
	CA   []byte // PEM of the certificate to trust when TLS is set

	MaxConns   int // connections open at once
	Pipelining int // requests in flight per connection; 1 is no pipelining

	HeaderTimeout      time.Duration // request written to final head complete
	BodyIdleTimeout    time.Duration // longest silence inside a response body
	ExpectContinueWait time.Duration // how long a body waits for 100 (Continue)
	IdleTimeout        time.Duration // of a connection without a request; longer than any case

	MaxHeadBytes      int   // of a response head, all interim ones included
	MaxHeaderCount    int   // field lines in a head
	MaxChunkLineBytes int   // of a chunk-size line with its extensions
	MaxBodyBytes      int64 // of a response body; 0 is no limit
}

// Call is one request. Text is bytes: a field value or path may hold any of
// the 256, and may be one that a client has to refuse.
type Call struct {
	Method, Path string
	Headers      [][2]string // in order, duplicates kept; Host is the client's own
	Body         []byte
	Replayable   bool          // false: the body is a stream that can be read once
	Timeout      time.Duration // of the whole call; 0 is none
}

// ErrorKind says how a call failed.
type ErrorKind string

// The kinds of failure. NoError is a response.
const (
	NoError   ErrorKind = ""
	Closed    ErrorKind = "closed"    // the connection ended before any byte of a response
	Truncated ErrorKind = "truncated" // it ended after at least one, before the last
	Malformed ErrorKind = "malformed" // a protocol violation, or a request refused before anything was written
	TooLarge  ErrorKind = "too_large" // a limit of Config
	Timeout   ErrorKind = "timeout"
)

// Outcome is what became of a call.
type Outcome struct {
	Status            int
	Headers, Trailers [][2]string // of the final response, in order; names in any case
	Body              []byte
	// Tunnel is what the server sent behind a 101, or a 2xx to CONNECT. A client
	// that can do either reads until the end of the connection or until nothing
	// came for a while (200 ms will do), then closes it and answers.
	Tunnel []byte

	Err    ErrorKind
	Detail string // the client's own words for Err, printed only
}

// Client is the client under test: one pool against one origin.
type Client interface {
	// Do makes one call and answers when its body was read to the end. It is
	// called from several goroutines at once. When ctx ends it answers soon.
	Do(ctx context.Context, c Call) Outcome
	// Close drops every connection. No call is in progress.
	Close()
}

// Starter is for clients that can pipeline. Start answers when the call has its
// place in the order of calls, and wait then answers as Do does. A client
// without it has pipelined calls made by Do in goroutines, each started when the
// origin has seen the previous request, or after 20 ms.
type Starter interface {
	Start(ctx context.Context, c Call) (wait func() Outcome)
}

// NewClient makes the client for one case.
type NewClient func(Config) (Client, error)

// Features names what the client under test can do, in the words of
// [Case.Requires]. A case that needs something else is not played.
type Features map[string]bool
