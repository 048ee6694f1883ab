package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// site is a server that callers may name by its origin, which is an IP address.
func site(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func hello(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s at %s", r.URL, r.Host) }

// naming is a configuration whose callers may name these origins.
func naming(t *testing.T, origins ...string) *warmpoolv1.Config {
	t.Helper()
	cfg := settings(shortDir(t))
	cfg.DynamicOrigins.Allow = origins
	return cfg
}

// listed are the names of the upstreams that callers have made.
func (h *house) listed(t *testing.T) []string {
	t.Helper()
	var names []string
	all := must[*warmpoolv1.ListUpstreamsResponse](t)(h.control(t).ListUpstreams(within(t), &warmpoolv1.ListUpstreamsRequest{}))
	for _, u := range all.GetUpstreams() {
		if u.GetSource() == warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_DYNAMIC {
			names = append(names, u.GetUpstream().GetName())
		}
	}
	return names
}

func TestACallerNamesAnOriginThatTheListHas(t *testing.T) {
	at := site(t, hello)
	h := startWith(t, naming(t, at))
	want := "/a at " + strings.TrimPrefix(at, "http://")
	for range 3 {
		if got := send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: at, Path: "/a"}); string(got.GetBody()) != want {
			t.Errorf("Send is answered %q, want %q", got.GetBody(), want)
		}
	}
	s, _ := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: at, Path: "/a"}), call(2, &warmpoolv1.HttpRequest{Upstream: at, Path: "/a"}))
	for id, got := range replies(t, s, 2) {
		if string(got[0].GetResponse().GetBody()) != want {
			t.Errorf("call %d is answered %v", id, got)
		}
	}
	stream, _ := openStream(t, h, &warmpoolv1.HttpRequest{Upstream: at, Path: "/a"}, true)
	if got, err := received(stream); err != nil || string(got.body) != want {
		t.Errorf("Stream is answered %q, %v", got.body, err)
	}
	if got := h.listed(t); !slices.Equal(got, []string{at}) {
		t.Errorf("the upstreams that callers have made are %q", got)
	}
	stats := must[*warmpoolv1.GetStatsResponse](t)(h.control(t).GetStats(within(t), &warmpoolv1.GetStatsRequest{Upstreams: []string{at}}))
	if n := stats.GetStats().GetUpstreams()[0].GetResponses(); n != 6 {
		t.Errorf("%d responses are counted, want 6", n)
	}
	cfg := must[*warmpoolv1.GetConfigResponse](t)(h.control(t).GetConfig(within(t), &warmpoolv1.GetConfigRequest{}))
	if n := len(cfg.GetConfig().GetUpstreams()); n != 0 {
		t.Errorf("%d upstreams are shown as the configuration's", n)
	}
}

func TestOriginsCannotBeNamedUnlessTheOperatorSaysSo(t *testing.T) {
	at := site(t, hello)
	h := startWith(t, settings(shortDir(t)))
	for _, name := range []string{at, "https://API.example.com", at + "/path", "https://me:secret@api.example.com"} { // whatever else is wrong
		r := refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: name})
		r.want(t, codes.NotFound, warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
		r.says(t, "dynamic_origins.allow")
		if strings.Contains(r.message, "secret") || strings.Contains(r.info.String(), "secret") {
			t.Errorf("the password is repeated: %q, %v", r.message, r.info)
		}
	}
	if got := h.listed(t); len(got) != 0 {
		t.Errorf("there are %q", got)
	}
}

func TestAnOriginThatMayNotBeNamedIsRefusedWithWhatIsAllowed(t *testing.T) {
	at := site(t, hello)
	h := startWith(t, naming(t, at, "https://*.example.com"))
	for _, name := range []string{
		"https://api.example.org", "https://a.b.example.com", "https://example.com", "http://api.example.com", "https://api.example.com:8443", "http://127.0.0.1",
	} {
		r := refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: name})
		r.want(t, codes.PermissionDenied, warmpoolv1.Reason_REASON_NOT_ALLOWED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
		r.says(t, name, "dynamic_origins.allow does not have it")
		if strings.Contains(r.message, "*") {
			t.Errorf("%q tells of what there is", r.message)
		}
	}
	for name, says := range map[string]string{
		"https://API.example.com":                    "in lower case",
		"https://api.example.com.":                   "without a final dot",
		"https://api.example.com:443":                "without :443",
		"https://me:secret@api.example.com":          "without user information",
		"https://evil.org/@api.example.com":          "without user information",
		"https://evil.org/.example.com":              "without path",
		"https://bücher.example.com":                 "xn--",
		"https://ev\x00il.example.com":               "must be a DNS name",
		"https://*.example.com":                      "must be a DNS name",
		"http://2130706433":                          "ends in a number",
		"http://0x7f.1":                              "ends in a number",
		"http://[::ffff:127.0.0.1]":                  "without brackets",
		"http://[fe80::1%25eth0]":                    "zone",
		strings.Replace(at, "127.0.0.1", "127.1", 1): "ends in a number",
	} {
		r := refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: name})
		r.want(t, codes.InvalidArgument, warmpoolv1.Reason_REASON_INVALID_REQUEST, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
		r.says(t, says)
		if strings.Contains(r.message, "secret") || strings.Contains(r.info.String(), "secret") {
			t.Errorf("the password is repeated: %q, %v", r.message, r.info)
		}
		if v := r.request.GetFieldViolations(); len(v) != 1 || v[0].GetField() != "request.upstream" {
			t.Errorf("%q: the field to blame is %v", name, v)
		}
	}
	if got := h.listed(t); len(got) != 0 {
		t.Errorf("there are %q", got)
	}
}

// A proxy in front of several sites goes by Host.
func TestHostCannotLeadToAnotherOrigin(t *testing.T) {
	at := site(t, hello)
	host := strings.TrimPrefix(at, "http://")
	h := startWith(t, naming(t, at))
	for _, own := range []string{host, strings.ToUpper(host)} {
		send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: at, Headers: []*warmpoolv1.Header{{Name: "hOST", Value: own}}})
	}
	for _, other := range []string{"internal.example", host + ".evil.example", "127.0.0.1", " " + host, ""} {
		r := refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: at, Headers: []*warmpoolv1.Header{{Name: "a", Value: "b"}, {Name: "host", Value: other}}})
		r.want(t, codes.InvalidArgument, warmpoolv1.Reason_REASON_INVALID_REQUEST, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
		r.says(t, "request.headers[1].value", host)
	}
}

func TestRulesDecideWhoMayNameWhichOrigin(t *testing.T) {
	at, other := site(t, hello), site(t, hello)
	for _, c := range []struct {
		name string
		rule []string
		may  bool
	}{
		{"all", []string{"*"}, true},
		{"this one", []string{"web", at}, true},
		{"another", []string{other}, false},
		{"a pattern that does not fit", []string{"https://*.example.com"}, false},
		{"names only", []string{"web"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := naming(t, at, other)
			cfg.Allow = []*warmpoolv1.Allow{{Uid: new(me()), Upstreams: c.rule}, {Uid: new(me() + 1), Upstreams: []string{"*"}}}
			h := startWith(t, cfg)
			if c.may {
				send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: at})
				return
			}
			// Whether the list has it, or somebody uses it, makes no difference.
			for _, name := range []string{at, "https://nowhere.example"} {
				r := refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: name})
				r.want(t, codes.PermissionDenied, warmpoolv1.Reason_REASON_NOT_ALLOWED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
				r.says(t, "no rule in allow")
			}
			if got := h.listed(t); len(got) != 0 {
				t.Errorf("there are %q", got)
			}
		})
	}
}

func TestARuleOnlyNarrowsWhatTheListAllows(t *testing.T) {
	at := site(t, hello)
	cfg := naming(t, "https://*.example.com")
	cfg.Allow = []*warmpoolv1.Allow{{Uid: new(me()), Upstreams: []string{at}}}
	h := startWith(t, cfg)
	r := refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: at})
	r.want(t, codes.PermissionDenied, warmpoolv1.Reason_REASON_NOT_ALLOWED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, "dynamic_origins.allow")
}

func TestThereAreNoMoreOriginsThanAllowed(t *testing.T) {
	one, two, three := site(t, hello), site(t, hello), site(t, hello)
	nobody := "http://127.0.0.1:" + closedPort(t)
	cfg := naming(t, one, two, three, nobody)
	cfg.DynamicOrigins.Max = new(uint32(2))
	h := startWith(t, cfg)
	c := h.client(t)
	send(t, c, &warmpoolv1.HttpRequest{Upstream: one})
	refused(t, c, &warmpoolv1.HttpRequest{Upstream: nobody}).want(t, codes.Unavailable, warmpoolv1.Reason_REASON_DIAL_REFUSED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	send(t, c, &warmpoolv1.HttpRequest{Upstream: two}) // in the place of the one that never had a connection
	if got, want := h.listed(t), []string{one, two}; !slices.Equal(got, want) && !slices.Equal(got, []string{two, one}) {
		t.Errorf("there are %q, want %q", got, want)
	}
	r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: three})
	r.want(t, codes.ResourceExhausted, warmpoolv1.Reason_REASON_ORIGIN_LIMIT, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	r.says(t, "there are 2 dynamic origins", "dynamic_origins.max", "5m0s")
	send(t, c, &warmpoolv1.HttpRequest{Upstream: one})
	must[*warmpoolv1.DeleteUpstreamResponse](t)(h.control(t).DeleteUpstream(within(t), &warmpoolv1.DeleteUpstreamRequest{Name: two}))
	send(t, c, &warmpoolv1.HttpRequest{Upstream: three})
}

func TestAnOriginThatNobodyUsesIsRemovedAndOneInUseIsNot(t *testing.T) {
	busy, queued := newGate(), newGate()
	unused, later, held, waited := site(t, hello), site(t, hello), site(t, busy.serve), site(t, queued.serve)
	cfg := naming(t, unused, later, held, waited)
	cfg.DynamicOrigins.MaxIdleTime = durationpb.New(time.Second)
	cfg.Callers = &warmpoolv1.Callers{MaxInFlight: new(uint32(2)), MaxWaiting: new(uint32(8)), MaxWait: durationpb.New(time.Minute)}
	h := startWith(t, cfg)
	c := h.client(t)
	answered := make(chan error, 3)
	begin := func(name string) {
		go func() {
			_, err := c.Send(t.Context(), &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: name}})
			answered <- err
		}()
	}
	send(t, c, &warmpoolv1.HttpRequest{Upstream: unused})
	begin(held)
	begin(held)
	busy.await(t)
	busy.await(t)
	begin(waited) // its caller has as many under way as it may
	eventually(t, "the origin that is waited for is there", func() bool { return len(h.listed(t)) == 3 })
	eventually(t, "the origin that nobody uses is removed", func() bool { return !slices.Contains(h.listed(t), unused) })
	// One that another caller names after the others is removed as well, and they are still there.
	send(t, warmpoolv1.NewHttpServiceClient(dial(t, h.Addrs().Data[1])), &warmpoolv1.HttpRequest{Upstream: later})
	eventually(t, "the later one is removed", func() bool { return !slices.Contains(h.listed(t), later) })
	if got := h.listed(t); !slices.Contains(got, held) || !slices.Contains(got, waited) {
		t.Fatalf("there are only %q", got)
	}
	close(queued.open)
	close(busy.open)
	for range 3 {
		if err := receive(t, answered, "an answer"); err != nil {
			t.Errorf("a request failed: %v", err)
		}
	}
	eventually(t, "all are removed", func() bool { return len(h.listed(t)) == 0 })
	send(t, c, &warmpoolv1.HttpRequest{Upstream: unused}) // and made again when it is named
	if text := h.log.String(); strings.Count(text, `msg="upstream created" upstream=`+unused) != 2 {
		t.Error("the log does not tell of two that were created")
	}
}

func TestTheControlPlaneSeesOriginsAndLeavesTheirSettingsToTheFile(t *testing.T) {
	at := site(t, hello)
	h := startWith(t, naming(t, at))
	c, control := h.client(t), h.control(t)
	send(t, c, &warmpoolv1.HttpRequest{Upstream: at})
	got := must[*warmpoolv1.GetUpstreamResponse](t)(control.GetUpstream(within(t), &warmpoolv1.GetUpstreamRequest{Name: at}))
	if u := got.GetUpstream(); u.GetUpstream().GetUrl() != at || u.GetSource() != warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_DYNAMIC || u.GetEtag() == "" {
		t.Errorf("%v", u)
	}
	_, err := control.UpdateUpstream(within(t), &warmpoolv1.UpdateUpstreamRequest{Upstream: &warmpoolv1.Upstream{Name: at, Connections: connections(7)}})
	refusedFor(t, err, codes.FailedPrecondition, nil, "dynamic_origins")
	_, err = control.CreateUpstream(within(t), &warmpoolv1.CreateUpstreamRequest{Upstream: &warmpoolv1.Upstream{Name: "http://127.0.0.1:1", Url: "http://127.0.0.1:1"}})
	refusedFor(t, err, codes.InvalidArgument, []string{"name"})

	must[*warmpoolv1.PauseUpstreamResponse](t)(control.PauseUpstream(within(t), &warmpoolv1.PauseUpstreamRequest{Name: at}))
	must[*warmpoolv1.ResumeUpstreamResponse](t)(control.ResumeUpstream(within(t), &warmpoolv1.ResumeUpstreamRequest{Name: at}))
	must[*warmpoolv1.ReconnectUpstreamResponse](t)(control.ReconnectUpstream(within(t), &warmpoolv1.ReconnectUpstreamRequest{Name: at}))
	send(t, c, &warmpoolv1.HttpRequest{Upstream: at})
	must[*warmpoolv1.DeleteUpstreamResponse](t)(control.DeleteUpstream(within(t), &warmpoolv1.DeleteUpstreamRequest{Name: at}))
	if got := h.listed(t); len(got) != 0 {
		t.Errorf("there are %q", got)
	}
	send(t, c, &warmpoolv1.HttpRequest{Upstream: at})
}

func TestAReloadGivesOriginsTheirSettingsAndRemovesThoseNoLongerAllowed(t *testing.T) {
	stays, goes := site(t, hello), newGate()
	gone := site(t, goes.serve)
	dir := shortDir(t)
	const text = `
dynamic_origins: {allow: [%s], like: web}
upstreams:
  - {name: web, url: "http://127.0.0.1:1", connections: {max: %d, warm: 0}}
`
	f := startFiled(t, dir, dir+"/warmpool.yaml", fmt.Sprintf(text, `"`+stays+`", "`+gone+`"`, 5))
	c := f.client(t)
	send(t, c, &warmpoolv1.HttpRequest{Upstream: stays})
	answered := make(chan error, 1)
	go func() {
		_, err := c.Send(t.Context(), &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: gone}})
		answered <- err
	}()
	goes.await(t)
	settled := func() uint32 {
		got := must[*warmpoolv1.GetUpstreamResponse](t)(f.control(t).GetUpstream(within(t), &warmpoolv1.GetUpstreamRequest{Name: stays}))
		return got.GetUpstream().GetUpstream().GetConnections().GetMax()
	}
	if got := settled(); got != 5 {
		t.Errorf("connections.max is %d, want that of the upstream that origins are like", got)
	}
	f.write(t, fmt.Sprintf(text, `"`+stays+`"`, 6))
	done := must[*warmpoolv1.ReloadConfigResponse](t)(f.control(t).ReloadConfig(within(t), &warmpoolv1.ReloadConfigRequest{}))
	if !slices.Equal(done.GetUpdated(), []string{stays, "web"}) || !slices.Equal(done.GetDeleted(), []string{gone}) || !slices.Equal(done.GetChanged(), []string{"dynamic_origins.allow"}) {
		t.Errorf("the reload did %v", done)
	}
	if got := settled(); got != 6 {
		t.Errorf("connections.max is %d", got)
	}
	r := refused(t, c, &warmpoolv1.HttpRequest{Upstream: gone})
	r.want(t, codes.PermissionDenied, warmpoolv1.Reason_REASON_NOT_ALLOWED, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
	send(t, c, &warmpoolv1.HttpRequest{Upstream: stays})
	close(goes.open)
	if err := receive(t, answered, "the answer to what was under way"); err != nil {
		t.Errorf("it failed: %v", err)
	}
	eventually(t, "the one that is no longer allowed is gone", func() bool { return slices.Equal(f.listed(t), []string{stays}) })

	f.write(t, fmt.Sprintf(text, "", 6)) // off again
	must[*warmpoolv1.ReloadConfigResponse](t)(f.control(t).ReloadConfig(within(t), &warmpoolv1.ReloadConfigRequest{}))
	refused(t, c, &warmpoolv1.HttpRequest{Upstream: stays}).want(t, codes.NotFound, warmpoolv1.Reason_REASON_UNKNOWN_UPSTREAM, warmpoolv1.Delivery_DELIVERY_NOT_SENT)
}

// However many origins there are over time, metrics count them as one, and what was
// counted of those that are gone stays counted.
func TestMetricsTellOfAllOriginsTogether(t *testing.T) {
	one, two := site(t, hello), site(t, hello)
	h := startWith(t, naming(t, one, two))
	for range 3 {
		send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: one})
	}
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: two})
	look := func() {
		t.Helper()
		response, err := http.Get("http://" + h.Addrs().Admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || strings.Contains(string(text), "127.0.0.1") {
			t.Errorf("%v: an address is told in\n%s", err, text)
		}
		families := scrape(t, h)
		label := []string{"warmpool_upstream", "_dynamic"}
		if n := sample(t, families, "warmpool_responses_total", label...).GetCounter().GetValue(); n != 4 {
			t.Errorf("%v responses, want 4", n)
		}
		if n := sample(t, families, "http_client_request_duration_seconds", label...).GetHistogram().GetSampleCount(); n != 4 {
			t.Errorf("%v attempts, want 4", n)
		}
		if n := sample(t, families, "warmpool_connection_create_time_seconds", label...).GetHistogram().GetSampleCount(); n < 2 {
			t.Errorf("%v connections, want 2", n)
		}
	}
	look()
	must[*warmpoolv1.DeleteUpstreamResponse](t)(h.control(t).DeleteUpstream(within(t), &warmpoolv1.DeleteUpstreamRequest{Name: one}))
	look()
}

// Whatever removes an origin meanwhile, a request finds it or makes it anew; only what
// waited on one that is deleted fails, for that reason and not sent.
func TestOriginsAreMadeAndRemovedUnderLoad(t *testing.T) {
	at := []string{site(t, hello), site(t, hello), site(t, hello)}
	h := startWith(t, naming(t, at...))
	var running sync.WaitGroup
	over := make(chan struct{})
	var sent atomic.Int64
	for i := range 6 {
		c := h.client(t)
		running.Go(func() {
			for n := i; ; n++ {
				select {
				case <-over:
					return
				default:
				}
				_, err := c.Send(t.Context(), &warmpoolv1.SendRequest{Request: &warmpoolv1.HttpRequest{Upstream: at[n%len(at)], Path: "/a"}})
				sent.Add(1)
				if err == nil {
					continue
				}
				r := readRefusal(t, err)
				if r.failure.GetReason() != warmpoolv1.Reason_REASON_UPSTREAM_DELETED || r.failure.GetDelivery() != warmpoolv1.Delivery_DELIVERY_NOT_SENT {
					t.Errorf("a request failed: %s", r.message)
					return
				}
			}
		})
	}
	for deleted := 0; deleted < 60; {
		for _, name := range at {
			_, err := h.control(t).DeleteUpstream(within(t), &warmpoolv1.DeleteUpstreamRequest{Name: name})
			if err == nil {
				deleted++
			} else if status.Code(err) != codes.NotFound {
				t.Fatal(err)
			}
		}
	}
	close(over)
	running.Wait()
	for _, name := range at {
		send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: name})
	}
	t.Logf("%d requests", sent.Load())
}
