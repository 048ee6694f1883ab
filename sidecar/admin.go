package sidecar

import (
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
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
// or 503 with the reason in words. Neither depends on load or on an upstream: a
// sidecar's readiness counts into its pod's.
func newAdminServer(h *health, probes *grpc.Server, scrape http.Handler, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := h.notReady(); why != "" {
			answer(w, http.StatusServiceUnavailable, "not ready: "+why)
			return
		}
		answer(w, http.StatusOK, "ready")
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
