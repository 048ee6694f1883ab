package sidecar_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// rude is a client that speaks HTTP/2 as it likes.
type rude struct {
	net.Conn
	*http2.Framer
}

// rudeTo connects to a Unix socket.
func rudeTo(t *testing.T, address string) *rude {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &rude{conn, http2.NewFramer(conn, conn)}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return r
}

// call opens a stream for a method, of HttpService unless it has a service before
// it, and sends messages on it, in frames of their own.
func (r *rude) call(id uint32, method string, messages ...proto.Message) error {
	if !strings.Contains(method, "/") {
		method = warmpoolv1.HttpService_ServiceDesc.ServiceName + "/" + method
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", "/" + method},
		{":authority", "localhost"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	} {
		if err := e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	if err := r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
		return err
	}
	for _, m := range messages {
		encoded, err := proto.Marshal(m)
		if err != nil {
			return err
		}
		frame := append([]byte{0, byte(len(encoded) >> 24), byte(len(encoded) >> 16), byte(len(encoded) >> 8), byte(len(encoded))}, encoded...)
		if err := r.WriteData(id, false, frame); err != nil {
			return err
		}
	}
	return nil
}

// awaitClose reads until the sidecar closes the connection.
func (r *rude) awaitClose(t *testing.T) {
	t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}

func TestARudeClientHurtsNobodyElse(t *testing.T) {
	// What it asks for is more than any window holds, so that what it does not read has to stay somewhere.
	large := bytes.Repeat([]byte("x"), 64<<10)
	upstream := web(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) })
	upstream.Connections = connections(8)
	// Room for all that the rude one asks for: that one caller fills the queue is what callers.max_in_flight is for.
	upstream.Queue = &warmpoolv1.Queue{MaxWaiting: new(uint32(10_000)), MaxWait: durationpb.New(4 * patience)}
	request := &warmpoolv1.HttpRequest{Upstream: "web"}
	for _, c := range []struct {
		name string
		acts func(t *testing.T, r *rude)
	}{
		{"opens sessions and reads no reply", func(t *testing.T, r *rude) {
			for id := uint32(1); id < 200; id += 2 {
				var calls []*warmpoolv1.SessionCall
				for n := range uint64(16) {
					calls = append(calls, call(n, request))
				}
				if err := r.call(id, "Session", &warmpoolv1.SessionRequest{Calls: calls}); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"opens streams and reads no body", func(t *testing.T, r *rude) {
			for id := uint32(1); id < 8; id += 2 { // each holds a connection of the upstream's, of which there are eight
				head := &warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Head{Head: request}, End: true}
				if err := r.call(id, "Stream", head); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"opens streams and says nothing on them", func(t *testing.T, r *rude) {
			for id := uint32(1); id < 2000; id += 2 {
				if err := r.call(id, "Send"); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"sends what is no frame", sendNoFrame},
		{"sends messages that are none", func(t *testing.T, r *rude) {
			if err := r.call(1, "Send"); err != nil {
				t.Fatal(err)
			}
			if err := r.WriteData(1, true, append([]byte{0, 0, 0, 0, 8}, "\xff\xff\xff\xff\xff\xff\xff\xff"...)); err != nil {
				t.Fatal(err)
			}
			if err := r.call(3, "Session"); err != nil {
				t.Fatal(err)
			}
			if err := r.WriteData(3, false, append([]byte{0, 0xff, 0xff, 0xff, 0xff}, "short"...)); err != nil {
				t.Fatal(err)
			}
		}},
		{"pings ten thousand times", pingMuch},
		{"opens and resets streams", func(t *testing.T, r *rude) {
			for id := uint32(1); id < 4000; id += 2 {
				if r.call(id, "Send", &warmpoolv1.SendRequest{Request: request}) != nil || r.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					break
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, upstream)
			client := h.client(t)
			send(t, client, request)
			r := rudeTo(t, h.Addrs().Data[0])
			c.acts(t, r)
			for range 20 {
				if got := send(t, client, request); len(got.GetBody()) != len(large) {
					t.Fatalf("%d bytes", len(got.GetBody()))
				}
			}
			_ = r.Conn.Close()
			for range 20 {
				send(t, client, request)
			}
		})
	}
}

// The control plane is as patient with those who are rude, who hurt neither who
// operates nor who sends, and do not hold the end up.
func TestARudeOperatorHurtsNobodyElse(t *testing.T) {
	const service = "warmpool.v1.PoolService/"
	upstream := web(t, func(http.ResponseWriter, *http.Request) {})
	upstream.Connections = &warmpoolv1.Connections{MaxRequests: new(uint64(1))} // so that each request opens a connection and closes it
	upstream.Queue = &warmpoolv1.Queue{MaxWait: durationpb.New(4 * patience)}
	request := &warmpoolv1.HttpRequest{Upstream: "web"}
	for _, c := range []struct {
		name string
		acts func(t *testing.T, r *rude)
	}{
		{"watches all and reads nothing", func(t *testing.T, r *rude) {
			for id := uint32(1); id < 100; id += 4 {
				if err := r.call(id, service+"WatchEvents", &warmpoolv1.WatchEventsRequest{}); err != nil {
					t.Fatal(err)
				}
				if err := r.call(id+2, service+"WatchStats", &warmpoolv1.WatchStatsRequest{Interval: durationpb.New(100 * time.Millisecond)}); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"asks a thousand times and reads nothing", func(t *testing.T, r *rude) {
			for id := uint32(1); id < 2000; id += 2 {
				if err := r.call(id, service+"GetStats", &warmpoolv1.GetStatsRequest{}); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"opens streams and says nothing on them", func(t *testing.T, r *rude) {
			for id := uint32(1); id < 2000; id += 2 {
				if err := r.call(id, service+"ListConnections"); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"sends what is no frame", sendNoFrame},
		{"pings ten thousand times", pingMuch},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, upstream)
			client, operator := h.client(t), h.control(t)
			watch := must[warmpoolv1.PoolService_WatchEventsClient](t)(operator.WatchEvents(within(t), &warmpoolv1.WatchEventsRequest{}))
			if _, err := watch.Header(); err != nil {
				t.Fatal(err)
			}
			c.acts(t, rudeTo(t, h.Addrs().Control[0])) // whose connection stays until the test's end
			last := uint64(0)
			for range 20 {
				for range 100 { // more events than the rude one is kept, and than there is room for on the way to it
					send(t, client, request)
				}
				must[*warmpoolv1.GetStatsResponse](t)(operator.GetStats(within(t), &warmpoolv1.GetStatsRequest{}))
				m := must[*warmpoolv1.WatchEventsResponse](t)(watch.Recv())
				first, now := m.GetEvents()[0].GetSequence(), m.GetEvents()[len(m.GetEvents())-1].GetSequence()
				if first != last+m.GetDropped()+1 && last > 0 {
					t.Errorf("events from %d to %d after %d, with %d left out", first, now, last, m.GetDropped())
				}
				last = now
			}
			h.stop()
			h.wait(t)
		})
	}
}

func TestAConnectionOnWhichNothingComesIsClosed(t *testing.T) {
	cfg := settings(shortDir(t))
	cfg.Grpc.ConnectionTimeout = durationpb.New(100 * time.Millisecond)
	h := startWith(t, cfg)
	conn, err := net.Dial("unix", strings.TrimPrefix(h.Addrs().Data[0], "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	(&rude{Conn: conn}).awaitClose(t)
}

func sendNoFrame(t *testing.T, r *rude) {
	garbage := make([]byte, 64<<10)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(garbage)
	_, _ = r.Conn.Write(garbage) // it may be closed in the middle
	r.awaitClose(t)
}

func pingMuch(t *testing.T, r *rude) {
	for range 10_000 {
		if r.WritePing(false, [8]byte{}) != nil {
			break
		}
	}
	r.awaitClose(t)
}
