package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/warmpool-dev/warmpool/api/client"
)

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, b)
}

func TestManyCallersShareASession(t *testing.T) {
	h := start(t, shortDir(t), web(t, echo))
	c := dial(t, h.socket)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := range 50 {
				text := strings.Repeat("b", i*n)
				path := fmt.Sprintf("/%d?n=%d", i, n)
				r, err := c.Do(t.Context(), request(t, "POST", path, strings.NewReader(text)))
				if err != nil {
					t.Error(err)
					return
				}
				if got := body(t, r); got != "POST "+path+" "+text {
					t.Errorf("got %.80q", got)
				}
			}
		})
	}
	all.Wait()
}

func TestOneCallAtATimeIsAnsweredOverAndOver(t *testing.T) {
	h := start(t, shortDir(t), web(t, echo))
	c := dial(t, h.socket)
	for n := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := c.Do(ctx, request(t, "GET", fmt.Sprint("/", n), nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, r); got != fmt.Sprintf("GET /%d ", n) {
			t.Errorf("got %q", got)
		}
		cancel()
	}
}

func TestStreamsAnswerAsSessionsDo(t *testing.T) {
	h := start(t, shortDir(t), web(t, echo))
	c := dial(t, h.socket)
	for n := range 100 {
		text := strings.Repeat("b", n*n*10)
		r, err := c.Do(client.WithStream(t.Context()), request(t, "POST", "/", io.NopCloser(strings.NewReader(text))))
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, r); got != "POST / "+text {
			t.Errorf("got %.80q", got)
		}
	}
}
