package client_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
)

// write serves a text, with fields.
func write(text string, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Add(fields[i], fields[i+1])
		}
		io.WriteString(w, text)
	}
}

// raw serves bytes as they are, and closes the connection.
func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { hijack(w, text) }
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

func TestResponsesComeAsTheyDoByNetHTTP(t *testing.T) {
	keepAll(t, []promise{
		{"any status is a response", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, r *http.Request) {
				var status int
				fmt.Sscan(r.URL.Path[1:], &status)
				w.Header().Set("Location", "/elsewhere") // which RoundTrip does not follow
				w.WriteHeader(status)
			})
			for _, status := range []int{200, 201, 299, 301, 307, 401, 404, 417, 500, 503, 599, 999} {
				r := to.do(to.request("GET", fmt.Sprint("/", status), nil))
				if r.StatusCode != status || !strings.HasPrefix(r.Status, fmt.Sprint(status)) {
					t.Errorf("got %d, %q, want %d", r.StatusCode, r.Status, status)
				}
			}
		}},
		{"a response tells its version, status and request", func(t *testing.T, open opener) {
			to := open(write("text"))
			req := to.request("GET", "/", nil)
			r := to.do(req)
			if r.Status != "200 OK" || r.Proto != "HTTP/1.1" || !r.ProtoAtLeast(1, 1) || r.Request != req || r.Close {
				t.Errorf("got %+v", r)
			}
		}},
		{"fields have their canonical names, and their values in order", func(t *testing.T, open opener) {
			r := open(raw("HTTP/1.1 200 OK\r\nx-MANY: 1\r\nX-Other: o\r\nx-many:\r\nX-Many:  2,3 \r\nContent-Length: 0\r\n\r\n"))
			response := r.do(r.request("GET", "/", nil))
			wantHeader(t, response.Header, "X-Many", "1", "", "2,3")
			wantHeader(t, response.Header, "X-Other", "o")
		}},
		{"values may be other than UTF-8", func(t *testing.T, open opener) {
			to := open(raw("HTTP/1.1 200 OK\r\nX-Latin: caf\xe9\r\nContent-Length: 0\r\n\r\n"))
			wantHeader(t, to.do(to.request("GET", "/", nil)).Header, "X-Latin", "caf\xe9")
		}},
		{"cookies are left to the client above", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, len(r.Cookies()))
			})
			to2 := open(write("", "Set-Cookie", "a=1", "Set-Cookie", "b=2"))
			wantHeader(t, to2.do(to2.request("GET", "/", nil)).Header, "Set-Cookie", "a=1", "b=2")
			if got := to.get("/"); got != "0" {
				t.Errorf("%s cookies were sent", got)
			}
		}},
		{"a length that is known is told", func(t *testing.T, open opener) {
			to := open(write("12345"))
			r := to.do(to.request("GET", "/", nil))
			if got := body(t, r); r.ContentLength != 5 || got != "12345" {
				t.Errorf("length %d, body %q", r.ContentLength, got)
			}
			wantHeader(t, r.Header, "Content-Length", "5")
		}},
		{"a chunked body has no length", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "123")
				w.(http.Flusher).Flush()
				io.WriteString(w, "45")
			})
			r := to.do(to.request("GET", "/", nil))
			if got := body(t, r); r.ContentLength != -1 || got != "12345" {
				t.Errorf("length %d, body %q", r.ContentLength, got)
			}
		}},
		{"a body may end with the connection", func(t *testing.T, open opener) {
			to := open(raw("HTTP/1.0 200 OK\r\n\r\nto the end"))
			r := to.do(to.request("GET", "/", nil))
			if got := body(t, r); r.ContentLength != -1 || got != "to the end" {
				t.Errorf("length %d, body %q", r.ContentLength, got)
			}
		}},
		{"the answer to HEAD tells a length and has no body", func(t *testing.T, open opener) {
			to := open(write("12345"))
			r := to.do(to.request("HEAD", "/", nil))
			if got := body(t, r); r.ContentLength != 5 || got != "" {
				t.Errorf("length %d, body %q", r.ContentLength, got)
			}
		}},
		{"204 and 304 have no body", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(map[string]int{"/204": 204, "/304": 304}[r.URL.Path])
			})
			for _, path := range []string{"/204", "/304"} {
				r := to.do(to.request("GET", path, nil))
				if got := body(t, r); r.ContentLength > 0 || got != "" {
					t.Errorf("%s: length %d, body %q", path, r.ContentLength, got)
				}
			}
		}},
		{"an empty body is there, and ends", func(t *testing.T, open opener) {
			to := open(write(""))
			r := to.do(to.request("GET", "/", nil))
			if n, err := r.Body.Read(make([]byte, 9)); n != 0 || err != io.EOF || r.ContentLength != 0 {
				t.Errorf("read %d, %v; length %d", n, err, r.ContentLength)
			}
		}},
		{"a large body arrives whole", func(t *testing.T, open opener) {
			large := strings.Repeat("0123456789abcdef", 5<<16) // more than a Session carries
			to := open(write(large))
			for range 2 {
				if got := to.get("/large?query"); got != large {
					t.Errorf("got %d bytes", len(got))
				}
			}
		}},
		{"trailers are announced first, and there at the end", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "X-Sum, X-None")
				io.WriteString(w, "text")
				w.Header().Set("X-Sum", "7")
				w.Header().Set(http.TrailerPrefix+"X-Unannounced", "u")
			})
			r := to.do(to.request("GET", "/", nil))
			if _, ok := r.Trailer["X-Sum"]; !ok || len(r.Trailer) != 2 || r.Trailer.Get("X-Sum") != "" {
				t.Errorf("before the body: %v", r.Trailer)
			}
			wantHeader(t, r.Header, "Trailer")
			if got := body(t, r); got != "text" {
				t.Errorf("got %q", got)
			}
			wantHeader(t, r.Trailer, "X-Sum", "7")
			wantHeader(t, r.Trailer, "X-None")
			wantHeader(t, r.Trailer, "X-Unannounced", "u")
		}},
		{"compression that was not asked for by the caller is undone", func(t *testing.T, open opener) {
			to := open(write(zipped("plain text"), "Content-Encoding", "gzip", "Content-Type", "text/plain"))
			r := to.do(to.request("GET", "/", nil))
			if got := body(t, r); got != "plain text" || !r.Uncompressed || r.ContentLength != -1 {
				t.Errorf("got %q, %t, length %d", got, r.Uncompressed, r.ContentLength)
			}
			wantHeader(t, r.Header, "Content-Encoding")
			wantHeader(t, r.Header, "Content-Length")
		}},
		{"compression that the caller asked for is the caller's", func(t *testing.T, open opener) {
			to := open(write(zipped("plain text"), "Content-Encoding", "gzip"))
			req := to.request("GET", "/", nil)
			req.Header.Set("Accept-Encoding", "gzip")
			r := to.do(req)
			if got := body(t, r); got != zipped("plain text") || r.Uncompressed {
				t.Errorf("got %d bytes, %t", len(got), r.Uncompressed)
			}
			wantHeader(t, r.Header, "Content-Encoding", "gzip")
		}},
		{"compression that is none fails in the body", func(t *testing.T, open opener) {
			to := open(write("this is no gzip", "Content-Encoding", "gzip"))
			r := to.do(to.request("GET", "/", nil))
			if b, err := io.ReadAll(r.Body); err == nil {
				t.Errorf("got %q", b)
			}
		}},
		{"a body that was closed gives nothing any more", func(t *testing.T, open opener) {
			to := open(write(strings.Repeat("long", 1<<18)))
			for _, first := range []int{0, 10} {
				r := to.do(to.request("GET", "/", nil))
				io.ReadFull(r.Body, make([]byte, first))
				if err := r.Body.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if n, err := r.Body.Read(make([]byte, 9)); n != 0 || err == nil || err == io.EOF {
					t.Errorf("read %d, %v", n, err)
				}
				if err := r.Body.Close(); err != nil {
					t.Errorf("Close again: %v", err)
				}
			}
		}},
		{"a body may be left unread, and the next request is answered", func(t *testing.T, open opener) {
			to := open(write(strings.Repeat("long", 1<<18)))
			for range 5 {
				r := to.do(to.request("GET", "/", nil))
				r.Body.Close()
			}
			if got := to.get("/"); len(got) != 4<<18 {
				t.Errorf("got %d bytes", len(got))
			}
		}},
		{"after its end a body ends again", func(t *testing.T, open opener) {
			to := open(write("text"))
			r := to.do(to.request("GET", "/", nil))
			io.ReadAll(r.Body)
			if n, err := r.Body.Read(make([]byte, 9)); n != 0 || err != io.EOF {
				t.Errorf("read %d, %v", n, err)
			}
		}},
		{"a response is there before its body is", func(t *testing.T, open opener) {
			more := make(chan struct{})
			to := open(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, "data: 1\n\n")
				w.(http.Flusher).Flush()
				<-more
				io.WriteString(w, "data: 2\n\n")
			})
			req := to.request("GET", "/", nil)
			req.Header.Set("Accept", "text/event-stream")
			r := to.do(req)
			first := make([]byte, 9)
			if _, err := io.ReadFull(r.Body, first); err != nil || string(first) != "data: 1\n\n" {
				t.Errorf("got %q, %v", first, err)
			}
			close(more)
			if got := body(t, r); got != "data: 2\n\n" {
				t.Errorf("then got %q", got)
			}
		}},
		{"both bodies flow at once", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, r *http.Request) {
				http.NewResponseController(w).EnableFullDuplex()
				w.(http.Flusher).Flush()
				b := make([]byte, 1)
				for {
					if _, err := io.ReadFull(r.Body, b); err != nil {
						return
					}
					w.Write(bytes.ToUpper(b))
					w.(http.Flusher).Flush()
				}
			})
			in, out := io.Pipe()
			r := to.do(to.request("POST", "/", in))
			for _, c := range "abcdef" {
				fmt.Fprint(out, string(c))
				got := make([]byte, 1)
				if _, err := io.ReadFull(r.Body, got); err != nil || string(got) != strings.ToUpper(string(c)) {
					t.Fatalf("%c came back as %q, %v", c, got, err)
				}
			}
			out.Close()
			if got := body(t, r); got != "" {
				t.Errorf("in the end got %q", got)
			}
		}},
		{"an early response does not wait for the request's body", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, _ *http.Request) {
				http.NewResponseController(w).EnableFullDuplex()
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				io.WriteString(w, "too much")
			})
			in, out := io.Pipe()
			sent := watch(in)
			r := to.do(to.request("POST", "/", sent))
			go func() {
				for {
					if _, err := io.WriteString(out, "more"); err != nil {
						return
					}
				}
			}()
			if got := body(t, r); r.StatusCode != http.StatusRequestEntityTooLarge || got != "too much" {
				t.Errorf("got %d, %q", r.StatusCode, got)
			}
			receive(t, sent.closed, "the request body's Close")
		}},
		{"interim responses are told, and the final one is returned", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "</a.css>")
				w.WriteHeader(http.StatusEarlyHints)
				w.Header().Set("Link", "</b.css>")
				w.WriteHeader(http.StatusEarlyHints)
				w.Header().Del("Link")
				io.WriteString(w, "final")
			})
			var hints []string
			req := to.request("GET", "/", nil)
			req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
					hints = append(hints, fmt.Sprint(code, header.Get("Link")))
					return nil
				},
			}))
			if got := body(t, to.do(req)); got != "final" || fmt.Sprint(hints) != "[103</a.css> 103</b.css>]" {
				t.Errorf("got %q after %v", got, hints)
			}
			if got := to.get("/"); got != "final" {
				t.Errorf("untraced, got %q", got)
			}
		}},
		{"a trace that refuses an interim response ends the request", func(t *testing.T, open opener) {
			why := errors.New("enough")
			to := open(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProcessing) })
			req := to.request("GET", "/", nil)
			err := to.fails(req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(int, textproto.MIMEHeader) error { return why },
			})))
			if !errors.Is(err, why) {
				t.Errorf("got %v", err)
			}
		}},
		{"a trace hears of the request, then of the response", func(t *testing.T, open opener) {
			to := open(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
			for _, b := range []io.Reader{nil, strings.NewReader("text"), newWatched("text")} {
				var order recorder
				req := to.request("PUT", "/", b)
				to.do(req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					WroteHeaders:         func() { order.add("headers") },
					WroteRequest:         func(i httptrace.WroteRequestInfo) { order.add(fmt.Sprint("request ", i.Err)) },
					GotFirstResponseByte: func() { order.add("response") },
				})))
				if got := order.String(); got != "headers, request <nil>, response" {
					t.Errorf("got %s", got)
				}
			}
		}},
		{"http.Client follows redirects, and sends bodies again", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/from" {
					http.Redirect(w, r, "/to", http.StatusTemporaryRedirect)
					return
				}
				b, _ := io.ReadAll(r.Body)
				fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, b)
			})
			web := &http.Client{Transport: to.transport}
			r, err := web.Post(to.url+"/from", "text/plain", strings.NewReader("text"))
			if err != nil {
				t.Fatal(err)
			}
			if got := body(t, r); got != "POST /to text" || r.Request.URL.Path != "/to" {
				t.Errorf("got %q from %s", got, r.Request.URL)
			}
		}},
		{"http.Client keeps cookies, and sends credentials of the URL", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "n", Value: "v"})
				user, password, _ := r.BasicAuth()
				fmt.Fprint(w, user, " ", password, " ", r.Header["Cookie"])
			})
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			web := &http.Client{Transport: to.transport, Jar: jar}
			for _, want := range []string{"u p []", "u p [n=v]"} {
				r, err := web.Get(strings.Replace(to.url, "http://", "http://u:p@", 1))
				if err != nil {
					t.Fatal(err)
				}
				if got := body(t, r); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		}},
		{"many goroutines use it at once", func(t *testing.T, open opener) {
			to := open(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				w.Write(b)
			})
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					text := strings.Repeat(fmt.Sprint(i), 4000*(i%20)+1)
					r, err := to.transport.RoundTrip(to.request("POST", "/", strings.NewReader(text)))
					if err != nil {
						t.Error(err)
						return
					}
					defer r.Body.Close()
					if b, err := io.ReadAll(r.Body); err != nil || string(b) != text {
						t.Errorf("got %d bytes, %v, want %d", len(b), err, len(text))
					}
				})
			}
			all.Wait()
		}},
	})
}

// recorder is what happened, in order.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) add(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.events, ", ")
}
