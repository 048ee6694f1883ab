package sidecar_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar"
)

// scrape asks for the metrics as Prometheus does.
func scrape(t *testing.T, h *house) map[string]*dto.MetricFamily {
	t.Helper()
	response, err := http.Get("http://" + h.Addrs().Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// sample finds the one metric of a family that has these labels among its own.
func sample(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) *dto.Metric {
	t.Helper()
	var found *dto.Metric
	for _, m := range families[name].GetMetric() {
		has := make(map[string]string)
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && has[labels[i]] == labels[i+1]
		}
		if match {
			if found != nil {
				t.Fatalf("%s %v: more than one: %v and %v", name, labels, found, m)
			}
			found = m
		}
	}
	if found == nil {
		t.Fatalf("no %s with %v in %v", name, labels, families[name])
	}
	return found
}

func TestAScrapeTellsWhatTheSidecarDid(t *testing.T) {
	upstream := web(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	nobody := &warmpoolv1.Upstream{Name: "nobody", Url: "http://127.0.0.1:" + closedPort(t)}
	h := start(t, upstream, nobody)
	for range 3 {
		send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
	}
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web", Path: "/missing", Method: "POST"})
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web", Method: "INVENTED"})
	refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "nobody"})
	refused(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "not-a-label-value"})
	s, _ := sessionOf(t, h)
	calls(t, s, call(1, &warmpoolv1.HttpRequest{Upstream: "web"}))
	replies(t, s, 1)

	f := scrape(t, h)
	count := func(name string, labels ...string) uint64 {
		return sample(t, f, name, labels...).GetHistogram().GetSampleCount()
	}
	if n := count("http_client_request_duration_seconds", "warmpool_upstream", "web", "http_request_method", "GET", "http_response_status_code", "200"); n != 4 {
		t.Errorf("%d GET were counted, want 4", n)
	}
	if n := count("http_client_request_duration_seconds", "http_request_method", "POST", "error_type", "404"); n != 1 {
		t.Errorf("%d POST were counted, want 1", n)
	}
	if n := count("http_client_request_duration_seconds", "http_request_method", "_OTHER"); n != 1 {
		t.Errorf("%d of other methods were counted, want 1", n)
	}
	for _, want := range []struct {
		name   string
		value  float64
		labels []string
	}{
		{"http_client_open_connections", 1, []string{"warmpool_upstream", "web", "http_connection_state", "idle"}},
		{"http_client_open_connections", 0, []string{"warmpool_upstream", "web", "http_connection_state", "active"}},
		{"http_client_active_requests", 0, []string{"warmpool_upstream", "web"}},
		{"warmpool_connection_max", 64, []string{"warmpool_upstream", "web"}},
		{"warmpool_connection_opened_total", 1, []string{"warmpool_upstream", "web"}},
		{"warmpool_responses_total", 6, []string{"warmpool_upstream", "web"}},
		{"warmpool_attempts_total", 6, []string{"warmpool_upstream", "web"}},
		{"warmpool_failures_total", 1, []string{"warmpool_upstream", "nobody", "warmpool_reason", "DIAL_REFUSED"}},
		{"warmpool_sessions", 1, nil},
		{"warmpool_config_reloads_total", 0, []string{"result", "refused"}},
		{"warmpool_config_refused", 0, nil},
	} {
		m := sample(t, f, want.name, want.labels...)
		if got := m.GetGauge().GetValue() + m.GetCounter().GetValue(); got != want.value {
			t.Errorf("%s %v is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	for name, family := range f {
		for _, m := range family.GetMetric() {
			if text := m.String(); strings.Contains(text, "INVENTED") || strings.Contains(text, "not-a-label-value") || strings.Contains(text, "missing") {
				t.Errorf("%s holds a caller's text: %s", name, text)
			}
		}
	}
}

func TestMetricsThatNobodyWantsAreNotServed(t *testing.T) {
	cfg := settings(shortDir(t))
	cfg.Telemetry.Prometheus = "off"
	h := startWith(t, cfg)
	if p := get(t, h, "/metrics"); p.code != http.StatusNotFound {
		t.Errorf("/metrics: %d", p.code)
	}
}

// closedPort is one on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// collector is an OTLP receiver.
type collector struct {
	collectortrace.UnimplementedTraceServiceServer
	mu       sync.Mutex
	spans    []*tracepb.Span
	metrics  map[string]*metricspb.Metric
	resource map[string]string
}

func (c *collector) Export(_ context.Context, in *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range in.GetResourceSpans() {
		c.resource = attributes(r.GetResource().GetAttributes())
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
	return &collectortrace.ExportTraceServiceResponse{}, nil
}

// metricCollector is the collector's other service, whose method has the same name.
type metricCollector struct {
	collectormetrics.UnimplementedMetricsServiceServer
	*collector
}

func (c metricCollector) Export(_ context.Context, in *collectormetrics.ExportMetricsServiceRequest) (*collectormetrics.ExportMetricsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range in.GetResourceMetrics() {
		for _, s := range r.GetScopeMetrics() {
			for _, m := range s.GetMetrics() {
				c.collector.metrics[m.GetName()] = m
			}
		}
	}
	return &collectormetrics.ExportMetricsServiceResponse{}, nil
}

func attributes(all []*commonpb.KeyValue) map[string]string {
	m := make(map[string]string)
	for _, kv := range all {
		m[kv.GetKey()] = kv.GetValue().GetStringValue()
		if _, isInt := kv.GetValue().GetValue().(*commonpb.AnyValue_IntValue); isInt {
			m[kv.GetKey()] = fmt.Sprint(kv.GetValue().GetIntValue())
		}
	}
	return m
}

// collectOverGRPC has the sidecars of a test send to a collector.
func collectOverGRPC(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: make(map[string]*metricspb.Metric)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collectortrace.RegisterTraceServiceServer(s, c)
	collectormetrics.RegisterMetricsServiceServer(s, metricCollector{collector: c})
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-served })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	return c
}

// stopped ends a sidecar, which sends what is left.
func (h *house) stopped(t *testing.T) {
	t.Helper()
	h.stop()
	h.wait(t)
}

const (
	sampledParent   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampledParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestEachAttemptOfATracedExchangeIsASpan(t *testing.T) {
	c := collectOverGRPC(t)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=shop-1")
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off") // what no caller decides is not traced
	var mu sync.Mutex
	came := make(map[string][]http.Header)
	lost := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		came[r.URL.Path] = append(came[r.URL.Path], r.Header.Clone())
		switch r.URL.Path {
		case "/broken":
			w.WriteHeader(http.StatusBadGateway)
		case "/lost":
			if !lost { // the connection ends without an answer, once
				lost = true
				conn, _, err := w.(http.Hijacker).Hijack()
				if err == nil {
					_ = conn.Close()
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	h := start(t, at(server.URL))
	client := h.client(t)
	traced := func(path, parent string) *warmpoolv1.HttpRequest {
		return &warmpoolv1.HttpRequest{Upstream: "web", Path: path, Headers: []*warmpoolv1.Header{
			{Name: "a", Value: "1"}, {Name: "Traceparent", Value: parent}, {Name: "tracestate", Value: "vendor=x"}, {Name: "b", Value: "2"},
		}}
	}
	send(t, client, &warmpoolv1.HttpRequest{Upstream: "web", Path: "/first"})
	send(t, client, traced("/ok", sampledParent))
	send(t, client, traced("/unsampled", unsampledParent))
	send(t, client, traced("/broken", sampledParent))
	send(t, client, traced("/lost", sampledParent))
	s, _ := sessionOf(t, h)
	const other = "00-11111111111111111111111111111111-2222222222222222-01"
	calls(t, s, call(1, traced("/one", sampledParent)), call(2, traced("/two", other)))
	replies(t, s, 2)
	h.stopped(t)

	if len(c.spans) != 6 {
		t.Fatalf("%d spans, want those of ok, broken, lost twice, one and two: %v", len(c.spans), c.spans)
	}
	if c.resource["service.name"] != "warmpool" || c.resource["k8s.pod.name"] != "shop-1" {
		t.Errorf("the resource is %v", c.resource)
	}
	byID := make(map[string]*tracepb.Span)
	for _, s := range c.spans {
		byID[hex.EncodeToString(s.GetTraceId())+"-"+hex.EncodeToString(s.GetSpanId())] = s
	}
	// span finds the span whose context an attempt carried to the upstream.
	span := func(path string, attempt int) *tracepb.Span {
		t.Helper()
		if len(came[path]) <= attempt {
			t.Fatalf("%s came %d times", path, len(came[path]))
		}
		header := came[path][attempt]
		s := byID[strings.TrimSuffix(strings.TrimPrefix(header.Get("Traceparent"), "00-"), "-01")]
		if s == nil {
			t.Fatalf("%s: the upstream saw %q, of which no span was told", path, header.Get("Traceparent"))
		}
		if header.Get("Tracestate") != "vendor=x" || header.Get("A") != "1" || header.Get("B") != "2" {
			t.Errorf("%s: the upstream saw %v", path, header)
		}
		return s
	}
	if seen := came["/unsampled"][0].Get("Traceparent"); seen != unsampledParent {
		t.Errorf("an exchange that is not traced went out with %q", seen)
	}
	if seen := came["/first"][0].Get("Traceparent"); seen != "" {
		t.Errorf("a request without context got %q", seen)
	}
	for _, want := range []struct {
		path         string
		attempt      int
		parent       string
		failed       bool
		status, kind string
		resend       string
	}{
		{"/ok", 0, sampledParent, false, "200", "", ""},
		{"/broken", 0, sampledParent, true, "502", "502", ""},
		{"/lost", 0, sampledParent, true, "", "CONNECTION_CLOSED", ""},
		{"/lost", 1, sampledParent, false, "200", "", "1"},
		{"/one", 0, sampledParent, false, "200", "", ""},
		{"/two", 0, other, false, "200", "", ""},
	} {
		s := span(want.path, want.attempt)
		a := attributes(s.GetAttributes())
		if s.GetName() != "GET" || s.GetKind() != tracepb.Span_SPAN_KIND_CLIENT || !strings.HasPrefix(want.parent[3:], hex.EncodeToString(s.GetTraceId())) ||
			!strings.Contains(want.parent, hex.EncodeToString(s.GetParentSpanId())) {
			t.Errorf("%s: %v", want.path, s)
		}
		if a["warmpool.upstream"] != "web" || a["server.address"] != "127.0.0.1" || a["http.request.method"] != "GET" ||
			a["http.response.status_code"] != want.status || a["error.type"] != want.kind || a["http.request.resend_count"] != want.resend {
			t.Errorf("%s: attributes %v", want.path, a)
		}
		if (s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR) != want.failed {
			t.Errorf("%s: status %v", want.path, s.GetStatus())
		}
	}
	if m := c.metrics["http.client.request.duration"]; len(m.GetHistogram().GetDataPoints()) < 3 {
		t.Errorf("the metrics of OTLP: %v", m)
	}
}

func TestOTLPGoesOverHTTPByDefault(t *testing.T) {
	c := &collector{metrics: make(map[string]*metricspb.Metric)}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch r.URL.Path {
		case "/v1/traces":
			var in collectortrace.ExportTraceServiceRequest
			if err := proto.Unmarshal(body, &in); err != nil {
				t.Error(err)
			}
			_, _ = c.Export(r.Context(), &in)
		case "/v1/metrics":
			var in collectormetrics.ExportMetricsServiceRequest
			if err := proto.Unmarshal(body, &in); err != nil {
				t.Error(err)
			}
			_, _ = metricCollector{collector: c}.Export(r.Context(), &in)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	came := make(chan string, 1)
	h := start(t, web(t, func(_ http.ResponseWriter, r *http.Request) { came <- r.Header.Get("Traceparent") }))
	send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
	h.stopped(t)
	if len(c.spans) != 1 || c.metrics["warmpool.responses"] == nil {
		t.Fatalf("%d spans, metrics %v", len(c.spans), c.metrics)
	}
	want := "00-" + hex.EncodeToString(c.spans[0].GetTraceId()) + "-" + hex.EncodeToString(c.spans[0].GetSpanId()) + "-01"
	if seen := <-came; seen != want {
		t.Errorf("the upstream saw %q, want %q", seen, want)
	}
}

func TestDurationsAreToldAsTheReaderWantsThem(t *testing.T) {
	const (
		temporality = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
		aggregation = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
		cumulative  = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
		delta       = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	)
	for _, c := range []struct {
		name, value string
		temporality metricspb.AggregationTemporality
		exponential bool
	}{
		{"", "", cumulative, false},
		{temporality, "delta", delta, false},
		{temporality, "lowmemory", delta, false},
		{aggregation, "base2_exponential_bucket_histogram", cumulative, true},
		{"OTEL_METRICS_EXEMPLAR_FILTER", "always_on", cumulative, false},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			collected := collectOverGRPC(t)
			if c.name != "" {
				t.Setenv(c.name, c.value)
			}
			h := start(t, web(t, func(http.ResponseWriter, *http.Request) {}))
			for range 3 {
				send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
			}
			scraped := sample(t, scrape(t, h), "http_client_request_duration_seconds", "warmpool_upstream", "web").GetHistogram()
			if scraped.GetSampleCount() != 3 || len(scraped.GetBucket()) != 15 || scraped.GetSampleSum() <= 0 {
				t.Errorf("scraped is %v", scraped)
			}
			h.stopped(t)
			m := collected.metrics["http.client.request.duration"]
			if m.GetUnit() != "s" || !strings.HasPrefix(m.GetDescription(), "Duration of attempts") {
				t.Errorf("told is %v", m)
			}
			if c.exponential {
				points := m.GetExponentialHistogram().GetDataPoints()
				if len(points) != 1 || points[0].GetCount() != 3 {
					t.Errorf("told is %v", m)
				}
				return
			}
			points := m.GetHistogram().GetDataPoints()
			if m.GetHistogram().GetAggregationTemporality() != c.temporality || len(points) != 1 || points[0].GetCount() != 3 ||
				len(points[0].GetExplicitBounds()) != 14 || points[0].GetSum() <= 0 || points[0].GetMax() < points[0].GetMin() || points[0].GetMin() <= 0 {
				t.Errorf("told is %v", m)
			}
			if exemplars := len(points[0].GetExemplars()) > 0; exemplars != (c.value == "always_on") {
				t.Errorf("exemplars: %v", exemplars)
			}
		})
	}
}

func TestTelemetryThatCannotBeAsAskedForStopsTheStart(t *testing.T) {
	for _, c := range []struct {
		set  map[string]string
		says string
	}{
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "must be grpc or http/protobuf"},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER is \"jaeger_remote\""},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG is \"2\", must be 0 to 1"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is \"zipkin\", must be one of otlp, none"},
	} {
		t.Run(c.says, func(t *testing.T) {
			for name, value := range c.set {
				t.Setenv(name, value)
			}
			_, err := sidecar.New(settings(shortDir(t)), sidecar.Options{Logger: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

func TestACollectorThatIsNotThereHoldsNothingUp(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:"+closedPort(t))
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	h := start(t, web(t, func(http.ResponseWriter, *http.Request) {}))
	for range 100 {
		send(t, h.client(t), &warmpoolv1.HttpRequest{Upstream: "web"})
	}
	begun := time.Now()
	h.stopped(t)
	if took := time.Since(begun); took > patience {
		t.Errorf("the end took %v", took)
	}
	if !strings.Contains(h.log.String(), "metrics or traces were not delivered") {
		t.Errorf("the log does not say that something was lost:\n%s", h.log)
	}
}
