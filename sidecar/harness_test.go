package sidecar_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func TestMain(m *testing.M) {
	runLoad()
	goleak.VerifyTestMain(m)
}

// patience bounds what should happen at once.
const patience = 10 * time.Second

// house is a sidecar that serves, and what a test needs around it.
type house struct {
	*sidecar.Sidecar
	log  *logBuffer
	stop context.CancelFunc // begins the drain
	done chan struct{}      // closed when Serve has returned
	err  error              // of Serve, once done
}

// shortDir is a folder whose name leaves room for a socket's path: those of
// t.TempDir contain the test's name, and a sentence is too long.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wp") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// settings are a configuration for tests: Unix and TCP for data, Unix for
// control, TCP for admin, all in dir or on free ports.
func settings(dir string, upstreams ...*warmpoolv1.Upstream) *warmpoolv1.Config {
	return config.WithDefaults(&warmpoolv1.Config{
		Listen:    []string{"unix://" + filepath.Join(dir, "data.sock"), "tcp://127.0.0.1:0"},
		Control:   []string{"unix://" + filepath.Join(dir, "control.sock")},
		Admin:     "127.0.0.1:0",
		Upstreams: upstreams,
	})
}

// start runs a sidecar with these upstreams until the test ends.
func start(t *testing.T, upstreams ...*warmpoolv1.Upstream) *house {
	t.Helper()
	return startWith(t, settings(shortDir(t), upstreams...))
}

func startWith(t *testing.T, cfg *warmpoolv1.Config) *house {
	t.Helper()
	h := &house{log: &logBuffer{}, done: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if h.Sidecar, err = sidecar.New(cfg, sidecar.Options{Logger: log, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	go func() {
		defer close(h.done)
		h.err = h.Serve(ctx)
	}()
	t.Cleanup(func() {
		h.stop()
		h.wait(t)
		if t.Failed() {
			t.Logf("the sidecar's log:\n%s", h.log)
		}
	})
	return h
}

// wait waits for the drain's end.
func (h *house) wait(t *testing.T) {
	t.Helper()
	select {
	case <-h.done:
		if h.err != nil {
			t.Errorf("Serve: %v", h.err)
		}
	case <-time.After(2 * patience):
		t.Fatalf("Serve has not returned; its log:\n%s", h.log)
	}
}

// dial connects to one of the sidecar's addresses.
func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(strings.TrimPrefix(address, "tcp://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(8<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func (h *house) client(t *testing.T) warmpoolv1.HttpServiceClient {
	t.Helper()
	return warmpoolv1.NewHttpServiceClient(dial(t, h.Addrs().Data[0]))
}

// send sends one request, for a test in which it must get an answer.
func send(t *testing.T, c warmpoolv1.HttpServiceClient, r *warmpoolv1.HttpRequest) *warmpoolv1.HttpResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := c.Send(ctx, &warmpoolv1.SendRequest{Request: r})
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	if answer.GetResponse() == nil {
		t.Fatal("Send: no response in the answer")
	}
	return answer.GetResponse()
}

// refused sends one request, for a test in which it must fail.
func refused(t *testing.T, c warmpoolv1.HttpServiceClient, r *warmpoolv1.HttpRequest) *refusal {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := c.Send(ctx, &warmpoolv1.SendRequest{Request: r})
	if err == nil {
		t.Fatalf("Send: got %v, want an error", answer)
	}
	return readRefusal(t, err)
}

// refusal is a gRPC error of Send, taken apart.
type refusal struct {
	code    codes.Code
	message string
	failure *warmpoolv1.Failure
	info    *errdetails.ErrorInfo
	retry   *errdetails.RetryInfo
	request *errdetails.BadRequest
}

// readRefusal takes an error apart and checks what holds for every one.
func readRefusal(t *testing.T, err error) *refusal {
	t.Helper()
	s := status.Convert(err)
	r := &refusal{code: s.Code(), message: s.Message()}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *warmpoolv1.Failure:
			r.failure = d
		case *errdetails.ErrorInfo:
			r.info = d
		case *errdetails.RetryInfo:
			r.retry = d
		case *errdetails.BadRequest:
			r.request = d
		default:
			t.Errorf("unexpected detail %T", d)
		}
	}
	if r.failure == nil || r.info == nil {
		t.Fatalf("%v: want a Failure and an ErrorInfo among the details, got %v", err, s.Details())
	}
	if codes.Code(r.failure.GetCode()) != r.code {
		t.Errorf("Failure.code is %v, the status code %v", codes.Code(r.failure.GetCode()), r.code)
	}
	if r.failure.GetMessage() != r.message {
		t.Errorf("Failure.message is %q, the status message %q", r.failure.GetMessage(), r.message)
	}
	if r.info.GetDomain() != "warmpool" || r.info.GetReason() != r.failure.GetReason().String() {
		t.Errorf("ErrorInfo is %v, want domain warmpool and reason %v", r.info, r.failure.GetReason())
	}
	return r
}

// want checks the codes of a refusal.
func (r *refusal) want(t *testing.T, code codes.Code, reason warmpoolv1.Reason, delivery warmpoolv1.Delivery) {
	t.Helper()
	if r.code != code || r.failure.GetReason() != reason || r.failure.GetDelivery() != delivery {
		t.Errorf("got %v, %v, %v (%s), want %v, %v, %v", r.code, r.failure.GetReason(), r.failure.GetDelivery(), r.message, code, reason, delivery)
	}
}

// says checks that the message has each of the texts.
func (r *refusal) says(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.message, text) {
			t.Errorf("message %q does not say %q", r.message, text)
		}
	}
}

// web is an upstream by net/http.
func web(t *testing.T, h http.HandlerFunc) *warmpoolv1.Upstream {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return at(s.URL)
}

// at is an upstream named "web" at a URL.
func at(url string) *warmpoolv1.Upstream { return &warmpoolv1.Upstream{Name: "web", Url: url} }

// gate is an upstream that holds every request until it is opened.
type gate struct {
	arrived chan struct{} // receives one value for each request
	open    chan struct{}
}

func newGate() *gate {
	return &gate{arrived: make(chan struct{}, 1024), open: make(chan struct{})}
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	g.arrived <- struct{}{}
	select {
	case <-g.open:
	case <-r.Context().Done():
	}
	_, _ = io.WriteString(w, "through")
}

// await waits for a request to arrive at the upstream.
func (g *gate) await(t *testing.T) {
	t.Helper()
	receive(t, g.arrived, "a request at the upstream")
}

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no sign of %s", what)
		panic("unreachable")
	}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func connections(maximum uint32) *warmpoolv1.Connections {
	return &warmpoolv1.Connections{Max: new(maximum)}
}
