package pool_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

// piecewise is a sink that hands a response on as it comes.
type piecewise struct {
	interim  []int
	status   chan int // the final one
	length   int64
	body     *io.PipeWriter
	trailers []h1.Field
	failure  *pool.Error
	done     chan struct{}
}

func (p *piecewise) Interim(h *h1.Head) { p.interim = append(p.interim, h.Status) }

func (p *piecewise) Head(h *h1.Head, length int64) error {
	p.length = length
	p.status <- h.Status
	return nil
}

func (p *piecewise) Body(piece []byte) error {
	_, err := p.body.Write(piece)
	return err
}

func (p *piecewise) End(trailers []h1.Field, failure *pool.Error) {
	p.trailers, p.failure = trailers, failure
	if failure != nil {
		p.body.CloseWithError(failure)
	} else {
		p.body.Close()
	}
	close(p.done)
}

// begin starts a streamed exchange; what arrives of the response's body is read
// from the reader.
func begin(t *testing.T, u *pool.Upstream, req *pool.Request) (*pool.Exchange, *piecewise, *io.PipeReader) {
	t.Helper()
	r, w := io.Pipe()
	p := &piecewise{status: make(chan int, 1), body: w, done: make(chan struct{})}
	x := new(pool.Exchange)
	req.Unbounded = true
	if err := u.Start(x, req, p); err != nil {
		t.Fatal(err)
	}
	return x, p, r
}

func upstreamAt(t *testing.T, url string, change ...func(*pool.Policy)) *pool.Upstream {
	t.Helper()
	p := pool.New(pool.Options{})
	policy := pool.DefaultPolicy("origin", url)
	for _, f := range change {
		f(&policy)
	}
	u, err := p.Add(policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return u
}

func TestBodiesOfAnyLengthStreamBothWaysAtOnce(t *testing.T) {
	const size = 32 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(w, sum), r.Body)
		if err != nil || n != size {
			t.Errorf("the server read %d: %v", n, err)
		}
		w.Header().Set("X-Sum", fmt.Sprintf("%x %s", sum.Sum(nil), r.Trailer.Get("X-From")))
	}))
	defer server.Close()
	u := upstreamAt(t, server.URL)
	for _, length := range []string{"", fmt.Sprint(size)} {
		var body pool.RequestBody
		req := &pool.Request{Method: "POST", Path: "/", Stream: &body}
		want := " there"
		if length != "" {
			req.Fields = []h1.Field{{Name: "Content-Length", Value: length}}
			want = " "
		}
		_, p, r := begin(t, u, req)
		sent := sha256.New()
		go func() {
			piece := bytes.Repeat([]byte("0123456789abcdef"), 4096)
			for range size / len(piece) {
				sent.Write(piece)
				if _, err := body.Write(piece); err != nil {
					t.Errorf("write: %v", err)
				}
			}
			var trailers []h1.Field
			if length == "" {
				trailers = []h1.Field{{Name: "X-From", Value: "there"}}
			}
			if err := body.Close(trailers); err != nil {
				t.Errorf("close: %v", err)
			}
		}()
		got := sha256.New()
		n, err := io.Copy(got, r)
		<-p.done
		if err != nil || n != size || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) || p.failure != nil {
			t.Errorf("got %d bytes, %v, %v", n, err, p.failure)
		}
		if len(p.trailers) != 1 || p.trailers[0].Value != fmt.Sprintf("%x", sent.Sum(nil))+want && length == "" {
			t.Errorf("trailers %v", p.trailers)
		}
	}
	if s := u.Stats(); s.Opened != 1 || s.Idle != 1 {
		t.Errorf("%d connections were opened, %d are idle; want one that was used twice", s.Opened, s.Idle)
	}
}

func TestASlowSinkIsNotTheUpstreamsFault(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := upstreamAt(t, "http://"+origin.Addr(), func(p *pool.Policy) { p.BodyIdleTimeout = 50 * time.Millisecond })
	_, p, r := begin(t, u, &pool.Request{Path: "/"})
	peer := origin.Accept()
	peer.ReadRequest()
	peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
	<-p.status
	held := time.NewTimer(200 * time.Millisecond) // the reader of the sink takes its time
	<-held.C
	buf := make([]byte, 5)
	if _, err := io.ReadFull(r, buf); err != nil {
		t.Fatalf("after a pause of the reader: %v", err)
	}
	peer.Send("world")
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "world" {
		t.Errorf("got %q, %v", rest, err)
	}
	<-p.done
}

func TestAnUpstreamThatStopsInABodyIsGivenUp(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := upstreamAt(t, "http://"+origin.Addr(), func(p *pool.Policy) { p.BodyIdleTimeout = 50 * time.Millisecond })
	_, p, r := begin(t, u, &pool.Request{Path: "/"})
	peer := origin.Accept()
	peer.ReadRequest()
	peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
	if _, err := io.ReadAll(r); err == nil {
		t.Error("a body that stopped is complete")
	}
	<-p.done
	if p.failure.Reason != pool.ReasonBodyTimeout || p.failure.Delivery != pool.DeliveryResponded {
		t.Errorf("failed for %v", p.failure)
	}
}

func TestAnEarlyResponseEndsTheUpload(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := upstreamAt(t, "http://"+origin.Addr())
	var body pool.RequestBody
	_, p, r := begin(t, u, &pool.Request{Method: "POST", Path: "/", Stream: &body})
	peer := origin.Accept()
	if _, err := body.Write([]byte("some")); err != nil {
		t.Fatal(err)
	}
	peer.ReadHead()
	peer.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
	if got, err := io.ReadAll(r); err != nil || string(got) != "big" || <-p.status != 413 {
		t.Errorf("got %q, %v", got, err)
	}
	<-p.done
	if _, err := body.Write([]byte("more")); !errors.Is(err, pool.ErrBodyEnded) {
		t.Errorf("writing on: %v", err)
	}
	if err := body.Close(nil); !errors.Is(err, pool.ErrBodyEnded) {
		t.Errorf("closing: %v", err)
	}
	if s := u.Stats(); s.Closed[pool.CloseUnsentBody] != 1 {
		t.Errorf("closes %v", s.Closed)
	}
}

// Whoever sends the body may learn of its end long after its last byte: an answer
// that comes in between costs no connection.
func TestABodyOfDeclaredLengthIsCompleteWithItsLastByte(t *testing.T) {
	for _, want := range []string{"", "whole"} {
		origin := h1test.Start(t, h1test.Plain)
		u := upstreamAt(t, "http://"+origin.Addr(), func(p *pool.Policy) { p.Max = 1 })
		var peer *h1test.Peer
		for range 2 {
			var body pool.RequestBody
			_, p, r := begin(t, u, &pool.Request{
				Method: "POST", Path: "/", Stream: &body, Fields: []h1.Field{{Name: "Content-Length", Value: strconv.Itoa(len(want))}},
			})
			if _, err := body.Write([]byte(want)); err != nil {
				t.Fatal(err)
			}
			if peer == nil {
				peer = origin.Accept()
			}
			if got := peer.ReadRequest(); string(got.Body) != want {
				t.Errorf("the body came as %q, want %q", got.Body, want)
			}
			peer.Send("HTTP/1.1 204 No Content\r\n\r\n")
			if _, err := io.ReadAll(r); err != nil {
				t.Error(err)
			}
			<-p.done
			if _, err := body.Write([]byte("more")); !errors.Is(err, pool.ErrBodyLength) {
				t.Errorf("writing beyond the length: %v", err)
			}
			if err := body.Close(nil); err != nil {
				t.Errorf("closing: %v", err)
			}
		}
		if s := u.Stats(); s.Closed[pool.CloseUnsentBody] != 0 || s.Total != 1 {
			t.Errorf("there are %d connections, closed for %v", s.Total, s.Closed)
		}
	}
}

func TestInterimResponsesReachASinkThatWantsThem(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := upstreamAt(t, "http://"+origin.Addr())
	_, p, r := begin(t, u, &pool.Request{Path: "/"})
	peer := origin.Accept()
	peer.ReadRequest()
	peer.Send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	if got, err := io.ReadAll(r); err != nil || string(got) != "ok" {
		t.Errorf("got %q, %v", got, err)
	}
	<-p.done
	if len(p.interim) != 1 || p.interim[0] != 103 {
		t.Errorf("interim responses %v, want 103", p.interim)
	}
}

func TestABodyThatIsNotAsLongAsItSaysIsCutOff(t *testing.T) {
	for name, pieces := range map[string][]string{"too long": {"1234", "56"}, "too short": {"123"}} {
		t.Run(name, func(t *testing.T) {
			origin := h1test.Start(t, h1test.Plain)
			u := upstreamAt(t, "http://"+origin.Addr())
			var body pool.RequestBody
			x, p, _ := begin(t, u, &pool.Request{
				Method: "POST", Path: "/", Stream: &body, Fields: []h1.Field{{Name: "Content-Length", Value: "5"}},
			})
			var err error
			for _, piece := range pieces {
				if err == nil {
					_, err = body.Write([]byte(piece))
				}
			}
			if err == nil {
				err = body.Close(nil)
			}
			if !errors.Is(err, pool.ErrBodyLength) {
				t.Errorf("got %v", err)
			}
			x.Cancel(err)
			<-p.done
			if p.failure == nil {
				t.Error("the exchange ended well")
			}
		})
	}
}

func TestTrailersBehindADeclaredLengthAreRefused(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := upstreamAt(t, "http://"+origin.Addr())
	var body pool.RequestBody
	x, p, _ := begin(t, u, &pool.Request{
		Method: "POST", Path: "/", Stream: &body, Fields: []h1.Field{{Name: "Content-Length", Value: "4"}},
	})
	if _, err := body.Write([]byte("some")); err != nil {
		t.Fatal(err)
	}
	err := body.Close([]h1.Field{{Name: "X-Sum", Value: "42"}})
	if !errors.Is(err, pool.ErrBodyTrailers) {
		t.Errorf("closing with trailers: %v", err)
	}
	x.Cancel(err)
	<-p.done
	if p.failure == nil || p.failure.Delivery != pool.DeliveryUnknown {
		t.Errorf("the exchange ended with %v", p.failure)
	}
}

func TestCancellingAStreamWakesItsWriter(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := upstreamAt(t, "http://"+origin.Addr())
	var body pool.RequestBody
	x, p, _ := begin(t, u, &pool.Request{Method: "POST", Path: "/", Stream: &body})
	peer := origin.Accept()
	peer.ReadHead()
	peer.PauseReading()
	ended := make(chan error)
	go func() {
		piece := make([]byte, 1<<20)
		for {
			if _, err := body.Write(piece); err != nil {
				ended <- err
				return
			}
		}
	}()
	x.Cancel(context.Canceled)
	if err := <-ended; !errors.Is(err, pool.ErrBodyEnded) {
		t.Errorf("the writer got %v", err)
	}
	<-p.done
	if p.failure.Reason != pool.ReasonCancelled || p.failure.Delivery != pool.DeliveryUnknown {
		t.Errorf("failed for %v, %v", p.failure.Reason, p.failure.Delivery)
	}
}

func TestAStreamIsSentAgainOnlyBeforeItsBodyIsTaken(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := upstreamAt(t, "http://"+origin.Addr())
	var body pool.RequestBody
	_, p, r := begin(t, u, &pool.Request{Method: "PUT", Path: "/", Stream: &body})
	first := origin.Accept()
	first.ReadHead()
	first.CloseFIN()
	second := origin.Accept() // nothing of the body was taken: once more
	second.ReadHead()
	if _, err := body.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	second.CloseRST()
	if _, err := io.ReadAll(r); err == nil {
		t.Error("no failure")
	}
	<-p.done
	if p.failure.Attempts != 2 || p.failure.Delivery != pool.DeliveryUnknown {
		t.Errorf("%d attempts, %v", p.failure.Attempts, p.failure)
	}
}

func TestARefusedExpectationIsRepeatedWithoutIt(t *testing.T) {
	origin := h1test.Start(t, h1test.Plain)
	u := upstreamAt(t, "http://"+origin.Addr())
	type result struct {
		response *pool.Response
		err      error
	}
	got := make(chan result)
	go func() {
		response, err := u.Do(t.Context(), &pool.Request{
			Method: "POST", Path: "/", Body: []byte("data"), Fields: []h1.Field{{Name: "Expect", Value: "100-continue"}},
		})
		got <- result{response, err}
	}()
	first := origin.Accept()
	if r := first.ReadHead(); len(r.Values("Expect")) == 0 {
		t.Error("no expectation was sent")
	}
	first.Send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
	second := origin.Accept()
	if r := second.ReadRequest(); len(r.Values("Expect")) != 0 || string(r.Body) != "data" {
		t.Errorf("then came %v with %q", r.Fields, r.Body)
	}
	second.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
	if r := <-got; r.err != nil || r.response.Status != 200 {
		t.Errorf("got %+v", r)
	}
}

// Of a body that comes piece by piece the pieces that have left are gone: such a
// request is not repeated, and its caller gets the 417.
func TestARefusedExpectationIsNotRepeatedOnceABodyHasBegun(t *testing.T) {
	origin, u := origins(t, h1test.Plain, func(p *pool.Policy) { p.ExpectContinue = time.Millisecond })
	var body pool.RequestBody
	_, p, r := begin(t, u, &pool.Request{
		Method: "PUT", Path: "/", Stream: &body,
		Fields: []h1.Field{{Name: "Expect", Value: "100-continue"}, {Name: "Content-Length", Value: "8"}},
	})
	peer := origin.Accept()
	peer.ReadHead()
	if _, err := body.Write([]byte("1234")); err != nil { // which the time to wait for leave has let go
		t.Fatal(err)
	}
	peer.Send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
	if status := <-p.status; status != 417 {
		t.Errorf("status %d", status)
	}
	if got, err := io.ReadAll(r); string(got) != "no" || err != nil {
		t.Errorf("body %q, %v", got, err)
	}
	<-p.done
	if _, err := body.Write([]byte("5678")); !errors.Is(err, pool.ErrBodyEnded) {
		t.Errorf("the rest of the body: %v, want %v", err, pool.ErrBodyEnded)
	}
	peer.ExpectClosed()
	if n := origin.Opened(); n != 1 {
		t.Errorf("%d connections, want 1: the request was repeated without its first bytes", n)
	}
}
