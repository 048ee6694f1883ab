package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func TestAProgramKeepsItsURLsWhereItMayNameOrigins(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s at %s: %d", r.Method, r.URL, r.Host, len(body))
	}))
	defer site.Close()
	s := startWith(t, config.WithDefaults(&warmpoolv1.Config{
		Listen: []string{"unix://" + filepath.Join(shortDir(t), "s")}, Control: []string{"off"}, Admin: "off",
		DynamicOrigins: &warmpoolv1.DynamicOrigins{Allow: []string{site.URL}},
	}))
	pool, err := client.Dial(s.socket, client.Origins())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	web := &http.Client{Transport: pool.Transport()}
	host := strings.TrimPrefix(site.URL, "http://")
	for body, stream := range map[string]string{"small": "a Session", strings.Repeat("large", 40_000): "a Stream"} {
		response, err := web.Post(site.URL+"/a?b", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", stream, err)
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if want := fmt.Sprintf("POST /a?b at %s: %d", host, len(body)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", stream, got, err, want)
		}
	}
	for url, reason := range map[string]warmpoolv1.Reason{
		"https://" + host + "/": warmpoolv1.Reason_REASON_NOT_ALLOWED,
		"http://elsewhere.test": warmpoolv1.Reason_REASON_NOT_ALLOWED,
		"http://127.1/":         warmpoolv1.Reason_REASON_INVALID_REQUEST,
	} {
		response, err := web.Get(url)
		if err == nil {
			response.Body.Close()
		}
		if f, ok := errors.AsType[*client.Failure](err); !ok || f.Reason != reason || f.Delivery != warmpoolv1.Delivery_DELIVERY_NOT_SENT || f.Retryable() {
			t.Errorf("%s: %v, want %v, which another try does not mend", url, err, reason)
		}
	}
}
