package sidecar_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func (h *house) control(t *testing.T) warmpoolv1.PoolServiceClient {
	t.Helper()
	return warmpoolv1.NewPoolServiceClient(dial(t, h.Addrs().Control[0]))
}

// within bounds a call of a test.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// refusedFor expects a gRPC error with the code, of the domain, that names the
// fields, and says the texts.
func refusedFor(t *testing.T, err error, code codes.Code, fields []string, says ...string) {
	t.Helper()
	s := status.Convert(err)
	if err == nil || s.Code() != code {
		t.Fatalf("got %v, want %v", err, code)
	}
	var named []string
	domain := ""
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				named = append(named, v.GetField())
			}
		case *errdetails.ErrorInfo:
			domain = d.GetDomain()
		}
	}
	if domain != "warmpool" {
		t.Errorf("the error has no ErrorInfo: %v", s.Details())
	}
	if !slices.Equal(named, fields) {
		t.Errorf("the violations are of %q, want %q", named, fields)
	}
	for _, text := range says {
		if !strings.Contains(s.Message(), text) {
			t.Errorf("%q does not say %q", s.Message(), text)
		}
	}
}

// load sends requests one after another on several goroutines, until it is
// stopped, and counts.
type load struct {
	stop    context.CancelFunc
	over    sync.WaitGroup
	sent    atomic.Int64
	failure atomic.Pointer[error]
}

func (h *house) load(t *testing.T, upstream string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	client := h.client(t)
	for i := range 8 {
		l.over.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				path := fmt.Sprintf("/%d/%d", i, n)
				r := &warmpoolv1.HttpRequest{Upstream: upstream, Path: path}
				if n%2 == 1 {
					r.Method, r.Body = "POST", []byte(path)
				}
				call, cancel := context.WithTimeout(context.Background(), patience)
				answer, err := client.Send(call, &warmpoolv1.SendRequest{Request: r})
				cancel()
				switch {
				case err != nil:
				case answer.GetResponse().GetStatus() != 200 || string(answer.GetResponse().GetBody()) != path:
					err = fmt.Errorf("%s was answered %d %q", path, answer.GetResponse().GetStatus(), answer.GetResponse().GetBody())
				}
				if err != nil {
					l.failure.CompareAndSwap(nil, &err)
					return
				}
				l.sent.Add(1)
			}
		})
	}
	t.Cleanup(func() { stop(); l.over.Wait() })
	return l
}

// more waits until so many further requests are answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	goal := l.sent.Load() + n
	for end := time.Now().Add(patience); l.sent.Load() < goal; {
		if err := l.failure.Load(); err != nil {
			t.Fatalf("a request failed: %v", *err)
		}
		if time.Now().After(end) {
			t.Fatal("the requests stand still")
		}
		time.Sleep(time.Millisecond) // a poll: the load tells nobody
	}
}

// none ends the load, in which no request may have failed.
func (l *load) none(t *testing.T) {
	t.Helper()
	l.stop()
	l.over.Wait()
	if err := l.failure.Load(); err != nil {
		t.Errorf("after %d requests one failed: %v", l.sent.Load(), *err)
	}
	t.Logf("%d requests, none failed", l.sent.Load())
}

func echoPath(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, r.URL.Path)
}

func TestUpstreamsChangeUnderLoadAndNoRequestFails(t *testing.T) {
	one, two := web(t, echoPath), web(t, echoPath)
	h := start(t, one)
	c := h.control(t)
	l := h.load(t, "web")
	l.more(t, 200)
	update := func(u *warmpoolv1.Upstream, paths ...string) *warmpoolv1.UpdateUpstreamResponse {
		t.Helper()
		u.Name = "web"
		out := must[*warmpoolv1.UpdateUpstreamResponse](t)(c.UpdateUpstream(within(t), &warmpoolv1.UpdateUpstreamRequest{
			Upstream: u, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		}))
		l.more(t, 100)
		return out
	}
	for range 3 {
		update(&warmpoolv1.Upstream{Connections: &warmpoolv1.Connections{Max: new(uint32(1))}})
		update(&warmpoolv1.Upstream{Connections: &warmpoolv1.Connections{Max: new(uint32(20)), Warm: new(uint32(10))}})
		update(&warmpoolv1.Upstream{Queue: &warmpoolv1.Queue{MaxWaiting: new(uint32(100)), MaxWait: durationpb.New(5 * time.Second)}})
		update(&warmpoolv1.Upstream{Connections: &warmpoolv1.Connections{MaxRequests: new(uint64(7)), MaxLifetime: durationpb.New(time.Second)}})
		update(&warmpoolv1.Upstream{}, "queue", "connections.warm", "connections.max_requests", "connections.max_lifetime")
		update(&warmpoolv1.Upstream{Url: two.GetUrl()})
		update(&warmpoolv1.Upstream{Pipelining: &warmpoolv1.Pipelining{Depth: new(uint32(4))}})
		update(&warmpoolv1.Upstream{Pipelining: &warmpoolv1.Pipelining{Depth: new(uint32(1))}, Url: one.GetUrl()})
		must[*warmpoolv1.ReconnectUpstreamResponse](t)(c.ReconnectUpstream(within(t), &warmpoolv1.ReconnectUpstreamRequest{Name: "web"}))
		must[*warmpoolv1.PauseUpstreamResponse](t)(c.PauseUpstream(within(t), &warmpoolv1.PauseUpstreamRequest{Name: "web"}))
		must[*warmpoolv1.ResumeUpstreamResponse](t)(c.ResumeUpstream(within(t), &warmpoolv1.ResumeUpstreamRequest{Name: "web"}))
		must[*warmpoolv1.CreateUpstreamResponse](t)(c.CreateUpstream(within(t), &warmpoolv1.CreateUpstreamRequest{
			Upstream: &warmpoolv1.Upstream{Name: "other", Url: two.GetUrl()},
		}))
		send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "other", Path: "/other"})
		must[*warmpoolv1.DeleteUpstreamResponse](t)(c.DeleteUpstream(within(t), &warmpoolv1.DeleteUpstreamRequest{Name: "other"}))
		l.more(t, 100)
	}
	l.none(t)
	st := must[*warmpoolv1.GetUpstreamResponse](t)(c.GetUpstream(within(t), &warmpoolv1.GetUpstreamRequest{Name: "web"})).GetUpstream()
	if st.GetSource() != warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE_CHANGED_BY_API || st.GetUpstream().GetUrl() != one.GetUrl() {
		t.Errorf("in the end the upstream is %v", st)
	}
	if len(st.GetStats().GetFailures()) > 0 {
		t.Errorf("failures: %v", st.GetStats().GetFailures())
	}
}

func TestAChangeIsCheckedAsTheFileIsAndEveryMistakeIsNamed(t *testing.T) {
	h := start(t, web(t, echoPath))
	c := h.control(t)
	_, err := c.CreateUpstream(within(t), &warmpoolv1.CreateUpstreamRequest{Upstream: &warmpoolv1.Upstream{
		Name: "Bad Name", Url: "ftp://x", Connections: &warmpoolv1.Connections{Max: new(uint32(0))},
		Queue: &warmpoolv1.Queue{MaxWait: durationpb.New(-time.Second)},
	}})
	refusedFor(t, err, codes.InvalidArgument, []string{"connections.max", "name", "queue.max_wait", "url"}, "connections.max", "ftp://x")
	_, err = c.CreateUpstream(within(t), &warmpoolv1.CreateUpstreamRequest{Upstream: at("http://127.0.0.1:1")})
	refusedFor(t, err, codes.AlreadyExists, nil, "web")
	_, err = c.UpdateUpstream(within(t), &warmpoolv1.UpdateUpstreamRequest{
		Upstream: &warmpoolv1.Upstream{Name: "web"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"queue", "connections.most", "nothing"}},
	})
	refusedFor(t, err, codes.InvalidArgument, []string{"update_mask.paths[1]", "update_mask.paths[2]"}, "connections.most")
	_, err = c.UpdateUpstream(within(t), &warmpoolv1.UpdateUpstreamRequest{Upstream: &warmpoolv1.Upstream{Name: "web"}, Etag: "other"})
	refusedFor(t, err, codes.Aborted, nil, "etag")
	_, err = c.UpdateUpstream(within(t), &warmpoolv1.UpdateUpstreamRequest{Upstream: &warmpoolv1.Upstream{Name: "none"}})
	refusedFor(t, err, codes.NotFound, nil, "none", "web")
	_, err = c.PauseUpstream(within(t), &warmpoolv1.PauseUpstreamRequest{Name: "web", Duration: durationpb.New(-1)})
	refusedFor(t, err, codes.InvalidArgument, []string{"duration"})
	_, err = c.ListUpstreams(within(t), &warmpoolv1.ListUpstreamsRequest{PageSize: 1001, PageToken: "!"})
	refusedFor(t, err, codes.InvalidArgument, []string{"page_size", "page_token"})
	_, err = c.CloseConnection(within(t), &warmpoolv1.CloseConnectionRequest{ConnectionId: 99999})
	refusedFor(t, err, codes.NotFound, nil, "99999")
	_, err = c.ReloadConfig(within(t), &warmpoolv1.ReloadConfigRequest{})
	refusedFor(t, err, codes.FailedPrecondition, nil, "without a configuration file")
}

func TestAMaskSaysWhatChangesAndValidateOnlyChangesNothing(t *testing.T) {
	u := web(t, echoPath)
	u.Connections, u.Queue = &warmpoolv1.Connections{Max: new(uint32(5))}, &warmpoolv1.Queue{MaxWaiting: new(uint32(7))}
	h := start(t, u)
	c := h.control(t)
	get := func() *warmpoolv1.UpstreamStatus {
		t.Helper()
		return must[*warmpoolv1.GetUpstreamResponse](t)(c.GetUpstream(within(t), &warmpoolv1.GetUpstreamRequest{Name: "web"})).GetUpstream()
	}
	before := get()
	if before.GetSource() != warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE || before.GetUpstream().GetTimeouts().GetConnect().AsDuration() != 2*time.Second {
		t.Errorf("at first: %v", before)
	}
	change := func(validateOnly bool, mask ...string) *warmpoolv1.UpdateUpstreamResponse {
		t.Helper()
		return must[*warmpoolv1.UpdateUpstreamResponse](t)(c.UpdateUpstream(within(t), &warmpoolv1.UpdateUpstreamRequest{
			Upstream:   &warmpoolv1.Upstream{Name: "web", Url: u.GetUrl(), Connections: &warmpoolv1.Connections{Max: new(uint32(6))}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}, ValidateOnly: validateOnly, Etag: get().GetEtag(),
		}))
	}
	would := change(true, "connections.max")
	if got := get(); would.GetUpstream().GetUpstream().GetConnections().GetMax() != 6 || got.GetUpstream().GetConnections().GetMax() != 5 || got.GetEtag() != before.GetEtag() {
		t.Errorf("validate_only answered %v and left %v", would, got)
	}
	if out := change(false, "connections.max"); !slices.Equal(out.GetChanged(), []string{"connections.max"}) || out.GetUpstream().GetEtag() == before.GetEtag() {
		t.Errorf("the change: %v", out)
	}
	if out := change(false); len(out.GetChanged()) != 0 {
		t.Errorf("a change to what is there: %v", out.GetChanged())
	}
	if out := change(false, "queue"); !slices.Equal(out.GetChanged(), []string{"queue.max_waiting"}) || out.GetUpstream().GetUpstream().GetQueue().GetMaxWaiting() != 1024 {
		t.Errorf("a section that is not set returns to its defaults: %v", out)
	}
	if got := get(); got.GetSource() != warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE_CHANGED_BY_API || got.GetUpdateTime().AsTime().Equal(got.GetCreateTime().AsTime()) {
		t.Errorf("in the end: %v", got)
	}
}

func TestListsComeInPages(t *testing.T) {
	var all []*warmpoolv1.Upstream
	u := web(t, echoPath)
	for i := range 7 {
		all = append(all, &warmpoolv1.Upstream{Name: fmt.Sprintf("u%d", i), Url: u.GetUrl(), Connections: &warmpoolv1.Connections{Warm: new(uint32(2))}})
	}
	h := start(t, all...)
	c := h.control(t)
	var names []string
	for token, first := "", true; first || token != ""; first = false {
		out := must[*warmpoolv1.ListUpstreamsResponse](t)(c.ListUpstreams(within(t), &warmpoolv1.ListUpstreamsRequest{PageSize: 3, PageToken: token}))
		for _, u := range out.GetUpstreams() {
			names = append(names, u.GetUpstream().GetName())
		}
		token = out.GetNextPageToken()
	}
	if strings.Join(names, " ") != "u0 u1 u2 u3 u4 u5 u6" {
		t.Errorf("upstreams: %v", names)
	}
	eventually(t, "14 idle connections", func() bool {
		out := must[*warmpoolv1.ListConnectionsResponse](t)(c.ListConnections(within(t), &warmpoolv1.ListConnectionsRequest{
			States: []warmpoolv1.ConnectionState{warmpoolv1.ConnectionState_CONNECTION_STATE_IDLE},
		}))
		return len(out.GetConnections()) == 14
	})
	var ids []uint64
	for token, first := "", true; first || token != ""; first = false {
		out := must[*warmpoolv1.ListConnectionsResponse](t)(c.ListConnections(within(t), &warmpoolv1.ListConnectionsRequest{PageSize: 4, PageToken: token}))
		for _, c := range out.GetConnections() {
			ids = append(ids, c.GetId())
			if c.GetLocalAddress() == "" || c.GetAge().AsDuration() <= 0 || c.GetIdleLimitSource() != warmpoolv1.IdleLimitSource_IDLE_LIMIT_SOURCE_POLICY || c.GetHandshake().GetConnect().AsDuration() <= 0 {
				t.Errorf("a connection: %v", c)
			}
		}
		token = out.GetNextPageToken()
	}
	if len(ids) != 14 || !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != 14 {
		t.Errorf("connections: %v", ids)
	}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) { // a poll of another process's state
		if time.Now().After(end) {
			t.Fatalf("no sign of %s", what)
		}
	}
}

func TestAConnectionIsClosedAndListedAmongTheLast(t *testing.T) {
	g := newGate()
	h := start(t, web(t, g.serve))
	c := h.control(t)
	client := h.client(t)
	answer := make(chan error, 1)
	go func() {
		_, err := client.Send(t.Context(), &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web"}})
		answer <- err
	}()
	g.await(t)
	list := func(states ...warmpoolv1.ConnectionState) []*warmpoolv1.Connection {
		t.Helper()
		return must[*warmpoolv1.ListConnectionsResponse](t)(c.ListConnections(within(t), &warmpoolv1.ListConnectionsRequest{Upstream: "web", States: states})).GetConnections()
	}
	open := list()
	if len(open) != 1 || open[0].GetState() != warmpoolv1.ConnectionState_CONNECTION_STATE_ACTIVE || open[0].GetInFlight() != 1 {
		t.Fatalf("open: %v", open)
	}
	id := open[0].GetId()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := c.CloseConnection(short, &warmpoolv1.CloseConnectionRequest{ConnectionId: id})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("with an exchange on it: %v", err)
	}
	closed := must[*warmpoolv1.CloseConnectionResponse](t)(c.CloseConnection(within(t), &warmpoolv1.CloseConnectionRequest{ConnectionId: id, Force: true})).GetConnection()
	if closed.GetState() != warmpoolv1.ConnectionState_CONNECTION_STATE_CLOSED || closed.GetCloseReason() != warmpoolv1.CloseReason_CLOSE_REASON_CLOSED_BY_OPERATOR {
		t.Errorf("closed: %v", closed)
	}
	readRefusal(t, receive(t, answer, "the failure")).want(t, codes.Unavailable, warmpoolv1.Reason_REASON_DRAINING, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
	last := list(warmpoolv1.ConnectionState_CONNECTION_STATE_CLOSED)
	if len(last) != 1 || last[0].GetId() != id || last[0].GetCloseReason() != warmpoolv1.CloseReason_CLOSE_REASON_CLOSED_BY_OPERATOR || last[0].GetCloseTime() == nil {
		t.Errorf("the last ones: %v", last)
	}
}

func TestPauseAndDrainAnswerWhenTheyAreDone(t *testing.T) {
	g := newGate()
	u := web(t, g.serve)
	u.Queue = &warmpoolv1.Queue{MaxWait: durationpb.New(0)}
	h := start(t, u)
	c := h.control(t)
	client := h.client(t)
	answers := make(chan error, 2)
	ask := func() {
		_, err := client.Send(t.Context(), &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: "web"}})
		answers <- err
	}
	go ask()
	g.await(t)
	paused := make(chan error, 1)
	go func() {
		_, err := c.PauseUpstream(within(t), &warmpoolv1.PauseUpstreamRequest{Name: "web"})
		paused <- err
	}()
	state := func() warmpoolv1.UpstreamState {
		return must[*warmpoolv1.GetUpstreamResponse](t)(c.GetUpstream(within(t), &warmpoolv1.GetUpstreamRequest{Name: "web"})).GetUpstream().GetState()
	}
	eventually(t, "the pause", func() bool { return state() == warmpoolv1.UpstreamState_UPSTREAM_STATE_PAUSED })
	go ask()
	eventually(t, "a request that waits", func() bool {
		return must[*warmpoolv1.GetStatsResponse](t)(c.GetStats(within(t), &warmpoolv1.GetStatsRequest{})).GetStats().GetUpstreams()[0].GetWaiting() == 1
	})
	close(g.open)
	if err := receive(t, answers, "the first answer"); err != nil {
		t.Error(err)
	}
	if err := receive(t, paused, "the pause's answer"); err != nil {
		t.Error(err)
	}
	// A drain serves those who wait, and ends the pause for them.
	drained := must[*warmpoolv1.DrainUpstreamResponse](t)(c.DrainUpstream(within(t), &warmpoolv1.DrainUpstreamRequest{Name: "web"}))
	if err := receive(t, answers, "the second answer"); err != nil || drained.GetCancelled() != 0 || drained.GetClosed() == 0 {
		t.Errorf("the drain: %v, %v", drained, err)
	}
	refused(t, client, &warmpoolv1.HttpRequest{Upstream: "web"}).want(t, codes.Unavailable, warmpoolv1.Reason_REASON_DRAINING, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	if state() != warmpoolv1.UpstreamState_UPSTREAM_STATE_DRAINED {
		t.Errorf("after the drain it is %v", state())
	}
	_, err := c.PauseUpstream(within(t), &warmpoolv1.PauseUpstreamRequest{Name: "web"})
	refusedFor(t, err, codes.FailedPrecondition, nil, "drained", "resume")
	must[*warmpoolv1.ResumeUpstreamResponse](t)(c.ResumeUpstream(within(t), &warmpoolv1.ResumeUpstreamRequest{Name: "web"}))
	send(t, client, &warmpoolv1.HttpRequest{Upstream: "web"})
}

func TestWatchersAreToldWhatHappens(t *testing.T) {
	h := start(t, web(t, echoPath))
	c := h.control(t)
	ctx := within(t)
	quick := must[warmpoolv1.PoolService_WatchEventsClient](t)(c.WatchEvents(ctx, &warmpoolv1.WatchEventsRequest{
		Upstreams: []string{"web"}, Kinds: []warmpoolv1.EventKind{warmpoolv1.EventKind_EVENT_KIND_UPSTREAM_STATE_CHANGED, warmpoolv1.EventKind_EVENT_KIND_CONNECTION_OPENED},
	}))
	if _, err := quick.Header(); err != nil {
		t.Fatal(err)
	}
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
	must[*warmpoolv1.PauseUpstreamResponse](t)(c.PauseUpstream(ctx, &warmpoolv1.PauseUpstreamRequest{Name: "web"}))
	must[*warmpoolv1.ResumeUpstreamResponse](t)(c.ResumeUpstream(ctx, &warmpoolv1.ResumeUpstreamRequest{Name: "web"}))
	var got []*warmpoolv1.Event
	for len(got) < 3 {
		got = append(got, must[*warmpoolv1.WatchEventsResponse](t)(quick.Recv()).GetEvents()...)
	}
	if got[0].GetKind() != warmpoolv1.EventKind_EVENT_KIND_CONNECTION_OPENED || got[0].GetConnectionId() == 0 || got[1].GetMessage() != "paused" || got[2].GetMessage() != "resumed" {
		t.Errorf("events: %v", got)
	}
}

func TestASidecarThatIsNotReadyYetIsNotStopping(t *testing.T) {
	cfg := settings(shortDir(t), &warmpoolv1.Upstream{Name: "nobody", Url: "http://127.0.0.1:1", Connections: &warmpoolv1.Connections{Warm: new(uint32(1))}})
	cfg.WarmTimeout = durationpb.New(time.Hour)
	h := startWith(t, cfg)
	if st := must[*warmpoolv1.GetStatsResponse](t)(h.control(t).GetStats(within(t), &warmpoolv1.GetStatsRequest{})).GetStats(); st.GetDraining() {
		t.Errorf("stats of a sidecar whose warm floor is missing: %v", st)
	}
}

func TestStatsAreSentAgainAndAgain(t *testing.T) {
	h := start(t, web(t, echoPath))
	c := h.control(t)
	stream := must[warmpoolv1.PoolService_WatchStatsClient](t)(c.WatchStats(within(t), &warmpoolv1.WatchStatsRequest{Interval: durationpb.New(100 * time.Millisecond)}))
	must[*warmpoolv1.WatchStatsResponse](t)(stream.Recv())
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
	for {
		st := must[*warmpoolv1.WatchStatsResponse](t)(stream.Recv()).GetStats()
		if u := st.GetUpstreams()[0]; u.GetResponses() == 1 {
			if u.GetAttempts() != 1 || u.GetOpened() != 1 || u.GetMax() != 64 || len(u.GetEndpoints()) != 1 || st.GetVersion() != "test" {
				t.Errorf("stats: %v", st)
			}
			break
		}
	}
	h.stop()
	for {
		if _, err := stream.Recv(); err != nil {
			if status.Code(err) != codes.Unavailable {
				t.Errorf("at the drain the stream ended with %v", err)
			}
			break
		}
	}
}

// What the log says of a file that is read, it says of an upstream that is set by a call.
func TestAPolicySetByACallIsWarnedOfAsTheFilesIs(t *testing.T) {
	h := start(t)
	control := h.control(t)
	u := &warmpoolv1.Upstream{Name: "far", Url: "http://127.0.0.1:1", Tcp: &warmpoolv1.Tcp{Congestion: "nosuch"}}
	must[*warmpoolv1.CreateUpstreamResponse](t)(control.CreateUpstream(within(t), &warmpoolv1.CreateUpstreamRequest{Upstream: u}))
	if text := h.log.String(); strings.Count(text, "tcp.congestion") != 1 || !strings.Contains(text, "upstream=far") {
		t.Errorf("the log does not warn of the congestion control:\n%s", text)
	}
	u.Tcp.Congestion = "neither"
	must[*warmpoolv1.UpdateUpstreamResponse](t)(control.UpdateUpstream(within(t), &warmpoolv1.UpdateUpstreamRequest{
		Upstream: u, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"tcp.congestion"}},
	}))
	if text := h.log.String(); !strings.Contains(text, "neither") {
		t.Errorf("the log does not warn of the change:\n%s", text)
	}
}

func TestUpkeepOnRequestIsRefusedWhereItCannotBe(t *testing.T) {
	h := start(t, &warmpoolv1.Upstream{Name: "lone", Url: "http://127.0.0.1:1", Connections: &warmpoolv1.Connections{Max: proto.Uint32(1)}})
	_, err := h.control(t).WarmUpstream(within(t), &warmpoolv1.WarmUpstreamRequest{Name: "lone", Connections: 1, Upkeep: true})
	refusedFor(t, err, codes.InvalidArgument, []string{"upkeep"}, "the last idle connection is the callers'")
}
