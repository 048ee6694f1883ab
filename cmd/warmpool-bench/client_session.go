package main

import (
	"net/http"

	"github.com/warmpool-dev/warmpool/api/client"
)

// sessionExchange asks with net/http through the Go client, which carries
// requests like these on a session.
func sessionExchange(t target) (exchange, error) { return transportExchange(t) }

// streamExchange asks with net/http through the Go client, each request on a
// stream of its own.
func streamExchange(t target) (exchange, error) { return transportExchange(t, client.Streaming()) }

func transportExchange(t target, options ...client.Option) (exchange, error) {
	c, err := client.Dial(t.network+":"+t.address, append(options, client.DisableCompression())...)
	if err != nil {
		return nil, err
	}
	return httpExchange(c.Transport(), "http://"+upstreamName+t.path), nil
}

var _ http.RoundTripper = (*client.Transport)(nil)
