package pool_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// segments is how many segments with data the connection under c has received.
func segments(t *testing.T, c net.Conn) (n int) {
	t.Helper()
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Error(err)
		return 0
	}
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Error(err)
			return
		}
		n = int(info.Data_segs_in)
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// On loopback a segment holds 64 KB, and so a request of 20 KB with its head.
func TestAHeadAndALongBodyLeaveInOneRun(t *testing.T) {
	for _, secured := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %t", secured), func(t *testing.T) {
			type key struct{}
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, segments(t, r.Context().Value(key{}).(net.Conn)))
			}))
			server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, key{}, c) }
			if secured {
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			u := open(t, server.URL, func(p *pool.Policy) {
				p.Max = 1
				if secured {
					p.TLS.RootCAs = x509.NewCertPool()
					p.TLS.RootCAs.AddCert(server.Certificate())
				}
			})
			received := func(req *pool.Request) (n int) {
				t.Helper()
				res, err := u.Do(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Sscan(string(res.Body), &n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			before := received(&pool.Request{Path: "/"})
			one := func(how string, after int) {
				t.Helper()
				if after-before != 1 {
					t.Errorf("the request, its body %s, came in %d segments, want 1", how, after-before)
				}
				before = after
			}
			long := bytes.Repeat([]byte("x"), 20_000)
			for range 3 {
				one("whole", received(&pool.Request{Method: "POST", Path: "/", Body: long}))
			}
			for range 3 {
				body := &pool.RequestBody{AtHand: true}
				fields := []h1.Field{{Name: "Content-Length", Value: strconv.Itoa(len(long))}}
				_, p, answer := begin(t, u, &pool.Request{Method: "POST", Path: "/", Stream: body, Fields: fields})
				if _, err := body.Write(long); err != nil {
					t.Fatal(err)
				}
				var after int
				if _, err := fmt.Fscan(answer, &after); err != nil {
					t.Fatal(err)
				}
				<-p.done
				one("at hand", after)
			}
		})
	}
}
