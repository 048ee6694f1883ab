package main

import (
	"context"
	"io"

	"github.com/warmpool-dev/warmpool/api/client"
)

// sessionExchange asks by the Go client, which carries requests like these on a
// session.
func sessionExchange(t target) (exchange, error) { return clientExchange(t) }

// streamExchange asks by the Go client, each request on a stream of its own.
func streamExchange(t target) (exchange, error) { return clientExchange(t, client.Streaming()) }

func clientExchange(t target, options ...client.Option) (exchange, error) {
	c, err := client.Dial(t.network+":"+t.address, append(options, client.DisableCompression(), client.GRPC(t.shows()...))...)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (status, length int, err error) {
		request, err := t.ask(ctx, upstreamName)
		if err != nil {
			return 0, 0, err
		}
		response, err := c.Do(ctx, request)
		if err != nil {
			return 0, 0, err
		}
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		return response.StatusCode, int(n), err
	}, nil
}
