package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// stalling serves by doing nothing until the client is gone, and tells of both.
func stalling(head bool) (serve http.HandlerFunc, arrived, gone chan struct{}) {
	arrived, gone = make(chan struct{}, 1), make(chan struct{}, 1)
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // a server notices the end of a connection only behind the body
		if head {
			w.Header().Set("Content-Length", "1000000")
			io.WriteString(w, "first")
			w.(http.Flusher).Flush()
		}
		arrived <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}, arrived, gone
}

func TestRequestsEndWithTheirContextAsTheyDoByNetHTTP(t *testing.T) {
	keepAll(t, []promise{
		{"a context that has ended before sends nothing", func(t *testing.T, open opener) {
			serve, all := recording(1)
			to := open(serve)
			ctx, cancel := cancelled(t)
			cancel()
			b := newWatched("text")
			if err := to.fails(to.request("POST", "/", b).WithContext(ctx)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			receive(t, b.closed, "the body's Close")
			if len(all) > 0 {
				t.Error("the server was asked")
			}
		}},
		{"cancelling ends the wait for a response, and tells the server", func(t *testing.T, open opener) {
			serve, arrived, gone := stalling(false)
			to := open(serve)
			for _, b := range []io.Reader{nil, strings.NewReader("text"), newWatched("text")} {
				ctx, cancel := cancelled(t)
				go func() {
					<-arrived
					cancel()
				}()
				if err := to.fails(to.request("POST", "/", b).WithContext(ctx)); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				receive(t, gone, "the end of the request at the server")
			}
		}},
		{"the cause of a cancellation is told", func(t *testing.T, open opener) {
			serve, arrived, gone := stalling(false)
			to := open(serve)
			why := errors.New("no longer wanted")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-arrived
				cancel(why)
			}()
			if err := to.fails(to.request("GET", "/", nil).WithContext(ctx)); !errors.Is(err, why) {
				t.Errorf("got %v", err)
			}
			<-gone
		}},
		{"a deadline is a timeout", func(t *testing.T, open opener) {
			serve, _, gone := stalling(false)
			to := open(serve)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			err := to.fails(to.request("GET", "/", nil).WithContext(ctx))
			if ctx.Err() == nil {
				t.Error("it came before the context's end")
			}
			var timeout interface{ Timeout() bool }
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("got %v", err)
			}
			receive(t, gone, "the end of the request at the server")
		}},
		{"a body ends with the context", func(t *testing.T, open opener) {
			serve, _, gone := stalling(true)
			to := open(serve)
			ctx, cancel := cancelled(t)
			req := to.request("GET", "/", nil).WithContext(ctx)
			req.Header.Set("Accept", "text/event-stream")
			r := to.do(req)
			if _, err := io.ReadFull(r.Body, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			cancel()
			if _, err := io.ReadAll(r.Body); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			receive(t, gone, "the end of the request at the server")
		}},
		{"a body that is closed early ends the request at the server", func(t *testing.T, open opener) {
			serve, _, gone := stalling(true)
			to := open(serve)
			req := to.request("GET", "/", nil)
			req.Header.Set("Accept", "text/event-stream")
			to.do(req).Body.Close()
			receive(t, gone, "the end of the request at the server")
		}},
		{"closing a body ends a Read of it", func(t *testing.T, open opener) {
			serve, _, gone := stalling(true)
			to := open(serve)
			req := to.request("GET", "/", nil)
			req.Header.Set("Accept", "text/event-stream")
			r := to.do(req)
			read := make(chan error, 1)
			first := make(chan struct{})
			go func() {
				io.ReadFull(r.Body, make([]byte, 5))
				close(first)
				_, err := io.ReadAll(r.Body)
				read <- err
			}()
			<-first
			r.Body.Close()
			if err := receive(t, read, "the end of Read"); err == nil {
				t.Error("the body ended as if it were whole")
			}
			<-gone
		}},
		{"cancelling ends the sending of a body", func(t *testing.T, open opener) {
			arrived := make(chan struct{})
			to := open(func(_ http.ResponseWriter, r *http.Request) {
				io.ReadFull(r.Body, make([]byte, 1))
				close(arrived)
				io.Copy(io.Discard, r.Body)
			})
			ctx, cancel := cancelled(t)
			in, out := io.Pipe()
			go func() {
				<-arrived
				cancel()
			}()
			go func() {
				for {
					if _, err := out.Write([]byte("x")); err != nil {
						return
					}
				}
			}()
			b := watch(in)
			if err := to.fails(to.request("POST", "/", b).WithContext(ctx)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			receive(t, b.closed, "the body's Close")
		}},
		{"http.Client's Timeout is a timeout", func(t *testing.T, open opener) {
			serve, _, gone := stalling(false)
			to := open(serve)
			web := &http.Client{Transport: to.transport, Timeout: 50 * time.Millisecond}
			_, err := web.Get(to.url)
			if err == nil || !os.IsTimeout(err) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			receive(t, gone, "the end of the request at the server")
		}},
		{"http.Client's Timeout holds for the body", func(t *testing.T, open opener) {
			serve, _, gone := stalling(true)
			to := open(serve)
			web := &http.Client{Transport: to.transport, Timeout: 200 * time.Millisecond}
			req := to.request("GET", "/", nil)
			req.Header.Set("Accept", "text/event-stream")
			r, err := web.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			if _, err := io.ReadAll(r.Body); err == nil || !os.IsTimeout(err) {
				t.Errorf("got %v", err)
			}
			receive(t, gone, "the end of the request at the server")
		}},
	})
}

func TestUpstreamsThatFailAreToldAsTheyAreByNetHTTP(t *testing.T) {
	keepAll(t, []promise{
		{"nobody listens", func(t *testing.T, open opener) {
			to := open(write(""))
			gone := httptest.NewServer(nil)
			gone.Close()
			to.url = gone.URL
			b := newWatched("text")
			to.fails(to.request("POST", "/", b))
			receive(t, b.closed, "the body's Close")
		}},
		{"the connection is closed without a response", func(t *testing.T, open opener) {
			to := open(raw(""))
			to.fails(to.request("POST", "/", strings.NewReader("text")))
			to.fails(to.request("GET", "/", nil))
		}},
		{"what comes is no HTTP", func(t *testing.T, open opener) {
			to := open(raw("220 mail.example ESMTP\r\n"))
			to.fails(to.request("GET", "/", nil))
		}},
		{"the head breaks off", func(t *testing.T, open opener) {
			to := open(raw("HTTP/1.1 200 OK\r\nContent-Le"))
			to.fails(to.request("GET", "/", nil))
		}},
		{"a body of known length breaks off", func(t *testing.T, open opener) {
			breaksOff(t, open(raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")))
		}},
		{"a chunked body breaks off", func(t *testing.T, open opener) {
			breaksOff(t, open(raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n")))
		}},
		{"a connection that was closed while idle harms no request that may be repeated", func(t *testing.T, open opener) {
			to := open(raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext")) // and closes, without a word
			for range 20 {
				if got := to.get("/"); got != "text" {
					t.Fatalf("got %q", got)
				}
			}
		}},
	})
}

// breaksOff checks that a response that is cut is not taken for a whole one, be it
// told instead of the response or inside its body.
func breaksOff(t *testing.T, to *there) {
	t.Helper()
	r, err := to.transport.RoundTrip(to.request("GET", "/", nil))
	if err == nil {
		defer r.Body.Close()
		_, err = io.ReadAll(r.Body)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}
