package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// telemetry is what the sidecar tells of itself: metrics (metrics.go, figures.go)
// and traces (tracing.go). Each part is nil, and costs nothing, when nobody asks
// for it: metrics when neither Prometheus nor OTLP takes them, traces when OTLP
// does not.
type telemetry struct {
	metrics *metrics
	tracing *tracing
	scrape  http.Handler // /metrics; nil: not served

	shutdowns []func(context.Context) error
}

// scope is the name under which everything is told.
const scope = "github.com/warmpool-dev/warmpool"

// newTelemetry reads the settings and the standard OTEL_* variables. The
// exporters read those of their own from the environment: endpoints, headers,
// certificates, compression, timeouts.
func newTelemetry(cfg *warmpoolv1.Config, version string, log *slog.Logger) (*telemetry, error) {
	t := &telemetry{}
	if disabled, _ := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); disabled {
		return t, nil
	}
	ctx := context.Background()
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "warmpool"), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	err = errors.Join(t.startMetrics(ctx, cfg, about), t.startTracing(ctx, cfg, about))
	if err != nil {
		return nil, errors.Join(err, t.stop(ctx))
	}
	if exported("METRICS") || t.tracing != nil {
		// The SDK has one place for the errors of a whole process; without this they go past the log.
		otel.SetErrorHandler(&undelivered{log: log})
	}
	if t.metrics != nil || t.tracing != nil {
		log.Info("telemetry", "prometheus", t.scrape != nil, "otlp_metrics", exported("METRICS"), "otlp_traces", t.tracing != nil)
	}
	return t, nil
}

// undelivered logs what could not be exported, at most a line each
// dialLogPause: a collector that is away fails every few seconds.
type undelivered struct {
	log   *slog.Logger
	mu    sync.Mutex
	quiet time.Time // until then
}

// Handle implements otel.ErrorHandler.
func (u *undelivered) Handle(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := time.Now(); now.After(u.quiet) {
		u.quiet = now.Add(dialLogPause)
		u.log.Warn("metrics or traces were not delivered", "error", err)
	}
}

// exported reports whether OTLP takes a signal, METRICS or TRACES: when
// OTEL_…_EXPORTER says so, or says nothing and there is an endpoint.
func exported(signal string) bool {
	switch os.Getenv("OTEL_" + signal + "_EXPORTER") {
	case "otlp":
		return true
	case "":
		return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
	}
	return false
}

// checkExporter refuses what is asked for and would not happen.
func checkExporter(signal string, known ...string) error {
	name := "OTEL_" + signal + "_EXPORTER"
	value := os.Getenv(name)
	if slices.Contains(append(known, "", "otlp", "none"), value) {
		return nil
	}
	return fmt.Errorf("%s is %q, must be one of %s", name, value, strings.Join(append([]string{"otlp", "none"}, known...), ", "))
}

// overGRPC reports which of OTLP's protocols a signal is sent by.
func overGRPC(signal string) (bool, error) {
	name := "OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL"
	switch p := cmp.Or(os.Getenv(name), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf"); p {
	case "grpc":
		return true, nil
	case "http/protobuf":
		return false, nil
	default:
		return false, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q, must be grpc or http/protobuf", p)
	}
}

func (t *telemetry) startMetrics(ctx context.Context, cfg *warmpoolv1.Config, about *resource.Resource) error {
	if err := checkExporter("METRICS", "prometheus"); err != nil {
		return err
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(about)}
	var tellers []*teller
	tell := func(temporality metricdata.Temporality) *teller {
		t := &teller{temporality: temporality}
		tellers = append(tellers, t)
		return t
	}
	bySDK := onlySDK()
	admin := cfg.GetAdmin() != "" && cfg.GetAdmin() != off
	if cfg.GetTelemetry().GetPrometheus() != off && admin {
		registry := promclient.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		reader, err := prometheus.New(prometheus.WithRegisterer(registry), prometheus.WithoutScopeInfo(), prometheus.WithProducer(tell(metricdata.CumulativeTemporality)))
		if err != nil {
			return fmt.Errorf("prometheus: %w", err)
		}
		options = append(options, sdkmetric.WithReader(reader))
		t.scrape = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second, EnableOpenMetrics: true})
	}
	if exported("METRICS") {
		byGRPC, err := overGRPC("METRICS")
		if err != nil {
			return err
		}
		var exporter sdkmetric.Exporter
		if byGRPC {
			exporter, err = otlpmetricgrpc.New(ctx)
		} else {
			exporter, err = otlpmetrichttp.New(ctx)
		}
		if err != nil {
			return fmt.Errorf("OTLP metrics: %w", err)
		}
		bySDK = bySDK || !explicitBuckets(exporter.Aggregation(sdkmetric.InstrumentKindHistogram))
		told := tell(exporter.Temporality(sdkmetric.InstrumentKindHistogram))
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(told))))
	}
	if len(options) == 1 {
		return nil
	}
	provider := sdkmetric.NewMeterProvider(options...)
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	if bySDK {
		tellers = nil
	}
	var err error
	t.metrics, err = newMetrics(provider.Meter(scope), tellers...)
	return err
}

// explicitBuckets reports that a reader wants histograms as durations are.
func explicitBuckets(a sdkmetric.Aggregation) bool {
	switch a.(type) {
	case nil, sdkmetric.AggregationDefault, sdkmetric.AggregationExplicitBucketHistogram:
		return true
	}
	return false
}

// onlySDK reports that the environment asks for something that durations have not:
// exemplars of requests that are not traced, and experiments of the SDK with histograms.
func onlySDK() bool {
	return strings.EqualFold(strings.TrimSpace(os.Getenv("OTEL_METRICS_EXEMPLAR_FILTER")), "always_on") ||
		os.Getenv("OTEL_GO_X_CARDINALITY_LIMIT") != "" || os.Getenv("OTEL_GO_X_PER_SERIES_START_TIMESTAMPS") != ""
}

func (t *telemetry) startTracing(ctx context.Context, cfg *warmpoolv1.Config, about *resource.Resource) error {
	if err := checkExporter("TRACES"); err != nil || !exported("TRACES") {
		return err
	}
	byGRPC, err := overGRPC("TRACES")
	if err != nil {
		return err
	}
	sampling, err := newSampling(cfg.GetTelemetry().GetTraceRatio())
	if err != nil {
		return err
	}
	var exporter sdktrace.SpanExporter
	if byGRPC {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return fmt.Errorf("OTLP traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // what comes here was chosen before: sampling
	)
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	t.tracing = &tracing{tracer: provider.Tracer(scope), sampling: sampling}
	return nil
}

// observer is what the pool tells metrics.
func (t *telemetry) observer() pool.Observer {
	if t.metrics == nil {
		return pool.Observer{}
	}
	return t.metrics.observer()
}

// observe has the sidecar's figures collected with the metrics.
func (t *telemetry) observe(p *pool.Pool, sessions func() int, files func() filesRead, dynamic func() (pool.Stats, bool)) error {
	if t.metrics == nil {
		return nil
	}
	return t.metrics.observeFigures(p, sessions, files, dynamic)
}

// forget drops what is kept of an upstream that is gone.
func (t *telemetry) forget(upstream string) {
	if t.metrics != nil {
		t.metrics.forget(upstream)
	}
}

// stop sends what is left, for as long as ctx allows.
func (t *telemetry) stop(ctx context.Context) error {
	var errs []error
	for _, shutdown := range t.shutdowns {
		errs = append(errs, shutdown(ctx))
	}
	return errors.Join(errs...)
}
