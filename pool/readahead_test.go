package pool_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// What follows a response in the same TLS record is not in the socket any more
// when the response is complete: a look at the socket does not show it.
func TestBytesBehindAResponseInItsTLSRecordNeverReachTheNextRequest(t *testing.T) {
	server, u := onTLS(t)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- asks(t, u, "/first") }()
	c := server.accept(t)
	c.request(t)
	go func() { second <- asks(t, u, "/second") }()
	for u.Stats().Waiting == 0 {
		runtime.Gosched()
	}
	body := "/first" + strings.Repeat(" ", 8<<10)
	c.send(t, answerOf(body)+answerOf("/behind"))
	if err := <-first; err != nil {
		t.Error(err)
	}
	c = server.accept(t)
	c.request(t)
	c.send(t, answerOf("/second"))
	if err := <-second; err != nil {
		t.Error(err)
	}
	if n := u.Stats().Closed[pool.CloseExtraBytes]; n != 1 {
		t.Errorf("%d connections were closed for extra bytes, want 1", n)
	}
}

// A close_notify that comes with a response is known when the response is
// complete, whether or not the FIN behind it has arrived.
func TestACloseNotifyInTheSegmentOfAResponseEndsReuse(t *testing.T) {
	server, u := onTLS(t)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- asks(t, u, "/first") }()
	c := server.accept(t)
	c.request(t)
	go func() { second <- asks(t, u, "/second") }()
	for u.Stats().Waiting == 0 {
		runtime.Gosched()
	}
	c.hold.begin()
	c.send(t, answerOf("/first"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.hold.release(t)
	if err := <-first; err != nil {
		t.Error(err)
	}
	c = server.accept(t)
	c.request(t)
	c.send(t, answerOf("/second"))
	if err := <-second; err != nil {
		t.Error(err)
	}
	if s := u.Stats(); s.Retries != 0 || s.Closed[pool.CloseByPeer] != 1 {
		t.Errorf("%d retries, %d closes by the peer; want 0 and 1", s.Retries, s.Closed[pool.CloseByPeer])
	}
}

// onTLS is a pool of one connection to a TLS server.
func onTLS(t *testing.T) (*tlsServer, *pool.Upstream) {
	t.Helper()
	model := httptest.NewTLSServer(nil) // for its certificate
	model.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	policy := pool.DefaultPolicy("origin", "https://"+listener.Addr().String())
	policy.PeakMemory = 0 // connections are dialed for requests and the floor alone
	policy.TLS.RootCAs = x509.NewCertPool()
	policy.TLS.RootCAs.AddCert(model.Certificate())
	policy.Max = 1
	p := pool.New(pool.Options{})
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	u, err := p.Add(policy)
	if err != nil {
		t.Fatal(err)
	}
	return &tlsServer{listener, &tls.Config{Certificates: model.TLS.Certificates, DynamicRecordSizingDisabled: true}}, u
}

func asks(t *testing.T, u *pool.Upstream, path string) error {
	res, err := u.Do(t.Context(), &pool.Request{Method: "POST", Path: path})
	if err == nil && strings.TrimSpace(string(res.Body)) != path {
		err = fmt.Errorf("%s was answered %.20q", path, res.Body)
	}
	return err
}

func answerOf(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// tlsServer accepts TLS connections and leaves what is sent on them to the test.
type tlsServer struct {
	listener net.Listener
	config   *tls.Config
}

type tlsPeer struct {
	*tls.Conn
	hold *heldWrites
	in   *bufio.Reader
}

// heldWrites is a connection that can gather what is written and send it at once.
type heldWrites struct {
	net.Conn
	held []byte
	on   bool
}

func (h *heldWrites) Write(p []byte) (int, error) {
	if !h.on {
		return h.Conn.Write(p)
	}
	h.held = append(h.held, p...)
	return len(p), nil
}

func (h *heldWrites) begin() { h.on = true }

func (h *heldWrites) release(t *testing.T) {
	t.Helper()
	h.on = false
	_ = h.Conn.SetWriteDeadline(time.Time{}) // CloseWrite lets it pass
	if _, err := h.Conn.Write(h.held); err != nil {
		t.Fatal(err)
	}
}

func (s *tlsServer) accept(t *testing.T) *tlsPeer {
	t.Helper()
	nc, err := s.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	hold := &heldWrites{Conn: nc}
	c := tls.Server(hold, s.config)
	t.Cleanup(func() { nc.Close() })
	return &tlsPeer{Conn: c, hold: hold, in: bufio.NewReader(c)}
}

func (c *tlsPeer) request(t *testing.T) {
	t.Helper()
	if _, err := http.ReadRequest(c.in); err != nil {
		t.Fatal(err)
	}
}

func (c *tlsPeer) send(t *testing.T, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}
