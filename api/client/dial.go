package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// DefaultTarget is where a sidecar listens that was told nothing else.
const DefaultTarget = "unix:///run/warmpool/warmpool.sock"

// Client sends requests through one sidecar. Many goroutines may use it, and one is
// enough for a program. It holds two connections to the sidecar at most, and three
// goroutines beside gRPC's.
type Client struct {
	options options
	routes  routes
	calls   *calls
	large   largePlaces

	// bulk is a connection to the sidecar of its own for Streams, so that long
	// bodies do not delay the replies of sessions. It is made when first needed.
	bulk *grpc.ClientConn

	ctx  context.Context // the client's life
	stop context.CancelFunc
}

// options are what Dial was told.
type options struct {
	target      string
	credentials Credentials
	grpc        []grpc.DialOption
	upstreams   map[string]string
	origins     bool
	inFlight    int
	waiting     int
	patience    time.Duration
	stream      bool
	plain       bool
}

// Option changes what Dial does by default.
type Option func(*options)

// Upstreams maps hosts to names of upstreams: {"payments.internal:8443":
// "payments"}. A key is a host, host:port, or an origin such as
// "https://payments.internal:8443"; the port may be left out where it is the
// scheme's own. The upstream gets the URL's host as Host, as it would from
// http.Transport.
//
// Default, and for hosts that are not mapped: the URL's host is the upstream's name,
// and Host is what the upstream is configured with.
func Upstreams(names map[string]string) Option {
	return func(o *options) { o.upstreams = names }
}

// Origins lets URLs say where to, as they do for http.Transport: a URL whose host is
// not mapped by Upstreams means the upstream of its origin, such as
// "https://api.example.com:8443". The sidecar makes it when it is asked for, where
// its dynamic_origins allow that, and else refuses with REASON_NOT_ALLOWED. Its
// Host is the origin's; a Request.Host that differs from the URL's is refused.
func Origins() Option { return func(o *options) { o.origins = true } }

// InFlight bounds the calls that ride a session at once, and those that wait for a
// place or for a sidecar. With more, calls fail with REASON_QUEUE_FULL, not sent.
// Defaults: 1024, which is what a sidecar takes by default, and 4096.
func InFlight(perSession, waiting int) Option {
	return func(o *options) { o.inFlight, o.waiting = perSession, waiting }
}

// Patience is how long a call waits for a sidecar that is not there, such as one
// that is just restarted. The call's context may end it earlier. Default: 5 s. 0: it
// fails at once.
func Patience(d time.Duration) Option { return func(o *options) { o.patience = d } }

// Streaming sends every request as a Stream, as WithStream does for one.
func Streaming() Option { return func(o *options) { o.stream = true } }

// DisableCompression keeps the client from asking for gzip by itself, and from
// undoing it then: http.Transport.DisableCompression.
func DisableCompression() Option { return func(o *options) { o.plain = true } }

// GRPC adds options of the gRPC connections. They come after the client's own, which
// are: credentials as Secured has them, windows of fixed size, messages of any size,
// and quick reconnecting.
func GRPC(dial ...grpc.DialOption) Option {
	return func(o *options) { o.grpc = append(o.grpc, dial...) }
}

// The windows of HTTP/2 flow control towards the client. Fixed ones keep gRPC from
// measuring the bandwidth by pings. The stream's bounds what a slow reader of a
// Stream has waiting for it.
const (
	streamWindow     = 1 << 20
	connectionWindow = 8 << 20
	socketBuffer     = 64 << 10 // what one system call moves
)

// Dial makes a Client of the sidecar at target, written as in the sidecar's
// configuration ("unix:///run/warmpool/warmpool.sock", "tcp://127.0.0.1:7600"), as
// host:port, or as any target of gRPC. Empty: DefaultTarget.
//
// Nothing is connected before the first call, so a sidecar need not be there yet.
// The error tells what is wrong with the target or an option.
func Dial(target string, opts ...Option) (*Client, error) {
	o := options{target: target, inFlight: 1024, waiting: 4096, patience: 5 * time.Second}
	if o.target == "" {
		o.target = DefaultTarget
	}
	for _, set := range opts {
		set(&o)
	}
	switch {
	case o.inFlight < 1:
		return nil, fmt.Errorf("client: calls in flight on a session are %d, must be 1 or more", o.inFlight)
	case o.waiting < 0:
		return nil, fmt.Errorf("client: waiting calls are %d, must be 0 or more", o.waiting)
	case o.patience < 0:
		return nil, fmt.Errorf("client: patience is %s, must be 0 or more", o.patience)
	}
	routes, err := newRoutes(o.upstreams, o.origins)
	if err != nil {
		return nil, err
	}
	small, err := connect(&o)
	if err != nil {
		return nil, err
	}
	bulk, err := connect(&o)
	if err != nil {
		return nil, errors.Join(err, small.Close())
	}
	c := &Client{options: o, routes: routes, bulk: bulk}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.calls = newCalls(c.ctx, small, &c.options)
	return c, nil
}

// Connect makes a gRPC connection to a sidecar, for what Client has no methods for:
// PoolService, health, HttpService by itself. target is written as for Dial. What is
// in more comes after what a Client uses by default, but for its large windows.
//
// Nothing is connected before the first call. The error tells what is wrong with
// the target or, as a *CredentialsError, with c.
func Connect(target string, c Credentials, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	at := siteOf(target)
	dial, err := c.dialOptions(at)
	if err != nil {
		return nil, err
	}
	dial = append(dial,
		// The sidecar bounds bodies; a second bound here could only differ.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		// What may be sent again is decided here and in the sidecar.
		grpc.WithDisableRetry(),
		// A sidecar that starts is there within milliseconds, not within gRPC's default pause of a second and more.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 3 * time.Second,
		}),
	)
	conn, err := grpc.NewClient(at.name, append(dial, more...)...)
	if err != nil {
		return nil, fmt.Errorf("client: target is %q, must be unix:///path, tcp://host:port, host:port, or a gRPC target: %w", target, err)
	}
	return conn, nil
}

func connect(o *options) (*grpc.ClientConn, error) {
	return Connect(o.target, o.credentials, append([]grpc.DialOption{
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
		grpc.WithReadBufferSize(socketBuffer),
		grpc.WithWriteBufferSize(socketBuffer),
	}, o.grpc...)...)
}

// Close ends the client. Calls that are open fail with ErrClosed, and bodies of
// Streams that are not read to the end break off: close a client when nothing needs
// it any more.
func (c *Client) Close() error {
	c.stop()
	err := errors.Join(c.calls.close(), c.bulk.Close())
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return nil
}
