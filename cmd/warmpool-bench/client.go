package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/command"
)

// ClientKind is how a client asks.
type ClientKind string

// The kinds of client.
const (
	NetHTTP ClientKind = "net/http"
	Send    ClientKind = "send"    // HttpService.Send by grpc-go
	Session ClientKind = "session" // the Go client
	Stream  ClientKind = "stream"  // the Go client, with a stream for each request
)

// exchange carries out one request and says what came back. Many goroutines
// call it at once.
type exchange func(ctx context.Context) (status, length int, err error)

// target is what a client asks.
type target struct {
	network  string // "unix" or "tcp"
	address  string
	path     string
	inFlight int    // requests at once, so many connections may be of use
	upload   int    // bytes of each request's body
	token    string // by which the sidecar knows the caller; empty: none
}

// ask is a request as every client of net/http's kind sends it.
func (t target) ask(ctx context.Context, host string) (*http.Request, error) {
	var body io.Reader = http.NoBody
	method := http.MethodGet
	if t.upload > 0 {
		method, body = http.MethodPost, &blocks{left: t.upload}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+host+t.path, body)
	if err != nil {
		return nil, err
	}
	if t.upload > 0 {
		r.ContentLength = int64(t.upload)
	}
	r.Header.Set("User-Agent", userAgent)
	return r, nil
}

// blocks is a body of so many bytes, all from the same memory.
type blocks struct{ left int }

func (b *blocks) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), b.left)], block)
	b.left -= n
	return n, nil
}

// clientKinds makes an exchange of each kind. What it opens lives as long as
// the process.
var clientKinds = map[ClientKind]func(target) (exchange, error){
	NetHTTP: netHTTPExchange,
	Send:    sendExchange,
	Session: sessionExchange,
	Stream:  streamExchange,
}

// userAgent is sent by every kind of client, so that all requests carry the
// same fields.
const userAgent = "warmpool-bench"

// roundLimit is how long one row of one round may take.
const roundLimit = 2 * time.Minute

// toleratedErrors end a round early: the run has failed, and what follows would
// mostly be time-outs.
const toleratedErrors = 100

// LoadOrder tells a client to ask so many requests, or to begin to ask without an
// end, or to end that.
type LoadOrder struct {
	Requests int  `json:"requests,omitempty"`
	Begin    bool `json:"begin,omitempty"` // answered once as many are answered as may be in flight
	End      bool `json:"end,omitempty"`
}

// LoadResult is what a client saw of a LoadOrder.
type LoadResult struct {
	Elapsed time.Duration `json:"elapsed_ns"`
	CPU     time.Duration `json:"cpu_ns"` // of the client's process
	P50     time.Duration `json:"p50_ns"` // latency of the requests that were answered rightly
	P99     time.Duration `json:"p99_ns"`

	Answered   int64  `json:"answered,omitempty"` // between LoadOrder.Begin and End
	Errors     int64  `json:"errors"`             // requests without the right answer
	FirstError string `json:"first_error,omitempty"`
}

// loader asks inFlight requests at a time and checks what comes back.
type loader struct {
	exchange exchange
	inFlight int
	length   int // of a right answer's body
}

// run asks n requests.
func (l loader) run(n int) (LoadResult, error) {
	// No deadline but a limit that cancels: a deadline would travel with each
	// call of gRPC, where HTTP/1.1 has nothing alike, and cost both sides timers.
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	limit := time.AfterFunc(roundLimit, func() {
		cancel(fmt.Errorf("%d requests took longer than %s", n, roundLimit))
	})
	defer limit.Stop()

	var (
		latencies = make([]time.Duration, n) // 0: no right answer
		taken     atomic.Int64
		failed    atomic.Int64
		first     = make(chan error, 1)
		workers   sync.WaitGroup
	)
	cpuBefore, err := cpuTime(0)
	if err != nil {
		return LoadResult{}, err
	}
	began := time.Now()
	for range l.inFlight {
		workers.Go(func() {
			for {
				i := taken.Add(1) - 1
				if i >= int64(n) || failed.Load() >= toleratedErrors {
					return
				}
				sent := time.Now()
				if err := l.ask(ctx); err != nil {
					failed.Add(1)
					select {
					case first <- err:
					default:
					}
					continue
				}
				latencies[i] = time.Since(sent)
			}
		})
	}
	workers.Wait()
	elapsed := time.Since(began)
	cpuAfter, err := cpuTime(0)
	if err != nil {
		return LoadResult{}, err
	}

	result := LoadResult{Elapsed: elapsed, CPU: cpuAfter - cpuBefore, Errors: failed.Load()}
	select {
	case err := <-first:
		result.FirstError = err.Error()
	default:
	}
	latencies = slices.DeleteFunc(latencies, func(d time.Duration) bool { return d == 0 })
	slices.Sort(latencies)
	result.P50, result.P99 = quantile(latencies, 0.50), quantile(latencies, 0.99)
	return result, nil
}

func (l loader) ask(ctx context.Context) error {
	status, length, err := l.exchange(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.Join(context.Cause(ctx), err)
	case err != nil:
		return err
	case status != http.StatusOK || length != l.length:
		return fmt.Errorf("answer is status %d with %d bytes, must be 200 with %d", status, length, l.length)
	}
	return nil
}

// quantile is the smallest value that at least a share q of the sorted values
// does not exceed; 0 when there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// clientMain is a client's process. It answers each LoadOrder on its standard
// input with a LoadResult.
func clientMain(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	var (
		kind     = flags.String("kind", "", "kind of client")
		front    = flags.String("front", "", "where to ask: NETWORK:ADDRESS")
		inFlight = flags.Int("in-flight", 1, "requests at once")
		body     = flags.Int("body", 0, "bytes to ask for")
		upload   = flags.Int("upload", 0, "bytes to send with each request")
		token    = flags.String("token", "", "by which the sidecar knows the caller")
	)
	if err := flags.Parse(args); err != nil {
		return command.Usagef("%w", err)
	}
	network, address, _ := strings.Cut(*front, ":")
	newExchange := clientKinds[ClientKind(*kind)]
	if newExchange == nil {
		return command.Usagef("client: kind is %q, must be one of %q", *kind, slices.Sorted(maps.Keys(clientKinds)))
	}
	ask, err := newExchange(target{network: network, address: address, path: bytesPath(*body), inFlight: *inFlight, upload: *upload, token: *token})
	if err != nil {
		return err
	}
	l := loader{exchange: ask, inFlight: *inFlight, length: *body}
	var f *flood
	return child.AnswerLines(stdin, stdout, func(o LoadOrder) (LoadResult, error) {
		switch {
		case o.Begin:
			f = l.flood()
			return LoadResult{}, nil
		case o.End:
			return f.end(), nil
		}
		return l.run(o.Requests)
	})
}
