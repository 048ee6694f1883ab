package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// demoPath is requested throughout: go-httpbin's answer with the least work
// and no body, so that what is measured is the way there.
const demoPath = "/status/200"

// load is the same request many times, by callers that each wait for the
// answer before they ask again.
type load struct {
	requests, callers int
	send              func(context.Context) error
	done              atomic.Int64 // requests answered so far
}

// timing is how long a load took.
type timing struct {
	elapsed   time.Duration
	latencies []time.Duration // of each request, sorted
}

func (t timing) perSecond() float64 { return float64(len(t.latencies)) / t.elapsed.Seconds() }

// quantile is the smallest latency that at least the share q of the requests
// did not exceed (nearest rank).
func (t timing) quantile(q float64) time.Duration {
	rank := int(math.Ceil(q * float64(len(t.latencies))))
	return t.latencies[max(rank, 1)-1]
}

// run sends all requests and times each. The first failure ends it.
func (l *load) run(ctx context.Context) (timing, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	latencies := make([]time.Duration, l.requests)
	var (
		next    atomic.Int64
		callers sync.WaitGroup
	)
	start := time.Now()
	for range l.callers {
		callers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= l.requests {
					return
				}
				begin := time.Now()
				if err := l.send(ctx); err != nil {
					fail(err)
					return
				}
				latencies[i] = time.Since(begin)
				l.done.Add(1)
			}
		})
	}
	callers.Wait()
	elapsed := time.Since(start)
	if ctx.Err() != nil {
		return timing{}, context.Cause(ctx)
	}
	slices.Sort(latencies)
	return timing{elapsed: elapsed, latencies: latencies}, nil
}

// newConnections sends each request with net/http over a connection of its own.
func newConnections(url string, roots *x509.CertPool) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+demoPath, http.NoBody)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return err
		}
		return expectOK(response.StatusCode)
	}
}

// throughSidecar sends each request as a gRPC call.
func throughSidecar(client warmpoolv1.HttpServiceClient, upstream string) func(context.Context) error {
	return func(ctx context.Context) error {
		answer, err := client.Send(ctx, &warmpoolv1.SendRequest{
			Request: &warmpoolv1.HttpRequest{Upstream: upstream, Path: demoPath},
		})
		if err != nil {
			return err
		}
		return expectOK(int(answer.GetResponse().GetStatus()))
	}
}

func expectOK(status int) error {
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: the status is %d, must be 200", demoPath, status)
	}
	return nil
}
