package sidecar_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

var casesFile = flag.String("cases", "", "play the conformance cases of this file instead of those that come with the project")

// TestConformance plays the conformance cases against the sidecar, through gRPC
// over a Unix socket, with a sidecar of its own for each case: Send, and Stream
// where the body of a request is there only once. Every must case has to pass.
// Tunnels and upgrades are what neither does.
func TestConformance(t *testing.T) {
	cases, known := h1test.Cases(), known
	if *casesFile != "" {
		var err error
		if cases, err = h1test.Load(*casesFile); err != nil {
			t.Fatal(err)
		}
		known = nil
	}
	features := h1test.Features{"tls": true, "max_body_bytes": true, "pipelining": true, "expect_continue": true}
	report := h1test.RunAll(t, cases, features, newPlayed, h1test.Options{Known: known})
	t.Log("\n" + report.String())
}

// known are the cases that leave something open and do not always pass.
var known = map[string]string{
	"extra-prefed-fresh-connection": "a request is not written behind bytes that nobody asked for: then none comes, which the script waits for",
}

// played is a sidecar as a client under test.
type played struct {
	http  warmpoolv1.HttpServiceClient
	close func()
}

func newPlayed(c h1test.Config) (_ h1test.Client, err error) {
	dir, err := os.MkdirTemp("", "wp")
	if err != nil {
		return nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) } // a leftover in the temporary folder harms nobody
	defer func() {
		if err != nil {
			remove()
		}
	}()
	cfg := config.WithDefaults(&warmpoolv1.Config{
		Listen:    []string{"unix://" + filepath.Join(dir, "data.sock")},
		Control:   []string{"unix://" + filepath.Join(dir, "control.sock")},
		Admin:     "127.0.0.1:0",
		Drain:     &warmpoolv1.Drain{Grace: durationpb.New(100 * time.Millisecond)},
		Upstreams: []*warmpoolv1.Upstream{playedUpstream(c)},
		Grpc:      &warmpoolv1.Grpc{MaxMessageBytes: new(uint64(40 << 20))},
	})
	if c.TLS {
		ca := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(ca, c.CA, 0o600); err != nil {
			return nil, err
		}
		cfg.Upstreams[0].Tls = &warmpoolv1.Tls{CaFile: ca}
		cfg = config.WithDefaults(cfg)
	}
	s, err := sidecar.New(cfg, sidecar.Options{Logger: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	cc, err := grpc.NewClient(cfg.GetListen()[0], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(40<<20)))
	if err != nil {
		stop()
		<-served
		return nil, err
	}
	return &played{http: warmpoolv1.NewHttpServiceClient(cc), close: func() {
		_ = cc.Close() // of a client that is done
		stop()
		<-served
		remove()
	}}, nil
}

func playedUpstream(c h1test.Config) *warmpoolv1.Upstream {
	u := &warmpoolv1.Upstream{
		Name: "origin", Url: "http://" + c.Addr,
		Connections: &warmpoolv1.Connections{
			Max: new(uint32(c.MaxConns)), MaxIdleTime: durationpb.New(c.IdleTimeout),
			PeakMemory: durationpb.New(0), // no connection but for a call
		},
		Pipelining: &warmpoolv1.Pipelining{Depth: new(uint32(c.Pipelining))},
		Timeouts: &warmpoolv1.Timeouts{
			ResponseHead: durationpb.New(c.HeaderTimeout), BodyIdle: durationpb.New(c.BodyIdleTimeout),
			ExpectContinue: durationpb.New(c.ExpectContinueWait),
		},
		Limits: &warmpoolv1.Limits{
			ResponseHeadBytes: new(uint64(c.MaxHeadBytes)), ResponseFields: new(uint32(c.MaxHeaderCount)),
			ChunkLineBytes: new(uint64(c.MaxChunkLineBytes)), TrailerBytes: new(uint64(c.MaxHeadBytes)),
			BufferedBodyBytes: new(uint64(32 << 20)),
		},
	}
	if c.MaxBodyBytes > 0 {
		u.Limits.BufferedBodyBytes = new(uint64(c.MaxBodyBytes))
	}
	if c.TLS {
		u.Url = "https://" + c.Addr
	}
	return u
}

func (p *played) Close() { p.close() }

func (p *played) Do(ctx context.Context, call h1test.Call) h1test.Outcome {
	for _, s := range append([]string{call.Method, call.Path}, playedNames(call)...) {
		if !utf8.ValidString(s) { // gRPC refuses it before the sidecar can
			return h1test.Outcome{Err: h1test.Malformed, Detail: "a string of the API is UTF-8"}
		}
	}
	request := &warmpoolv1.HttpRequest{Upstream: "origin", Method: call.Method, Path: call.Path, Body: call.Body}
	for _, f := range call.Headers {
		request.Headers = append(request.Headers, playedHeader(f[0], f[1]))
	}
	if call.Timeout > 0 {
		request.Timeout = durationpb.New(call.Timeout)
	}
	if !call.Replayable && len(call.Body) > 0 {
		return p.stream(ctx, request)
	}
	response, err := p.http.Send(ctx, &warmpoolv1.SendRequest{Request: request})
	if err != nil {
		return h1test.Outcome{Err: playedError(err), Detail: err.Error()}
	}
	r := response.GetResponse()
	return h1test.Outcome{
		Status: int(r.GetStatus()), Body: r.GetBody(),
		Headers: playedPairs(r.GetHeaders()), Trailers: playedPairs(r.GetTrailers()),
	}
}

// stream sends a request whose body is there only once.
func (p *played) stream(ctx context.Context, request *warmpoolv1.HttpRequest) (o h1test.Outcome) {
	body := request.GetBody()
	request.Body = nil
	failed := func(err error) h1test.Outcome {
		return h1test.Outcome{Err: playedError(err), Detail: err.Error()}
	}
	stream, err := p.http.Stream(ctx)
	if err != nil {
		return failed(err)
	}
	for _, part := range []*warmpoolv1.StreamRequest{
		{Part: &warmpoolv1.StreamRequest_Head{Head: request}},
		{Part: &warmpoolv1.StreamRequest_Data{Data: body}, End: true},
	} {
		if err := stream.Send(part); err != nil {
			break // why is what Recv says
		}
	}
	for {
		part, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return o
		case err != nil:
			return failed(err)
		}
		switch part := part.GetPart().(type) {
		case *warmpoolv1.StreamResponse_Head:
			o.Status, o.Headers = int(part.Head.GetStatus()), playedPairs(part.Head.GetHeaders())
		case *warmpoolv1.StreamResponse_Data:
			o.Body = append(o.Body, part.Data...)
		case *warmpoolv1.StreamResponse_End:
			o.Trailers = playedPairs(part.End.GetTrailers())
		}
	}
}

func playedNames(call h1test.Call) []string {
	names := make([]string, len(call.Headers))
	for i, f := range call.Headers {
		names[i] = f[0]
	}
	return names
}

func playedHeader(name, value string) *warmpoolv1.Header {
	if utf8.ValidString(value) {
		return &warmpoolv1.Header{Name: name, Value: value}
	}
	return &warmpoolv1.Header{Name: name, RawValue: []byte(value)}
}

func playedPairs(headers []*warmpoolv1.Header) [][2]string {
	pairs := make([][2]string, len(headers))
	for i, h := range headers {
		pairs[i] = [2]string{h.GetName(), h.GetValue() + string(h.GetRawValue())}
	}
	return pairs
}

// playedError is the kind of a failure, by the Failure among the status's details.
func playedError(err error) h1test.ErrorKind {
	for _, d := range status.Convert(err).Details() {
		f, ok := d.(*warmpoolv1.Failure)
		if !ok {
			continue
		}
		switch f.GetReason() {
		case warmpoolv1.Reason_REASON_INVALID_REQUEST, warmpoolv1.Reason_REASON_UNSUPPORTED, warmpoolv1.Reason_REASON_MALFORMED_RESPONSE:
			return h1test.Malformed
		case warmpoolv1.Reason_REASON_RESPONSE_TOO_LARGE, warmpoolv1.Reason_REASON_BODY_TOO_LARGE, warmpoolv1.Reason_REASON_REQUEST_TOO_LARGE:
			return h1test.TooLarge
		case warmpoolv1.Reason_REASON_RESPONSE_TRUNCATED:
			return h1test.Truncated
		case warmpoolv1.Reason_REASON_CONNECTION_CLOSED, warmpoolv1.Reason_REASON_CONNECTION_RESET, warmpoolv1.Reason_REASON_WRITE_FAILED,
			warmpoolv1.Reason_REASON_DIAL_FAILED: // reset so soon that it was never seen to stand
			return h1test.Closed
		case warmpoolv1.Reason_REASON_RESPONSE_TIMEOUT, warmpoolv1.Reason_REASON_BODY_TIMEOUT,
			warmpoolv1.Reason_REASON_DEADLINE_EXCEEDED, warmpoolv1.Reason_REASON_WAIT_TIMEOUT:
			return h1test.Timeout
		default:
			return h1test.ErrorKind(f.GetReason().String())
		}
	}
	return h1test.ErrorKind("without a Failure: " + err.Error())
}
