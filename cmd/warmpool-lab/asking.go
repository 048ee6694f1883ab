package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// request is one request for a shape.
type request struct {
	size  int
	up    bool
	id    string // of a POST that must not be carried out twice; empty: nobody looks
	close bool   // the connection's last
}

// okAnswer is what the origin answers to a POST.
const okAnswer = "ok"

func (r request) method() string {
	if r.up {
		return http.MethodPost
	}
	return http.MethodGet
}

func (r request) path() string {
	if r.up {
		return "/"
	}
	return "/bytes/" + strconv.Itoa(r.size)
}

// zeroes is what bodies are cut from.
var zeroes = make([]byte, maxAnswer)

// body is what is sent.
func (r request) body() []byte {
	if !r.up {
		return nil
	}
	return zeroes[:r.size]
}

// check reports what is wrong with an answer.
func (r request) check(status, length int) error {
	want := r.size
	if r.up {
		want = len(okAnswer)
	}
	if status != http.StatusOK || length != want {
		return fmt.Errorf("answer is status %d with %d bytes, must be 200 with %d", status, length, want)
	}
	return nil
}

// asker sends requests one way. Many goroutines use it at once. The receipt is
// nil where there is none.
type asker interface {
	ask(ctx context.Context, s Slot, r request) (*warmpoolv1.Receipt, error)
}

// slotHeader and schemeHeader tell a proxy which of its backends is meant.
const (
	slotHeader   = "X-Slot"
	schemeHeader = "X-Scheme"
)

func httpAsk(ctx context.Context, client *http.Client, base string, s Slot, r request) error {
	q, err := http.NewRequestWithContext(ctx, r.method(), base+r.path(), bytes.NewReader(r.body()))
	if err != nil {
		return err
	}
	if !r.up {
		q.Body = http.NoBody
	}
	q.Header.Set(slotHeader, s.Name())
	q.Header.Set(schemeHeader, s.Origin.scheme())
	if r.id != "" {
		q.Header.Set(idHeader, r.id)
	}
	a, err := client.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	n, err := io.Copy(io.Discard, a.Body)
	if err != nil {
		return err
	}
	return r.check(a.StatusCode, int(n))
}

// direct asks the origins without an intermediary: net/http's default transport,
// one for each slot, or one that keeps nothing.
type direct struct {
	plan   *Plan
	roots  *x509.CertPool
	keeps  bool
	mu     sync.Mutex
	client map[Slot]*http.Client
}

func (d *direct) ask(ctx context.Context, s Slot, r request) (*warmpoolv1.Receipt, error) {
	return nil, httpAsk(ctx, d.of(s), s.Origin.scheme()+"://"+s.Origin.address(d.plan), s, r)
}

func (d *direct) of(s Slot) *http.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.client[s]
	if c == nil {
		t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is what the standard library says
		t.Proxy = nil
		t.TLSClientConfig = &tls.Config{RootCAs: d.roots, MinVersion: tls.VersionTLS13}
		t.DisableKeepAlives = !d.keeps
		c = &http.Client{Transport: t}
		d.client[s] = c
	}
	return c
}

// viaProxy asks a proxy over its Unix socket, by a client that never lacks a
// connection to it.
type viaProxy struct{ client *http.Client }

func newViaProxy(socket string) *viaProxy {
	var dialer net.Dialer
	return &viaProxy{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 1000,
		IdleConnTimeout:     time.Hour,
		DisableCompression:  true,
	}}}
}

func (v *viaProxy) ask(ctx context.Context, s Slot, r request) (*warmpoolv1.Receipt, error) {
	return nil, httpAsk(ctx, v.client, "http://proxy", s, r)
}

func newDirect(c *caller, keeps bool) *direct {
	return &direct{plan: &c.Plan, roots: c.roots, keeps: keeps, client: make(map[Slot]*http.Client)}
}
