package sidecar_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/tlstest"
)

// me is the user that the test runs as.
func me() uint32 { return uint32(os.Getuid()) }

func TestRulesDecideWhoMaySendWhere(t *testing.T) {
	upstream := web(t, func(http.ResponseWriter, *http.Request) {})
	other := &warmpoolv1.Upstream{Name: "other", Url: upstream.GetUrl()}
	for _, c := range []struct {
		name  string
		rules []*warmpoolv1.Allow
		may   []string
	}{
		{"no rules", nil, []string{"web", "other"}},
		{"a rule for this user", []*warmpoolv1.Allow{{Uid: new(me()), Upstreams: []string{"web"}}}, []string{"web"}},
		{"a rule for this user and group", []*warmpoolv1.Allow{{Uid: new(me()), Gid: new(uint32(os.Getgid())), Upstreams: []string{"*"}}}, []string{"web", "other"}},
		{"a rule for another user", []*warmpoolv1.Allow{{Uid: new(me() + 1), Upstreams: []string{"web"}}}, nil},
		{"a rule for this user in another group", []*warmpoolv1.Allow{{Uid: new(me()), Gid: new(uint32(os.Getgid() + 1)), Upstreams: []string{"*"}}}, nil},
		{"two rules that are met", []*warmpoolv1.Allow{{Uid: new(me()), Upstreams: []string{"web"}}, {Upstreams: []string{"other"}}}, []string{"web", "other"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := settings(shortDir(t), upstream, other)
			cfg.Allow = c.rules
			h := startWith(t, cfg)
			for _, name := range []string{"web", "other"} {
				if strings.Contains(strings.Join(c.may, " "), name) {
					send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: name})
					continue
				}
				r := refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: name})
				r.want(t, codes.PermissionDenied, warmpoolv1.Reason_REASON_NOT_ALLOWED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
				r.says(t, name, fmt.Sprintf("uid %d", me()), "no rule in allow")
			}
		})
	}
}

func TestARuleHoldsForSessionsAndStreamsAndTellsNothingOfWhatThereIs(t *testing.T) {
	cfg := settings(shortDir(t), web(t, func(http.ResponseWriter, *http.Request) {}))
	cfg.Allow = []*warmpoolv1.Allow{{Uid: new(me() + 1), Upstreams: []string{"*"}}}
	h := startWith(t, cfg)
	s, _ := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web"}), call(2, &warmpoolv1.HttpRequest{Upstream: "nowhere"}))
	for id, got := range replies(t, s, 2) {
		if f := got[0].GetFailure(); f.GetReason() != warmpoolv1.Reason_REASON_NOT_ALLOWED || codes.Code(f.GetCode()) != codes.PermissionDenied {
			t.Errorf("call %d: %v", id, got)
		}
	}
	stream, err := h.client(t).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Head{Head: &warmpoolv1.HttpRequest{Upstream: "web"}}}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	readRefusal(t, err).want(t, codes.PermissionDenied, warmpoolv1.Reason_REASON_NOT_ALLOWED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
}

// as is TLS of a client that shows the certificate of that name; "": none.
func as(t *testing.T, a *tlstest.Authority, name string) credentials.TransportCredentials {
	t.Helper()
	cfg := &tls.Config{RootCAs: a.Roots(), ServerName: "sidecar.internal", MinVersion: tls.VersionTLS13}
	if name != "" {
		cfg.Certificates = []tls.Certificate{a.Sign(t, name).Certificate}
	}
	return credentials.NewTLS(cfg)
}

func dialAs(t *testing.T, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(strings.TrimPrefix(address, "tcp://"), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func TestOverTLSACertificateSaysWhoAsks(t *testing.T) {
	a := tlstest.New(t)
	cfg := settings(shortDir(t), web(t, func(http.ResponseWriter, *http.Request) {}))
	own := a.Sign(t, "sidecar.internal")
	cfg.Tls.CertFile, cfg.Tls.KeyFile, cfg.Tls.ClientCaFile = own.CertFile, own.KeyFile, a.File
	cfg.Control = []string{"tcp://127.0.0.1:0"}
	cfg.Allow = []*warmpoolv1.Allow{
		{Certificate: "shop.internal", Upstreams: []string{"web"}},
		{Certificate: "watcher.internal", Control: "read"},
		{Certificate: "operator.internal", Control: "all"},
	}
	h := startWith(t, cfg)
	data, control := h.Addrs().Data[1], h.Addrs().Control[0]

	request := &warmpoolv1.HttpRequest{Upstream: "web"}
	send(t, warmpoolv1.NewHttpServiceClient(dialAs(t, data, as(t, a, "shop.internal"))), request)
	stranger := warmpoolv1.NewHttpServiceClient(dialAs(t, data, as(t, a, "watcher.internal")))
	refused(t, stranger, request).says(t, "certificate watcher.internal")
	for name, creds := range map[string]credentials.TransportCredentials{
		"no certificate": as(t, a, ""), "another authority's": as(t, tlstest.New(t), "shop.internal"),
	} {
		_, err := warmpoolv1.NewHttpServiceClient(dialAs(t, data, creds)).Send(t.Context(), &warmpoolv1.SendRequest{Request: request})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v, want no connection", name, err)
		}
	}

	for _, c := range []struct {
		who           string
		reads, writes bool
	}{
		{"shop.internal", false, false},
		{"watcher.internal", true, false},
		{"operator.internal", true, true},
	} {
		pool := warmpoolv1.NewPoolServiceClient(dialAs(t, control, as(t, a, c.who)))
		_, err := pool.GetStats(t.Context(), &warmpoolv1.GetStatsRequest{})
		if denied := status.Code(err) == codes.PermissionDenied; denied == c.reads {
			t.Errorf("%s reads: %v", c.who, err)
		}
		_, err = pool.DeleteUpstream(t.Context(), &warmpoolv1.DeleteUpstreamRequest{Name: "none"})
		if denied := status.Code(err) == codes.PermissionDenied; denied == c.writes {
			t.Errorf("%s writes: %v", c.who, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		watch, err := pool.WatchStats(ctx, &warmpoolv1.WatchStatsRequest{})
		if err == nil {
			_, err = watch.Recv()
		}
		if denied := status.Code(err) == codes.PermissionDenied; denied == c.reads {
			t.Errorf("%s watches: %v", c.who, err)
		}
		cancel()
	}
}

func TestOverTCPATokenSaysWhoAsks(t *testing.T) {
	const secret = "correct-horse-battery-staple"
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := settings(shortDir(t), web(t, func(http.ResponseWriter, *http.Request) {}))
	cfg.Allow = []*warmpoolv1.Allow{{TokenFile: token, Upstreams: []string{"web"}}}
	h := startWith(t, cfg)
	client := warmpoolv1.NewHttpServiceClient(dial(t, h.Addrs().Data[1]))
	for value, want := range map[string]codes.Code{
		"Bearer " + secret: codes.OK, "bearer  " + secret: codes.OK, "Bearer wrong-horse-battery-staple": codes.PermissionDenied,
		secret: codes.PermissionDenied, "": codes.PermissionDenied,
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", value)
		_, err := client.Send(ctx, &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web"}})
		if status.Code(err) != want {
			t.Errorf("%q: %v, want %v", value, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "horse") {
			t.Errorf("the error shows a token: %v", err)
		}
	}
}

// limited is a sidecar whose callers may have two exchanges under way, with an
// upstream that holds them.
func limited(t *testing.T, maxWaiting uint32, maxWait time.Duration) (*house, *gate) {
	t.Helper()
	g := newGate()
	cfg := settings(shortDir(t), web(t, g.serve))
	cfg.Callers = &warmpoolv1.Callers{MaxInFlight: new(uint32(2)), MaxWaiting: new(maxWaiting), MaxWait: durationpb.New(maxWait)}
	return startWith(t, cfg), g
}

// begin sends a request whose answer does not matter yet.
func begin(t *testing.T, c warmpoolv1.HttpServiceClient, timeout time.Duration) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	go func() {
		defer cancel()
		_, err := c.Send(ctx, &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web"}})
		ended <- err
	}()
	return ended
}

func TestOneCallerCannotTakeWhatAnotherNeeds(t *testing.T) {
	h, g := limited(t, 1000, patience)
	greedy, modest := h.client(t), warmpoolv1.NewHttpServiceClient(dial(t, h.Addrs().Data[1]))
	answers := make([]<-chan error, 0, 1000)
	for range cap(answers) {
		answers = append(answers, begin(t, greedy, 4*patience))
	}
	g.await(t)
	g.await(t)
	other := begin(t, modest, patience)
	g.await(t) // the modest one's: the greedy one has its two
	select {
	case <-g.arrived:
		t.Error("the greedy caller has more under way than it may")
	default:
	}
	u, err := h.Pool().Upstream("web")
	if err != nil {
		t.Fatal(err)
	}
	if s := u.Stats(); s.Active != 3 || s.Waiting != 0 {
		t.Errorf("%d connections are active, %d requests wait at the upstream; want 3, 0", s.Active, s.Waiting)
	}
	close(g.open)
	if err := receive(t, other, "the modest caller's answer"); err != nil {
		t.Error(err)
	}
	for i, answer := range answers {
		if err := receive(t, answer, "an answer"); err != nil {
			t.Fatalf("request %d of the greedy caller: %v", i, err)
		}
		for len(g.arrived) > 0 {
			<-g.arrived
		}
	}
}

func TestACallerOverItsLimitIsRefusedClearly(t *testing.T) {
	h, g := limited(t, 1, 50*time.Millisecond)
	c := h.client(t)
	first, second := begin(t, c, patience), begin(t, c, patience)
	g.await(t)
	g.await(t)
	r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: "web"})
	r.want(t, codes.ResourceExhausted, warmpoolv1.Reason_REASON_CALLER_LIMIT, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, fmt.Sprintf("uid %d", me()), "2 exchanges under way", "none ended within 50ms")
	if r.retry == nil {
		t.Error("it does not say when to try again")
	}
	close(g.open)
	for _, answer := range []<-chan error{first, second} {
		if err := receive(t, answer, "an answer"); err != nil {
			t.Error(err)
		}
	}
	send(t, c, &warmpoolv1.HttpRequest{Upstream: "web"})
}

func TestWhoGivesUpWaitingForAPlaceLeavesNoTrace(t *testing.T) {
	h, g := limited(t, 8, patience)
	c := h.client(t)
	running := []<-chan error{begin(t, c, 2*patience), begin(t, c, 2*patience)}
	g.await(t)
	g.await(t)
	if err := receive(t, begin(t, c, 20*time.Millisecond), "the end of one that gave up"); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v, want DEADLINE_EXCEEDED", err)
	}
	s, _ := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web", Timeout: durationpb.New(20 * time.Millisecond)}))
	if f := replies(t, s, 1)[1][0].GetFailure(); f.GetReason() != warmpoolv1.Reason_REASON_CALLER_LIMIT {
		t.Errorf("a call whose timeout is over: %v", f)
	}
	close(g.open)
	for _, answer := range running {
		if err := receive(t, answer, "an answer"); err != nil {
			t.Error(err)
		}
	}
	for range 4 { // as many as there were places, and again
		send(t, c, &warmpoolv1.HttpRequest{Upstream: "web"})
	}
}

func TestNoMoreConnectionsAreOpenThanAllowed(t *testing.T) {
	cfg := settings(shortDir(t), web(t, func(http.ResponseWriter, *http.Request) {}))
	cfg.Grpc.MaxConnections = new(uint32(2))
	h := startWith(t, cfg)
	request := &warmpoolv1.HttpRequest{Upstream: "web"}
	first := dial(t, h.Addrs().Data[0])
	send(t, warmpoolv1.NewHttpServiceClient(first), request)
	send(t, h.client(t), request)
	third := h.client(t)
	_, err := third.Send(t.Context(), &warmpoolv1.SendRequest{Request: request})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a third connection: %v", err)
	}
	if !strings.Contains(h.log.String(), "grpc.max_connections are open") {
		t.Errorf("the log does not say it:\n%s", h.log)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := third.Send(ctx, &warmpoolv1.SendRequest{Request: request}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("after one has closed: %v", err)
	}
}
