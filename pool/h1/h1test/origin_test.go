package h1test_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

func dialPlain(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func TestScriptReadsAsVerbs(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	client := dialPlain(t, origin.Addr())
	peer := origin.Accept()

	write(t, client, "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	if r := peer.ReadHead(); r.Method != "POST" || r.Target != "/a" || r.Complete {
		t.Errorf("head %+v", r)
	}
	write(t, client, "3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n")
	peer.ReadBody()
	if r := peer.ReadRequest(); r.Target != "/b" || len(r.Values("Host")) != 1 {
		t.Errorf("request %+v", r)
	}
	peer.ExpectNoData(10 * time.Millisecond)
	peer.Send("HTTP/1.1 204 No Content\r\n\r\n")
	peer.CloseFIN()
	if got, err := io.ReadAll(client); err != nil || string(got) != "HTTP/1.1 204 No Content\r\n\r\n" {
		t.Errorf("client read %q, %v", got, err)
	}
	client.Close()
	if end := peer.ExpectClosed(); end != h1test.Finished {
		t.Errorf("end %v", end)
	}
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func TestResetReachesTheClientAsReset(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	client := dialPlain(t, origin.Addr())
	origin.Accept().CloseRST()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("client read: %v", err)
	}
}

func TestTLSEndsAreToldApart(t *testing.T) {
	for _, test := range []struct {
		name  string
		close func(*tls.Conn, *net.TCPConn)
		want  h1test.End
	}{
		{"alert", func(c *tls.Conn, _ *net.TCPConn) { c.Close() }, h1test.Notified},
		{"no alert", func(_ *tls.Conn, raw *net.TCPConn) { raw.Close() }, h1test.Finished},
		{"reset", func(_ *tls.Conn, raw *net.TCPConn) { raw.SetLinger(0); raw.Close() }, h1test.Aborted},
	} {
		t.Run(test.name, func(t *testing.T) {
			origin := h1test.Start(t, h1test.TLS)
			raw := dialPlain(t, origin.Addr())
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(origin.CA())
			client := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
			write(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			peer := origin.Accept()
			peer.ReadRequest()
			test.close(client, raw)
			if end := peer.ExpectClosed(); end != test.want {
				t.Errorf("end is %v, not %v\n%v", end, test.want, origin.Transcript())
			}
		})
	}
}

// The client of a TLS origin sees an end without an alert as the end of the TCP
// stream, and one with an alert before that.
func TestTLSClosesAreToldApart(t *testing.T) {
	for _, notify := range []bool{true, false} {
		origin := h1test.Start(t, h1test.TLS)
		tap := &eofTap{Conn: dialPlain(t, origin.Addr())}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(origin.CA())
		client := tls.Client(tap, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
		write(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		peer := origin.Accept()
		peer.ReadRequest()
		if notify {
			peer.CloseNotify()
		} else {
			peer.CloseFIN()
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || tap.eof == notify {
			t.Errorf("notify %v: read: %v, end of TCP seen: %v", notify, err, tap.eof)
		}
	}
}

type eofTap struct {
	net.Conn
	eof bool
}

func (t *eofTap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.eof = t.eof || errors.Is(err, io.EOF)
	return n, err
}

func TestLargeBodyStaysWithTheClientUntilItIsRead(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	client := dialPlain(t, origin.Addr())
	write(t, client, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n")
	peer := origin.Accept()
	r := peer.ReadHead()
	written := make(chan error, 1)
	go func() {
		_, err := client.Write(bytes.Repeat([]byte("b"), 16<<20))
		written <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	select {
	case err := <-written:
		t.Errorf("16 MiB were written to an origin that does not read: %v", err)
	case <-ctx.Done():
	}
	peer.ReadBody()
	if err := <-written; err != nil || len(r.Body) != 16<<20 {
		t.Errorf("read %d bytes, write: %v", len(r.Body), err)
	}
}

func TestWhatIsNotARequestIsAnError(t *testing.T) {
	for _, text := range []string{
		"\r\nGET / HTTP/1.1\r\n\r\n",
		"GET  / HTTP/1.1\r\n\r\n",
		"GET / HTTP/2.0\r\n\r\n",
		"GET / HTTP/1.1\r\nA : b\r\n\r\n",
		"GET / HTTP/1.1\nA: b\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
		"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
	} {
		origin := h1test.Start(t, h1test.Plain)
		write(t, dialPlain(t, origin.Addr()), text)
		peer := origin.Accept()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if r, err := peer.Conn.ReadRequest(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("%q: read %+v, %v", text, r, err)
		}
		cancel()
	}
}
