package soak_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// origin is a server on raw TCP, or on TLS, that reads requests as they should
// be read and treats them, and its connections, as the faults drawn say.
type origin struct {
	name      string
	index     uint64 // among the origins of the run
	ledger    *ledger
	secured   *tls.Config // nil: plain
	pipelined bool        // requests may come before the one ahead is answered
	address   string

	did    [faultCount]atomic.Uint64
	opened atomic.Uint64
	behind atomic.Uint64 // requests that were there before the one ahead was answered

	tasks sync.WaitGroup
	mu    struct {
		sync.Mutex
		listener net.Listener
		peers    map[*peer]struct{}
	}
}

// peer is the origin's side of one connection.
type peer struct {
	origin *origin
	tcp    *net.TCPConn
	conn   net.Conn // tcp, or TLS on it
	in     *bufio.Reader
	chance *rand.Rand
	over   chan struct{}

	rests   atomic.Bool   // it waits for a request, and there is none
	current atomic.Uint64 // the request that was read last
	killed  atomic.Bool
}

func startOrigin(name string, index uint64, l *ledger, secured *tls.Config, pipelined bool) (*origin, error) {
	o := &origin{name: name, index: index, ledger: l, secured: secured, pipelined: pipelined, address: "127.0.0.1:0"}
	o.mu.peers = make(map[*peer]struct{})
	if err := o.listen(); err != nil {
		return nil, err
	}
	return o, nil
}

// listen begins to accept, at the same address as before.
func (o *origin) listen() error {
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return err
	}
	o.address = listener.Addr().String()
	o.mu.Lock()
	o.mu.listener = listener
	o.mu.Unlock()
	o.tasks.Go(func() {
		for {
			tcp, err := listener.Accept()
			if err != nil {
				return
			}
			o.accept(tcp.(*net.TCPConn))
		}
	})
	return nil
}

func (o *origin) accept(tcp *net.TCPConn) {
	r := chance(o.ledger.seed, forConnection, o.opened.Add(1)<<8|o.index)
	switch r.IntN(100) {
	case 0:
		o.did[acceptClose].Add(1)
		tcp.Close()
		return
	case 1:
		o.did[acceptReset].Add(1)
		_ = tcp.SetLinger(0)
		tcp.Close()
		return
	}
	p := &peer{origin: o, tcp: tcp, conn: tcp, chance: r, over: make(chan struct{})}
	if o.secured != nil {
		p.conn = tls.Server(tcp, o.secured)
	}
	p.in = bufio.NewReaderSize(p.conn, 32<<10)
	o.mu.Lock()
	o.mu.peers[p] = struct{}{}
	o.mu.Unlock()
	o.tasks.Go(func() {
		p.serve()
		p.leftover()
		tcp.Close()
		o.mu.Lock()
		delete(o.mu.peers, p)
		o.mu.Unlock()
		close(p.over)
	})
}

// restart ends the listener and every connection, and after a pause, the time
// that a process takes to start, listens again.
func (o *origin) restart(f fault) error {
	o.did[f].Add(1)
	o.mu.Lock()
	o.mu.listener.Close()
	for p := range o.mu.peers {
		p.kill(f == restartReset)
	}
	o.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
	return o.listen()
}

// kill ends a connection from outside, in the middle of anything.
func (p *peer) kill(reset bool) {
	p.killed.Store(true)
	p.uncertain()
	if reset {
		_ = p.tcp.SetLinger(0)
	}
	p.tcp.Close()
}

// uncertain: the answer sent last may be lost on its way.
func (p *peer) uncertain() {
	if id := p.current.Load(); id != 0 {
		p.origin.ledger.at(id).complete.Store(false)
	}
}

// stray sends, on some of the connections that rest, bytes that nobody asked
// for, and waits until the other side has closed each of them. No request may be
// under way.
func (o *origin) stray(r *rand.Rand, share float64) error {
	o.mu.Lock()
	var chosen []*peer
	for p := range o.mu.peers {
		if p.rests.Load() && r.Float64() < share {
			chosen = append(chosen, p)
		}
	}
	o.mu.Unlock()
	for _, p := range chosen {
		o.did[idleStray].Add(1)
		_, _ = io.WriteString(p.conn, strayBytes[r.IntN(len(strayBytes))])
	}
	limit := time.After(10 * time.Second)
	for _, p := range chosen {
		select {
		case <-p.over:
		case <-limit:
			return fmt.Errorf("%s: a connection on which stray bytes were sent was still open 10 s later", o.name)
		}
	}
	return nil
}

var strayBytes = []string{
	"HTTP/1.1 200 OK\r\nX-Id: stray\r\nContent-Length: 5\r\n\r\nstray",
	"HTTP/1.1 408 Request Timeout\r\nX-Id: stray\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX-Id: st",
	"\r\n",
	"stray",
}

// close ends the listener and waits until every connection has ended: the other
// side closes its own.
func (o *origin) close(limit time.Duration) error {
	o.mu.Lock()
	o.mu.listener.Close()
	o.mu.Unlock()
	over := make(chan struct{})
	go func() {
		o.tasks.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-time.After(limit):
	}
	o.mu.Lock()
	n := len(o.mu.peers)
	for p := range o.mu.peers {
		p.tcp.Close()
	}
	o.mu.Unlock()
	<-over
	return fmt.Errorf("%s: %d connections were still open %v after the pool was closed", o.name, n, limit)
}

// serve is a connection's life.
func (p *peer) serve() {
	if secured, ok := p.conn.(*tls.Conn); ok && secured.Handshake() != nil {
		return
	}
	for p.awaitRequest() {
		req, err := p.readHead()
		if err != nil {
			return
		}
		if p.in.Buffered() > 0 && req.body == 0 {
			p.origin.behind.Add(1)
		}
		if !p.treat(req) {
			return
		}
	}
}

// awaitRequest waits for a request, unless a fault comes first.
func (p *peer) awaitRequest() bool {
	o := p.origin
	if p.in.Buffered() > 0 {
		return true
	}
	limited := p.current.Load() != 0 && p.chance.IntN(12) == 0
	if limited {
		_ = p.conn.SetReadDeadline(time.Now().Add(time.Duration(p.chance.IntN(int(6 * time.Millisecond)))))
	} else {
		p.rests.Store(true)
	}
	_, err := p.in.Peek(1)
	p.rests.Store(false)
	if err == nil {
		_ = p.conn.SetReadDeadline(time.Time{})
		return true
	}
	var network net.Error
	if !limited || !errors.As(err, &network) || !network.Timeout() {
		return false
	}
	_ = p.conn.SetReadDeadline(time.Time{})
	f := []fault{idleClose, idleClose, idleReset, idleHalfClose, idleBareClose, idleRequestTimeout}[p.chance.IntN(6)]
	if f == idleBareClose && o.secured == nil {
		f = idleClose
	}
	o.did[f].Add(1)
	switch f {
	case idleReset:
		p.uncertain()
		p.reset()
	case idleHalfClose:
		p.halfClose()
	case idleBareClose:
		p.tcp.Close()
	case idleRequestTimeout:
		_, _ = io.WriteString(p.conn, "HTTP/1.1 408 Request Timeout\r\nX-Idle: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		p.fin()
	default:
		p.fin()
	}
	return false
}

// incoming is a request whose head was read.
type incoming struct {
	script
	arrival uint32
	entry   *entry
	expects bool // the head says Expect: 100-continue: an attempt after a 417 does not
}

func (p *peer) readHead() (*incoming, error) {
	line, err := p.line()
	if err != nil {
		return nil, err
	}
	parts := requestLine.FindStringSubmatch(line)
	if parts == nil {
		p.origin.ledger.violation("not a request", "an origin read %q where a request had to begin, after request %d", line, p.current.Load())
		return nil, errors.New("not a request")
	}
	id, _ := strconv.ParseUint(parts[2], 10, 64)
	e := p.origin.ledger.at(id)
	if e == nil {
		return nil, errors.New("unknown id")
	}
	req := &incoming{script: scriptOf(p.origin.ledger.seed, id), arrival: p.origin.ledger.arrived(id), entry: e}
	p.current.Store(id)
	length := 0
	for {
		if line, err = p.line(); err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "Content-Length":
			length, _ = strconv.Atoi(value)
		case "Expect":
			req.expects = value == "100-continue"
		}
	}
	if parts[1] != req.method || length != req.body || req.expects && !req.expect {
		p.origin.ledger.violation("wrong request", "read %s with %d bytes for request %d, which is %s with %d", parts[1], length, id, req.method, req.body)
	}
	return req, nil
}

var requestLine = regexp.MustCompile(`^([A-Z]+) /r/(\d+) HTTP/1\.1$`)

// line reads a line without its end. What is read of one that never ends is
// counted.
func (p *peer) line() (string, error) {
	line, err := p.in.ReadString('\n')
	if err != nil {
		p.mention(line)
		return "", err
	}
	return strings.TrimSuffix(line, "\r\n"), nil
}

// mention counts a request whose start is in what was read and never parsed.
func (p *peer) mention(text string) {
	found := requestAnywhere.FindAllStringSubmatch(text, -1)
	for _, parts := range found {
		id, _ := strconv.ParseUint(parts[1], 10, 64)
		if id != p.current.Load() {
			p.origin.ledger.arrived(id)
		}
	}
	if len(found) == 0 && fragment.MatchString(text) {
		p.origin.ledger.fragments.Add(1)
	}
}

var (
	requestAnywhere = regexp.MustCompile(`[A-Z] /r/(\d+) HTTP/1\.1`)
	requestStart    = regexp.MustCompile(`^[A-Z]+ /r/(\d+) `)
	fragment        = regexp.MustCompile(`^(GET|HEAD|PUT|POST|DELETE)( /r/\d*)?`)
)

// leftover counts the requests that were read from the connection and not come
// to before it ended.
func (p *peer) leftover() {
	if n := p.in.Buffered(); n > 0 {
		rest, _ := p.in.Peek(n)
		p.mention(string(rest))
	}
}

// hold reads until the other side closes, and counts the requests that come.
func (p *peer) hold() {
	for {
		line, err := p.in.ReadString('\n')
		p.mention(line)
		if err != nil {
			return
		}
	}
}

// readBody reads the request's body and compares it.
func (p *peer) readBody(req *incoming) bool {
	body := make([]byte, req.body)
	if _, err := io.ReadFull(p.in, body); err != nil {
		return false
	}
	if want := req.requestBody(); string(body) != string(want) {
		p.origin.ledger.violation("wrong request body", "request %d: %s", req.id, firstDifference(body, want))
	}
	return true
}

// fin closes in good order; under TLS that begins with close_notify.
func (p *peer) fin() { p.conn.Close() }

func (p *peer) reset() {
	_ = p.tcp.SetLinger(0)
	p.tcp.Close()
}

// halfClose ends this side's sending and goes on reading.
func (p *peer) halfClose() {
	if secured, ok := p.conn.(*tls.Conn); ok {
		_ = secured.CloseWrite()
	}
	_ = p.tcp.CloseWrite()
	p.hold()
}
