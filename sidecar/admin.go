package sidecar

import (
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/warmpool-dev/warmpool/pool"
)

// newProbeServer makes the gRPC server behind the admin listener, which serves
// health alone: probes come from other machines' addresses, and what shows data
// or changes anything is not for them.
func newProbeServer(h *health) *grpc.Server {
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	h.register(s, slices.Concat(dataServices, controlServices)...)
	return s
}

// newAdminServer makes the HTTP server for probes, and carries gRPC (HTTP/2
// without TLS) on the same port for the kubelet's gRPC probe.
//
// /livez answers 200 while the process can answer at all. /readyz answers 200,
// or 503 with the reason in words. Neither depends on load, nor on an upstream
// but for the wait for the warm floors at the start, which is bounded: a sidecar's
// readiness counts into its pod's. In either case /readyz says what is missing of
// the warm floors now.
func newAdminServer(h *health, p *pool.Pool, probes *grpc.Server, scrape http.Handler, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		code, text := http.StatusOK, "ready"
		if why := h.notReady(); why != "" {
			code, text = http.StatusServiceUnavailable, "not ready: "+why
		}
		if short := shortOf(p); short != "" {
			text += "\nbelow the warm floor: " + short
		}
		answer(w, code, text)
	})
	if scrape != nil {
		mux.Handle("GET /metrics", scrape)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Protocols: protocols,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				probes.ServeHTTP(w, r)
				return
			}
			mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a probe that is gone needs no answer
}
