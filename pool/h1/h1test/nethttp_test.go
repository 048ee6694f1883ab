package h1test_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// netHTTP is net/http's Transport as a client under test.
type netHTTP struct {
	transport *http.Transport
	cfg       h1test.Config
	scheme    string
}

var netHTTPFeatures = h1test.Features{"tls": true, "expect_continue": true, "upgrade": true, "max_body_bytes": true}

func newNetHTTP(cfg h1test.Config) (h1test.Client, error) {
	c := &netHTTP{cfg: cfg, scheme: "http"}
	c.transport = &http.Transport{
		MaxConnsPerHost:        cfg.MaxConns,
		MaxIdleConnsPerHost:    cfg.MaxConns,
		ResponseHeaderTimeout:  cfg.HeaderTimeout,
		ExpectContinueTimeout:  cfg.ExpectContinueWait,
		IdleConnTimeout:        cfg.IdleTimeout,
		MaxResponseHeaderBytes: int64(cfg.MaxHeadBytes),
		DisableCompression:     true,
	}
	if cfg.TLS {
		c.scheme = "https"
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cfg.CA)
		c.transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return c, nil
}

func (c *netHTTP) Close() { c.transport.CloseIdleConnections() }

func (c *netHTTP) Do(ctx context.Context, call h1test.Call) h1test.Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if call.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, call.Timeout)
		defer cancel()
	}
	started := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { started = true },
		Got1xxResponse:       func(int, textproto.MIMEHeader) error { started = true; return nil },
	})
	var body io.Reader
	if len(call.Body) > 0 {
		body = bytes.NewReader(call.Body)
		if !call.Replayable {
			body = io.MultiReader(body)
		}
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, c.scheme+"://"+c.cfg.Addr+call.Path, body)
	if err != nil {
		return failure(h1test.Malformed, err)
	}
	for _, h := range call.Headers {
		switch http.CanonicalHeaderKey(h[0]) {
		case "Content-Length":
			req.ContentLength, _ = strconv.ParseInt(h[1], 10, 64)
		default:
			req.Header.Add(h[0], h[1])
		}
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return failure(classify(err, started), err)
	}
	defer res.Body.Close()
	out := h1test.Outcome{Status: res.StatusCode, Headers: pairs(res.Header)}
	if res.StatusCode == http.StatusSwitchingProtocols {
		// Ends 200 ms after the last byte; closing makes Read return.
		quiet := time.AfterFunc(200*time.Millisecond, func() { res.Body.Close() })
		out.Tunnel = []byte{}
		for p := make([]byte, 1024); ; quiet.Reset(200 * time.Millisecond) {
			n, err := res.Body.Read(p)
			out.Tunnel = append(out.Tunnel, p[:n]...)
			if err != nil {
				return out
			}
		}
	}
	idle := time.AfterFunc(c.cfg.BodyIdleTimeout, cancel)
	defer idle.Stop()
	for p := make([]byte, 32<<10); ; idle.Reset(c.cfg.BodyIdleTimeout) {
		n, err := res.Body.Read(p)
		out.Body = append(out.Body, p[:n]...)
		switch {
		case c.cfg.MaxBodyBytes > 0 && int64(len(out.Body)) > c.cfg.MaxBodyBytes:
			return failure(h1test.TooLarge, errors.New("body over the limit"))
		case errors.Is(err, io.EOF):
			out.Trailers = pairs(res.Trailer)
			return out
		case err != nil:
			return failure(classify(err, true), err)
		}
	}
}

func failure(kind h1test.ErrorKind, err error) h1test.Outcome {
	return h1test.Outcome{Err: kind, Detail: err.Error()}
}

func classify(err error, started bool) h1test.ErrorKind {
	var n net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &n) && n.Timeout():
		return h1test.Timeout
	case strings.Contains(err.Error(), "exceeded"), strings.Contains(err.Error(), "too long"), strings.Contains(err.Error(), "too large"):
		return h1test.TooLarge
	case strings.Contains(err.Error(), "malformed"), strings.Contains(err.Error(), "bad Content-Length"),
		strings.Contains(err.Error(), "unsupported transfer encoding"), strings.Contains(err.Error(), "multiple Content-Length"):
		return h1test.Malformed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(err.Error(), "server closed idle connection"), strings.Contains(err.Error(), "connection broken"):
		if started {
			return h1test.Truncated
		}
		return h1test.Closed
	}
	return h1test.Malformed
}

func pairs(h http.Header) [][2]string {
	var p [][2]string
	for name, values := range h {
		for _, v := range values {
			p = append(p, [2]string{name, v})
		}
	}
	return p
}
