package client_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// peerVariable names the socket of a sidecar that the test's program is to be,
// instead of testing: what is measured is then the client alone.
const peerVariable = "CLIENT_TEST_PEER"

// beSidecar serves an upstream named web on a socket until its standard input ends.
// It writes the upstream's URL, for who wants to ask it directly.
func beSidecar(socket string) error {
	answer := []byte(strings.Repeat("a", 128))
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 0 {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		_, _ = w.Write(answer)
	}))
	defer upstream.Close()
	s, err := sidecar.New(config.WithDefaults(&warmpoolv1.Config{
		Listen: []string{"unix://" + socket}, Control: []string{"off"}, Admin: "off",
		Upstreams: []*warmpoolv1.Upstream{{Name: "web", Url: upstream.URL}},
	}), sidecar.Options{})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if _, err := fmt.Fprintln(os.Stdout, upstream.URL); err != nil {
		return err
	}
	return s.Serve(ctx)
}

// startPeer starts a sidecar as a process of its own, and an upstream in it.
func startPeer(t testing.TB) (socket, upstream string) {
	t.Helper()
	socket = shortDir(t) + "/s"
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), peerVariable+"="+socket)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the sidecar: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "unix://" + socket, strings.TrimSpace(line)
}

// getter makes the requests of a benchmark, one for each goroutine.
func getter(t testing.TB, transport http.RoundTripper, url, text string) func() {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text != "" {
		r.Method, r.ContentLength = "PUT", int64(len(text))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	}
	block := make([]byte, 1<<10)
	return func() {
		if text != "" {
			r.Body, _ = r.GetBody()
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		for err == nil {
			_, err = response.Body.Read(block)
		}
		if err != io.EOF || response.StatusCode != http.StatusOK {
			t.Errorf("status %d, %v", response.StatusCode, err)
		}
		response.Body.Close()
	}
}

// BenchmarkRoundTrip is a request for 128 bytes, and what it costs the program that
// asks, by the client and by http.Transport with no sidecar in between.
func BenchmarkRoundTrip(b *testing.B) {
	socket, upstream := startPeer(b)
	direct := &http.Transport{MaxIdleConnsPerHost: 64}
	defer direct.CloseIdleConnections()
	for _, kind := range []struct {
		name      string
		transport http.RoundTripper
		url       string
		body      string
	}{
		{"session", dial(b, socket).Transport(), "http://web/", ""},
		{"session/body=1KiB", dial(b, socket).Transport(), "http://web/", strings.Repeat("b", 1<<10)},
		{"stream", dial(b, socket, client.Streaming()).Transport(), "http://web/", ""},
		{"http.Transport", direct, upstream, ""},
	} {
		for _, inFlight := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/in-flight=%d", kind.name, inFlight), func(b *testing.B) {
				getter(b, kind.transport, kind.url, kind.body)()
				b.ReportAllocs()
				if inFlight == 1 {
					get := getter(b, kind.transport, kind.url, kind.body)
					for b.Loop() {
						get()
					}
					return
				}
				b.SetParallelism(inFlight)
				b.RunParallel(func(pb *testing.PB) {
					get := getter(b, kind.transport, kind.url, kind.body)
					for pb.Next() {
						get()
					}
				})
			})
		}
	}
}

// What a call allocates is what its caller keeps (the response, its fields, its
// body) and what gRPC takes for a message each way.
func TestACallOfASessionAllocatesLittle(t *testing.T) {
	const most = 24 // 16 without the race detector, which makes sync.Pool forget at random
	socket, _ := startPeer(t)
	get := getter(t, dial(t, socket).Transport(), "http://web/", "")
	for range 10 { // sessions are open then
		get()
	}
	if got := testing.AllocsPerRun(500, get); got > most {
		t.Errorf("%v allocations for a small call, want at most %d", got, most)
	}
}
