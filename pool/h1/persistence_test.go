package h1_test

import (
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

func TestPersistence(t *testing.T) {
	const rest = "Content-Length: 5\r\n\r\nhello"
	c := func(name, fields string, want h1.Persistence) responseCase {
		return responseCase{name: name, in: "^" + fields + rest, body: "hello", persist: want, absent: "connection"}
	}
	old := func(name, fields string, want h1.Persistence) responseCase {
		return responseCase{name: name, in: "HTTP/1.0 200 OK\r\n" + fields + rest, body: "hello", persist: want}
	}
	runResponseCases(t, []responseCase{
		c("1.1 is persistent", "", h1.Keep),
		c("close", "Connection: close\r\n", h1.CloseByPeer),
		c("close in any case", "connection: CLOSE\r\n", h1.CloseByPeer),
		c("close in a list", "Connection: foo, close , bar\r\n", h1.CloseByPeer),
		c("close in a list with empty members", "Connection: ,,close,\r\n", h1.CloseByPeer),
		c("close on the second line", "Connection: keep-alive\r\nConnection: close\r\n", h1.CloseByPeer),
		c("close beats keep-alive", "Connection: close, keep-alive\r\n", h1.CloseByPeer),
		c("closed is not close", "Connection: closed, x-close\r\n", h1.Keep),
		c("a quoted close is not close", "Connection: \"close\"\r\n", h1.Keep),
		c("Proxy-Connection means nothing", "Proxy-Connection: close\r\n", h1.Keep),
		c("an advertised upgrade means nothing", "Connection: Upgrade\r\nUpgrade: h2c\r\n", h1.Keep),
		old("1.0 is not persistent", "", h1.OldVersion),
		old("1.0 with keep-alive", "Connection: Keep-Alive\r\n", h1.Keep),
		old("1.0 with keep-alive and close", "Connection: keep-alive, close\r\n", h1.CloseByPeer),
		old("1.0 with Keep-Alive but without its option", "Keep-Alive: timeout=5\r\n", h1.OldVersion),
		old("1.0 with Proxy-Connection", "Proxy-Connection: keep-alive\r\n", h1.OldVersion),
		{name: "1.0 with keep-alive but without a length", in: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello", end: fin, body: "hello", persist: h1.CloseDelimited},
		{name: "our close beats keep-alive", to: h1.ResponseTo{Close: true}, in: "^Connection: keep-alive\r\n" + rest, body: "hello", persist: h1.CloseRequested},
		{name: "HEAD to 1.0 with keep-alive", to: h1.ResponseTo{Method: "HEAD"}, in: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n"},
	})
}

func TestHopByHopFieldsOfAResponseDoNotCross(t *testing.T) {
	o := play(t, h1.ResponseTo{Method: "GET"}, open, "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop ,,x-other\r\nKeep-Alive: timeout=5\r\n"+
		"Proxy-Connection: keep-alive\r\nTE: gzip\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nx-hop: 1\r\nX-OTHER: 2\r\nX-Ho: 3\r\n"+
		"Trailer: X-Sum\r\nProxy-Authenticate: Basic\r\nVia: 1.1 a\r\n\r\n0\r\n\r\n")
	if want := "X-Ho: 3\nTrailer: X-Sum\nProxy-Authenticate: Basic\nVia: 1.1 a\n"; o.Fields != want {
		t.Errorf("fields %q, want %q", o.Fields, want)
	}
	for _, name := range []string{"connection", "Keep-Alive", "PROXY-CONNECTION", "te", "Transfer-Encoding", "Upgrade"} {
		if !h1.IsHopByHop(name) {
			t.Errorf("IsHopByHop(%q) is false", name)
		}
	}
	for _, name := range []string{"", "Trailer", "Proxy-Authorization", "Proxy-Authenticate", "Content-Length", "Connection "} {
		if h1.IsHopByHop(name) {
			t.Errorf("IsHopByHop(%q) is true", name)
		}
	}
}

func TestKeepAliveHints(t *testing.T) {
	timeout := func(d time.Duration) h1.KeepAlive { return h1.KeepAlive{Timeout: d, HasTimeout: true} }
	for _, c := range []struct {
		name, fields string
		want         h1.KeepAlive
	}{
		{"none", "Connection: keep-alive\r\n", h1.KeepAlive{}},
		{"timeout", "Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n", timeout(time.Minute)},
		{"the option may follow", "Keep-Alive: timeout=60\r\nConnection: x, Keep-Alive\r\n", timeout(time.Minute)},
		{"without its option it does not count", "Keep-Alive: timeout=60\r\n", h1.KeepAlive{}},
		{"both", "Connection: keep-alive\r\nKeep-Alive: timeout=5, max=100\r\n", h1.KeepAlive{Timeout: 5 * time.Second, HasTimeout: true, Max: 100, HasMax: true}},
		{"semicolon", "Connection: keep-alive\r\nKeep-Alive: timeout=5; max=100\r\n", h1.KeepAlive{Timeout: 5 * time.Second, HasTimeout: true, Max: 100, HasMax: true}},
		{"upper case", "Connection: keep-alive\r\nKeep-Alive: TIMEOUT=5,MAX=1\r\n", h1.KeepAlive{Timeout: 5 * time.Second, HasTimeout: true, Max: 1, HasMax: true}},
		{"zero is kept", "Connection: keep-alive\r\nKeep-Alive: timeout=0, max=0\r\n", h1.KeepAlive{HasTimeout: true, HasMax: true}},
		{"two lines, the smallest", "Connection: keep-alive\r\nKeep-Alive: timeout=60\r\nKeep-Alive: timeout=6, max=0\r\nKeep-Alive: timeout=7\r\n", h1.KeepAlive{Timeout: 6 * time.Second, HasTimeout: true, HasMax: true}},
		{"garbage", "Connection: keep-alive\r\nKeep-Alive: timeout=abc, max=-1, timeout, =, timeout= 5, xtimeout=5,\r\n", h1.KeepAlive{}},
		{"empty", "Connection: keep-alive\r\nKeep-Alive: timeout=\r\n", h1.KeepAlive{}},
		{"garbage beside a number", "Connection: keep-alive\r\nKeep-Alive: foo, timeout=5\r\n", timeout(5 * time.Second)},
		{"enormous", "Connection: keep-alive\r\nKeep-Alive: timeout=9223372036854775807\r\n", timeout(9223372036 * time.Second)},
		{"too enormous", "Connection: keep-alive\r\nKeep-Alive: timeout=99999999999999999999\r\n", h1.KeepAlive{}},
		{"folded", "Connection: keep-alive\r\nKeep-Alive: timeout=60,\r\n max=1\r\n", h1.KeepAlive{}},
	} {
		o := play(t, h1.ResponseTo{Method: "GET"}, open, "HTTP/1.1 200 OK\r\n"+c.fields+"Content-Length: 0\r\n\r\n")
		if o.Hint != c.want || o.Persist != h1.Keep {
			t.Errorf("%s: hint %+v, %v, want %+v", c.name, o.Hint, o.Persist, c.want)
		}
	}
	o := play(t, h1.ResponseTo{Method: "GET"}, open, "HTTP/1.1 103 E\r\nConnection: keep-alive\r\nKeep-Alive: timeout=1\r\n\r\nHTTP/1.1 204 N\r\n\r\n")
	if o.Hint != (h1.KeepAlive{}) {
		t.Errorf("hint %+v of an interim response", o.Hint)
	}
}

func TestViaOldFindsAnOldIntermediary(t *testing.T) {
	for via, want := range map[string]bool{
		"1.0 fred": true, "1.1 fred": false, "1.1 fred, 1.0 barney": true, "HTTP/1.0 fred": true, "http/1.1 fred": false,
		"0.9 x": true, "1.1 fred (a, 1.0 b)": false, "1.1 fred (a\\), 1.0 b)": false, "1.1 fred (a), 1.0 b": true,
		"1.01 x": false, "1.1 1.0": false, "": false, ",,1.0 x": true, "2.0 1.0, 1.1 x": false, "1.0": true,
	} {
		o := play(t, h1.ResponseTo{Method: "GET"}, open, "HTTP/1.1 200 OK\r\nVia: "+via+"\r\nContent-Length: 0\r\n\r\n")
		if o.ViaOld != want {
			t.Errorf("Via: %s: ViaOld %v, want %v", via, o.ViaOld, want)
		}
	}
}

func TestAReusedParserForgetsEverything(t *testing.T) {
	var p h1.Parser
	get := h1.ResponseTo{Method: "GET"}
	playOn(t, &p, h1.ResponseTo{Method: "GET", Close: true, Upgrade: true}, fin, "HTTP/1.1 103 E\r\nConnection: close, x-hop, keep-alive\r\n\r\n"+
		"HTTP/1.1 200 OK\r\nConnection: x-hop, keep-alive\r\nKeep-Alive: timeout=5\r\nVia: 1.0 x\r\nA: b\r\n c\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n5;a=\"x\"\r\nhello\r\n0\r\nX: y\r\n\r\n")
	for _, end := range []ending{fin, open, reset} {
		for _, in := range []string{
			"HTTP/1.1 200 OK\r\nX-Hop: 1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
			"HTTP/1.1 204 N\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nx", "HTTP/1.1 100 C\r\n\r\nHTTP", "", "x",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;\"a", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX:",
		} {
			if got, want := describe(playOn(t, &p, get, end, in)), describe(play(t, get, end, in)); got != want {
				t.Errorf("%q:\nreused %s\nfresh  %s", in, got, want)
			}
		}
	}
}
