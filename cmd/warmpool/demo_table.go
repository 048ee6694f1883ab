package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// parallelCallers is how many callers the parallel rows have, and how many
// connections the sidecar may hold for them.
const parallelCallers = 32

// comparison is one number of callers at one upstream: its requests over a new
// connection each time, and over those that the sidecar keeps.
type comparison struct {
	protocol string
	upstream *demoUpstream
	roots    *x509.CertPool
	callers  int
	kept     string // the second row's name
	name     string // the upstream's at the sidecar
}

func (c comparison) title() string {
	if c.callers == 1 {
		return c.protocol + ", 1 caller"
	}
	return fmt.Sprintf("%s, %d callers in parallel", c.protocol, c.callers)
}

func (d *demo) comparisons() []comparison {
	const one, parallel = "sidecar, one persistent", "sidecar, parallel persistent"
	return []comparison{
		{"plain HTTP", d.plain, nil, 1, one, "httpbin-single"},
		{"plain HTTP", d.plain, nil, parallelCallers, parallel, "httpbin"},
		{"TLS", d.tls, d.identity.roots, 1, one, "httpbin-tls-single"},
		{"TLS", d.tls, d.identity.roots, parallelCallers, parallel, "httpbin-tls"},
	}
}

// row is one way, measured.
type row struct {
	name   string
	timing timing
	opened int64  // connections the upstream saw
	saved  uint64 // exchanges of the pool on a connection that had carried one before
}

// The table is 80 columns wide.
const (
	headFormat = "%-30s%11s%8s%8s%12s%11s"
	rowFormat  = "  %-28s%11.0f%8s%8s%12d%11d\n"
)

// compare measures every row and prints it as it is known.
func (d *demo) compare(ctx context.Context, std streams, mark style, requests int) error {
	conn, err := client.Connect(d.sidecar.Addrs().Data[0], client.Credentials{})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := d.warmUp(ctx, conn, requests); err != nil {
		return err
	}
	fmt.Fprintln(std.out, mark.bold(fmt.Sprintf(headFormat, "", "", "p50", "p99", "connections", "handshakes")))
	fmt.Fprintln(std.out, mark.bold(fmt.Sprintf(headFormat, "", "requests/s", "ms", "ms", "opened", "saved")))
	var summary strings.Builder
	for _, c := range d.comparisons() {
		fmt.Fprintln(std.out, mark.bold(c.title()))
		fresh, kept, err := d.measure(ctx, std, c, conn, requests)
		if err != nil {
			return fmt.Errorf("%s: %w", c.title(), err)
		}
		fmt.Fprintf(&summary, "  %-36s %5.1f\n", c.title(), kept.timing.perSecond()/fresh.timing.perSecond())
	}
	_, err = fmt.Fprintf(std.out, "\n%s\n%s%s\n", mark.bold("Requests/s through the sidecar, as a multiple of those over new connections:"),
		summary.String(), mark.dim(distanceNote))
	return err
}

// distanceNote says what the figures leave out, and why one may be below 1.
const distanceNote = `This is loopback, without distance: what is compared is work for the CPUs, the
sidecar's extra hop included. Below 1.0 that hop costs more than the handshake
it saves, as it may without TLS. On a network each handshake saved is time as
well: with a round trip of 1 ms to the upstream, 1 ms of each request, and 2 to
3 ms with TLS.`

// warmUpRequests is enough for the code and the heap of a fresh process to
// settle.
const warmUpRequests = 50

// warmUp lets the first row not pay for the process's start, nor the first one
// through the sidecar for connecting to it. The sidecar's connections to its
// upstreams stay part of what is measured.
func (d *demo) warmUp(ctx context.Context, conn *grpc.ClientConn, requests int) error {
	for _, c := range d.comparisons() {
		l := &load{requests: min(requests, warmUpRequests), callers: c.callers, send: newConnections(c.upstream.url, c.roots)}
		if _, err := l.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.title(), err)
		}
	}
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: readiness})
	return err
}

// measure sends the requests both ways, and prints each when it is done.
func (d *demo) measure(ctx context.Context, std streams, c comparison, conn *grpc.ClientConn, requests int) (fresh, kept row, err error) {
	fresh, err = d.measureRow(ctx, std, c, requests, "new connection each time", newConnections(c.upstream.url, c.roots), nil)
	if err != nil {
		return fresh, kept, err
	}
	kept, err = d.measureRow(ctx, std, c, requests, c.kept, throughSidecar(warmpoolv1.NewHttpServiceClient(conn), c.name),
		func(before int64) (uint64, error) {
			stats, err := d.settled(ctx, c.upstream, c.name, before)
			return stats.Reused, err
		})
	return fresh, kept, err
}

// measureRow sends the requests one way. saved counts the handshakes that it
// saved, given how many connections the upstream had seen before; nil: none.
func (d *demo) measureRow(ctx context.Context, std streams, c comparison, requests int, name string,
	send func(context.Context) error, saved func(before int64) (uint64, error),
) (row, error) {
	r := row{name: name}
	before := c.upstream.opened.Load()
	l := &load{requests: requests, callers: c.callers, send: send}
	wipe := showProgress(std.err, name, func() int { return int(l.done.Load()) }, requests)
	var err error
	r.timing, err = l.run(ctx)
	wipe()
	if err == nil && saved != nil {
		r.saved, err = saved(before)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	r.opened = c.upstream.opened.Load() - before
	_, err = fmt.Fprintf(std.out, rowFormat, r.name, r.timing.perSecond(),
		latency(r.timing.quantile(0.50)), latency(r.timing.quantile(0.99)), r.opened, r.saved)
	return r, err
}

// latency is d in milliseconds, in at most seven characters below 1000 s.
func latency(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.0f", float64(d)/float64(time.Millisecond))
	}
	return milliseconds(d)
}

// settled returns the pool's numbers once its dials have ended and the
// upstream has seen their connections: a connection dialled for a request that
// found another one in time may still be on its way when the last answer is in.
func (d *demo) settled(ctx context.Context, upstream *demoUpstream, name string, before int64) (pool.Stats, error) {
	u, err := d.sidecar.Pool().Upstream(name)
	if err != nil {
		return pool.Stats{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		stats := u.Stats()
		if stats.Dialing == 0 && upstream.opened.Load()-before >= int64(stats.Opened) || ctx.Err() != nil {
			return stats, nil
		}
		pause(ctx, time.Millisecond)
	}
}
