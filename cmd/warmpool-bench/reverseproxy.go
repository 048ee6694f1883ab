package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/command"
)

// reverseProxyMain is the process of a proxy that is the standard library's
// httputil.ReverseProxy, tuned for this load: idle connections for every request
// in flight, pooled copy buffers, no decompression, no time-outs. It serves on
// two inherited listeners until its standard input ends.
func reverseProxyMain(args []string, stdin io.Reader) error {
	flags := flag.NewFlagSet("reverseproxy", flag.ContinueOnError)
	var (
		origin = flags.String("origin", "", "URL of the origin")
		idle   = flags.Int("idle", 64, "idle connections kept to the origin")
	)
	if err := flags.Parse(args); err != nil {
		return command.Usagef("%w", err)
	}
	to, err := url.Parse(*origin)
	if err != nil {
		return command.Usagef("%w", err)
	}
	server := &http.Server{ //nolint:gosec // no time-outs: its clients are ours, and timers would cost it CPU
		Handler: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
			Transport: &http.Transport{
				MaxIdleConnsPerHost: *idle,
				IdleConnTimeout:     idleForever,
				DisableCompression:  true,
			},
			BufferPool: &copyBuffers{},
			ErrorLog:   log.New(os.Stderr, "", 0),
		},
	}
	ended := make(chan error, 3)
	for i := range 2 {
		l, err := child.InheritedListener(i)
		if err != nil {
			return err
		}
		go func() { ended <- server.Serve(l) }()
	}
	go func() {
		_, err := io.Copy(io.Discard, stdin)
		ended <- err
	}()
	return <-ended
}

// copyBuffers is a BufferPool. The size is that of the buffers ReverseProxy
// makes without one.
type copyBuffers struct{ free sync.Pool }

func (c *copyBuffers) Get() []byte {
	if b, ok := c.free.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (c *copyBuffers) Put(b []byte) { c.free.Put(&b) }
