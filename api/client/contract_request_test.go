package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// seen is a request as the server saw it.
type seen struct {
	*http.Request

	body string
	err  error // of the body
}

// recording serves by sending what it saw.
func recording(n int) (http.HandlerFunc, chan seen) {
	all := make(chan seen, n)
	return func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		all <- seen{r, string(b), err}
	}, all
}

// sees carries out a request and returns it as the server saw it.
func sees(t *testing.T, open opener, ask func(to *there) *http.Request) seen {
	t.Helper()
	serve, all := recording(1)
	to := open(serve)
	to.do(ask(to))
	s := receive(t, all, "the request at the server")
	if s.err != nil {
		t.Errorf("the server reading the body: %v", s.err)
	}
	return s
}

// wantLength asserts that s came with this body, its length declared, and no trailers.
func wantLength(t *testing.T, s seen, body string) {
	t.Helper()
	if s.body != body || s.ContentLength != int64(len(body)) || len(s.TransferEncoding) > 0 || len(s.Trailer) > 0 {
		t.Errorf("got %q, length %d, %q, trailers %v", s.body, s.ContentLength, s.TransferEncoding, s.Trailer)
	}
}

// plain is a GET of a path, with fields.
func plain(path string, fields http.Header) func(*there) *http.Request {
	return func(to *there) *http.Request {
		r := to.request("GET", path, nil)
		for name, values := range fields {
			r.Header[name] = values
		}
		return r
	}
}

func TestRequestsGoAsTheyDoByNetHTTP(t *testing.T) {
	keepAll(t, []promise{
		{"the method goes as it is", func(t *testing.T, open opener) {
			if s := sees(t, open, func(to *there) *http.Request { return to.request("fRoB", "/", nil) }); s.Method != "fRoB" {
				t.Errorf("got %s", s.Method)
			}
		}},
		{"an empty method is GET", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("", "/", nil)
				r.Method = ""
				return r
			})
			if s.Method != "GET" {
				t.Errorf("got %s", s.Method)
			}
		}},
		{"path and query keep their encoding", func(t *testing.T, open opener) {
			const target = "/a%2Fb/%C3%A9/c+d;e?q=%20&q=2&empty"
			if s := sees(t, open, plain(target, nil)); s.RequestURI != target {
				t.Errorf("got %s", s.RequestURI)
			}
		}},
		{"an empty path is a slash", func(t *testing.T, open opener) {
			if s := sees(t, open, plain("", nil)); s.RequestURI != "/" {
				t.Errorf("got %q", s.RequestURI)
			}
		}},
		{"a lone question mark stays", func(t *testing.T, open opener) {
			if s := sees(t, open, plain("/p?", nil)); s.RequestURI != "/p?" {
				t.Errorf("got %q", s.RequestURI)
			}
		}},
		{"a fragment does not go", func(t *testing.T, open opener) {
			if s := sees(t, open, plain("/p#part", nil)); s.RequestURI != "/p" {
				t.Errorf("got %q", s.RequestURI)
			}
		}},
		{"OPTIONS goes for the server as a whole", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("OPTIONS", "/", nil)
				r.URL.Path = "*"
				return r
			})
			if s.RequestURI != "*" {
				t.Errorf("got %q", s.RequestURI)
			}
		}},
		{"Host is the URL's", func(t *testing.T, open opener) {
			var host string
			s := sees(t, open, func(to *there) *http.Request {
				host = strings.TrimPrefix(to.url, "http://")
				return to.request("GET", "/", nil)
			})
			if s.Host != host {
				t.Errorf("got %q, want %q", s.Host, host)
			}
		}},
		{"the zone of an address is not sent", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("GET", "/", nil)
				r.Host = "[fe80::1%eth0]:81"
				return r
			})
			if s.Host != "[fe80::1]:81" {
				t.Errorf("got %q", s.Host)
			}
		}},
		{"Request.Host goes before the URL's", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("GET", "/", nil)
				r.Host = "other.example:81"
				r.Header.Set("Host", "ignored.example")
				return r
			})
			if s.Host != "other.example:81" {
				t.Errorf("got %q", s.Host)
			}
		}},
		{"fields keep their values and the values' order", func(t *testing.T, open opener) {
			s := sees(t, open, plain("/", http.Header{"X-Many": {"1", "", "3, 4"}, "x-lower": {"kept"}}))
			wantHeader(t, s.Header, "X-Many", "1", "", "3, 4")
			wantHeader(t, s.Header, "X-Lower", "kept")
		}},
		{"values lose the blanks around them and nothing else", func(t *testing.T, open opener) {
			s := sees(t, open, plain("/", http.Header{"X-Blank": {"\t a \t b  "}}))
			wantHeader(t, s.Header, "X-Blank", "a \t b")
		}},
		{"values may be other than UTF-8", func(t *testing.T, open opener) {
			s := sees(t, open, plain("/", http.Header{"X-Latin": {"caf\xe9"}, "X-Utf8": {"café"}}))
			wantHeader(t, s.Header, "X-Latin", "caf\xe9")
			wantHeader(t, s.Header, "X-Utf8", "café")
		}},
		{"User-Agent is Go's unless it is given", func(t *testing.T, open opener) {
			wantHeader(t, sees(t, open, plain("/", nil)).Header, "User-Agent", "Go-http-client/1.1")
			wantHeader(t, sees(t, open, plain("/", http.Header{"User-Agent": {"mine/1", "not sent"}})).Header, "User-Agent", "mine/1")
		}},
		{"an empty User-Agent is none", func(t *testing.T, open opener) {
			wantHeader(t, sees(t, open, plain("/", http.Header{"User-Agent": {""}})).Header, "User-Agent")
		}},
		{"compression is asked for", func(t *testing.T, open opener) {
			wantHeader(t, sees(t, open, plain("/", nil)).Header, "Accept-Encoding", "gzip")
		}},
		{"compression is not asked for where the caller does, or where it does harm", func(t *testing.T, open opener) {
			wantHeader(t, sees(t, open, plain("/", http.Header{"Accept-Encoding": {"br"}})).Header, "Accept-Encoding", "br")
			wantHeader(t, sees(t, open, plain("/", http.Header{"Range": {"bytes=0-1"}})).Header, "Accept-Encoding")
			s := sees(t, open, func(to *there) *http.Request { return to.request("HEAD", "/", nil) })
			wantHeader(t, s.Header, "Accept-Encoding")
		}},
		{"a body of known length says its length", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request { return to.request("PUT", "/", strings.NewReader("12345")) })
			if s.body != "12345" || s.ContentLength != 5 || len(s.TransferEncoding) > 0 {
				t.Errorf("got %q, length %d, %q", s.body, s.ContentLength, s.TransferEncoding)
			}
		}},
		{"a body that cannot be read again goes as well", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("PUT", "/", io.NopCloser(strings.NewReader("12345")))
				r.ContentLength = 5
				return r
			})
			if s.body != "12345" || s.ContentLength != 5 {
				t.Errorf("got %q, length %d", s.body, s.ContentLength)
			}
		}},
		{"a body of unknown length is sent chunked", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request { return to.request("POST", "/", newWatched("12345")) })
			if s.body != "12345" || s.ContentLength != -1 || len(s.TransferEncoding) != 1 {
				t.Errorf("got %q, length %d, %q", s.body, s.ContentLength, s.TransferEncoding)
			}
		}},
		{"no body says nothing of a length, but for methods that have one", func(t *testing.T, open opener) {
			wantHeader(t, sees(t, open, plain("/", nil)).Header, "Content-Length")
			for _, none := range []io.Reader{nil, http.NoBody, strings.NewReader("")} {
				s := sees(t, open, func(to *there) *http.Request { return to.request("POST", "/", none) })
				wantHeader(t, s.Header, "Content-Length", "0")
			}
		}},
		{"a body of unknown length that is empty is none for GET", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request { return to.request("GET", "/", newWatched("")) })
			if s.body != "" || len(s.TransferEncoding) > 0 {
				t.Errorf("got %q, %q", s.body, s.TransferEncoding)
			}
		}},
		{"GET may have a body", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request { return to.request("GET", "/", strings.NewReader("why not")) })
			if s.body != "why not" {
				t.Errorf("got %q", s.body)
			}
		}},
		{"framing comes from the request, not from its fields", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("PUT", "/", strings.NewReader("12345"))
				r.Header.Set("Content-Length", "2")
				r.Header.Set("Transfer-Encoding", "chunked")
				r.Header.Set("Trailer", "X-None")
				return r
			})
			wantLength(t, s, "12345")
		}},
		{"trailers of a body of known length are left out", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("PUT", "/", strings.NewReader("12345"))
				r.Trailer = http.Header{"X-Sum": {"7"}}
				return r
			})
			wantLength(t, s, "12345")
			wantHeader(t, s.Header, "Trailer")
		}},
		{"trailers without a body are left out", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("POST", "/", nil)
				r.Trailer = http.Header{"X-Sum": {"7"}}
				return r
			})
			wantLength(t, s, "")
			wantHeader(t, s.Header, "Trailer")
		}},
		{"a large body arrives whole", func(t *testing.T, open opener) {
			large := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)
			s := sees(t, open, func(to *there) *http.Request { return to.request("POST", "/", bytes.NewReader(large)) })
			if s.body != string(large) || s.ContentLength != int64(len(large)) {
				t.Errorf("got %d bytes, length %d", len(s.body), s.ContentLength)
			}
		}},
		{"trailers follow the body", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				trailer := http.Header{"X-Sum": nil, "X-Early": {"e1", "e2"}}
				r := to.request("POST", "/", &atEnd{Reader: strings.NewReader("text"), then: func() { trailer.Set("X-Sum", "late") }})
				r.Trailer = trailer
				return r
			})
			wantHeader(t, s.Trailer, "X-Sum", "late")
			wantHeader(t, s.Trailer, "X-Early", "e1", "e2")
			if s.body != "text" {
				t.Errorf("got %q", s.body)
			}
		}},
		{"the body is closed, once it was sent", func(t *testing.T, open opener) {
			serve, _ := recording(2)
			to := open(serve)
			for _, length := range []int64{-1, 4} {
				b := newWatched("text")
				r := to.request("POST", "/", b)
				r.ContentLength = length
				to.do(r)
				receive(t, b.closed, "the body's Close")
			}
		}},
		{"the request stays as it was", func(t *testing.T, open opener) {
			sees(t, open, func(to *there) *http.Request {
				r := to.request("POST", "/a?b", strings.NewReader("text"))
				r.Header.Set("Accept-Encoding", "")
				before := r.Clone(r.Context())
				t.Cleanup(func() {
					if r.Method != before.Method || r.URL.String() != before.URL.String() || r.Host != before.Host ||
						len(r.Header) != 1 || r.ContentLength != 4 || r.Close {
						t.Errorf("the request is %+v now", r)
					}
				})
				return r
			})
		}},
		{"Request.Close ends the connection", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("GET", "/", nil)
				r.Close = true
				return r
			})
			if !s.Close {
				t.Error("the server was not told")
			}
		}},
		{"Expect: 100-continue gets its body", func(t *testing.T, open opener) {
			s := sees(t, open, func(to *there) *http.Request {
				r := to.request("POST", "/", strings.NewReader("text"))
				r.Header.Set("Expect", "100-continue")
				return r
			})
			wantHeader(t, s.Header, "Expect", "100-continue")
			if s.body != "text" {
				t.Errorf("got %q", s.body)
			}
		}},
		{"a body that fails is told by its error", func(t *testing.T, open opener) {
			why := errors.New("the disk is gone")
			serve, all := recording(1)
			to := open(serve)
			b := watch(&failing{"text", why})
			if err := to.fails(to.request("POST", "/", b)); !errors.Is(err, why) {
				t.Errorf("got %v", err)
			}
			receive(t, b.closed, "the body's Close")
			select {
			case s := <-all:
				if s.err == nil {
					t.Errorf("the server took %q for the whole body", s.body)
				}
			default:
			}
		}},
		{"a body shorter than its length is an error", func(t *testing.T, open opener) { wrongLength(t, open, 9) }},
		{"a body longer than its length is an error", func(t *testing.T, open opener) { wrongLength(t, open, 3) }},
	})
}

// wrongLength sends a body of 4 bytes that claims to have another length. The
// server answers nobody that is still there: an answer to a body that has come in
// full would race with what is said of its length.
func wrongLength(t *testing.T, open opener, length int64) {
	for _, again := range []bool{false, true} {
		record, all := recording(1)
		to := open(func(w http.ResponseWriter, r *http.Request) {
			record(w, r)
			<-r.Context().Done()
		})
		r := to.request("POST", "/", newWatched("text"))
		if again {
			r = to.request("POST", "/", strings.NewReader("text"))
		}
		r.ContentLength = length
		if err := to.fails(r); !strings.Contains(err.Error(), "ContentLength") {
			t.Errorf("got %v", err)
		}
		select {
		case s := <-all:
			if s.err == nil && length > 4 {
				t.Errorf("the server took %q for the whole body", s.body)
			}
		default:
		}
	}
}

// atEnd is a body that does something before it ends.
type atEnd struct {
	io.Reader

	then func()
}

func (a *atEnd) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if err == io.EOF && a.then != nil {
		a.then()
		a.then = nil
	}
	return n, err
}

func TestRequestsThatCannotBeSentAreRefused(t *testing.T) {
	keepAll(t, []promise{
		{"no URL", refuses(func(r *http.Request) { r.URL = nil })},
		{"no header map", refuses(func(r *http.Request) { r.Header = nil })},
		{"a scheme that is not HTTP's", refuses(func(r *http.Request) { r.URL.Scheme = "ftp" })},
		{"no host", refuses(func(r *http.Request) { r.URL = &url.URL{Scheme: "http", Path: "/"}; r.Host = "" })},
		{"a method that is no token", refuses(func(r *http.Request) { r.Method = "GET /" })},
		{"a field's name that is no token", refuses(func(r *http.Request) { r.Header["X Y"] = []string{"v"} })},
		{"a field's value with a line break", refuses(func(r *http.Request) { r.Header.Set("X", "a\r\nInjected: b") })},
		{"a field's value with a NUL", refuses(func(r *http.Request) { r.Header.Set("X", "a\x00b") })},
		{"a trailer's value with a line break", refuses(func(r *http.Request) { r.Trailer = http.Header{"X": {"a\nb"}} })},
	})
}
