package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// idleForever keeps connections that rest while other rows have their turn:
// what is compared is warm connections.
const idleForever = time.Hour

// netHTTPExchange asks with net/http, set up for as many connections as there
// are requests at once; its default of two idle ones would dial most of the
// time.
func netHTTPExchange(t target) (exchange, error) {
	var dialer net.Dialer
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, t.network, t.address)
		},
		MaxIdleConnsPerHost: t.inFlight,
		IdleConnTimeout:     idleForever,
		DisableCompression:  true,
	}}
	host := t.address
	if t.network == "unix" {
		host = "origin"
	}
	return func(ctx context.Context) (status, length int, err error) {
		request, err := t.ask(ctx, host)
		if err != nil {
			return 0, 0, err
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, 0, err
		}
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		return response.StatusCode, int(n), err
	}, nil
}
