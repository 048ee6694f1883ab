package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/command"
	"github.com/warmpool-dev/warmpool/pool/nonblock"
)

// maxAnswer bounds the body that a path may ask for.
const maxAnswer = 1 << 30

// block is what long bodies are made of: one piece of memory, sent again and again.
var block = bytes.Repeat([]byte("w"), 1<<20)

// maxRequestHead bounds a request's head.
const maxRequestHead = 16 << 10

// bulkRead is how much of a long body is read at once.
const bulkRead = 256 << 10

// origin is an HTTP/1.1 server that costs as little as may be, so that what is
// measured is what stands before it. It answers /bytes/N with N bytes, from
// memory, keeps connections alive, takes request bodies of a given length and
// throws them away, and answers requests that arrive together with one write.
type origin struct {
	requests    atomic.Int64
	connections atomic.Int64

	after time.Duration // from a request to its answer
	date  string        // of the start; an origin's clock is not what is measured

	mu struct {
		sync.RWMutex
		answers map[string]net.Buffers // by path: head and body
	}
}

// OriginFigures is what an origin has served since it started.
type OriginFigures struct {
	Requests    int64 `json:"requests"`
	Connections int64 `json:"connections"` // accepted
}

func newOrigin() *origin {
	o := &origin{date: time.Now().UTC().Format(http.TimeFormat)}
	o.mu.answers = make(map[string]net.Buffers)
	return o
}

func (o *origin) figures() OriginFigures {
	return OriginFigures{Requests: o.requests.Load(), Connections: o.connections.Load()}
}

// serve answers on every connection that l accepts, until l is closed.
func (o *origin) serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		o.connections.Add(1)
		go func() {
			defer conn.Close()
			o.converse(nonblock.Conn[mem.BufferPool](conn))
		}()
	}
}

// converse answers the requests of one connection until it ends, breaks or asks
// for something that is not spoken here.
func (o *origin) converse(conn net.Conn) {
	var (
		in      = make([]byte, maxRequestHead)
		filled  int         // in[:filled] is unread input
		skip    int64       // bytes of a request body still to come
		due     net.Buffers // the answer to the request whose body they are
		answers net.Buffers // to what was read at once
		closing bool        // the request read last is the connection's
		bulk    []byte      // for long bodies
		out     []byte      // answers that leave together
	)
	for {
		if skip > maxRequestHead && filled == 0 {
			if bulk == nil {
				bulk = make([]byte, bulkRead)
			}
			n, err := conn.Read(bulk[:min(skip-maxRequestHead, bulkRead)])
			if err != nil {
				return
			}
			skip -= int64(n)
			continue
		}
		n, err := conn.Read(in[filled:])
		if err != nil {
			return
		}
		filled += n

		rest, last := in[:filled], false
		for !last {
			dropped := min(skip, int64(len(rest)))
			rest, skip = rest[dropped:], skip-dropped
			if skip > 0 {
				break
			}
			answers, due = append(answers, due...), nil
			if last = closing; last {
				break
			}
			end := bytes.Index(rest, []byte("\r\n\r\n"))
			if end < 0 {
				break
			}
			head := parseHead(rest[:end])
			rest = rest[end+4:]
			o.requests.Add(1)
			answer, ok := o.answer(head)
			due, skip, closing = answer, head.length, head.close || !ok
			if !ok {
				skip = 0 // whatever it is, it is not read
			}
		}
		filled = copy(in, rest)
		if !last && filled == len(in) {
			answers, last = append(answers, refusal(http.StatusRequestHeaderFieldsTooLarge)), true
		}

		if o.after > 0 && len(answers) > 0 {
			time.Sleep(o.after)
		}
		if out, err = write(conn, out, answers); last || err != nil {
			return
		}
		clear(answers)
		answers = answers[:0]
	}
}

// joined is up to which size answers are copied together.
const joined = 64 << 10

// write writes answers, as many of them at once as are short. It returns out, the
// memory where they come together.
func write(conn net.Conn, out []byte, answers net.Buffers) ([]byte, error) {
	out = out[:0]
	for i, a := range answers {
		alone := len(out) == 0 && i == len(answers)-1
		if !alone && len(out)+len(a) <= joined {
			out = append(out, a...)
			continue
		}
		for _, piece := range [][]byte{out, a} {
			if len(piece) == 0 {
				continue
			}
			if _, err := conn.Write(piece); err != nil {
				return out, err
			}
		}
		out = out[:0]
	}
	if len(out) == 0 {
		return out, nil
	}
	_, err := conn.Write(out)
	return out, err
}

// requestHead is what the origin wants to know of a request.
type requestHead struct {
	path   []byte
	length int64 // of its body
	close  bool
	status int // why it is refused; 0: it is not
}

// parseHead reads a head without its last empty line.
func parseHead(head []byte) (h requestHead) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	_, target, _ := bytes.Cut(line, []byte(" "))
	path, version, _ := bytes.Cut(target, []byte(" "))
	h.path = path
	if string(version) != "HTTP/1.1" {
		h.status = http.StatusHTTPVersionNotSupported
		return h
	}
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case asciiEqual(name, "content-length"):
			n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
			if err != nil || n < 0 {
				h.status = http.StatusBadRequest
				return h
			}
			h.length = n
		case asciiEqual(name, "connection"):
			h.close = h.close || asciiEqual(bytes.TrimSpace(value), "close")
		case asciiEqual(name, "transfer-encoding"):
			h.status = http.StatusNotImplemented
		}
	}
	return h
}

// asciiEqual compares without regard to case; lower is in lower case.
func asciiEqual(b []byte, lower string) bool {
	return len(b) == len(lower) && bytes.EqualFold(b, []byte(lower))
}

// answer is what is written for h; ok is false when it is a refusal, after
// which the connection is closed.
func (o *origin) answer(h requestHead) (answer net.Buffers, ok bool) {
	if h.status != 0 {
		return net.Buffers{refusal(h.status)}, false
	}
	o.mu.RLock()
	answer = o.mu.answers[string(h.path)]
	o.mu.RUnlock()
	if answer != nil {
		return answer, true
	}
	digits, found := strings.CutPrefix(string(h.path), "/bytes/")
	size, err := strconv.Atoi(digits)
	if !found || err != nil || size < 0 || size > maxAnswer {
		return net.Buffers{refusal(http.StatusNotFound)}, false
	}
	head := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n",
		o.date, size)
	if size < len(block) { // head and body leave in one write
		answer = net.Buffers{append(head, block[:size]...)}
	} else {
		answer = net.Buffers{head}
		for ; size > 0; size -= min(size, len(block)) {
			answer = append(answer, block[:min(size, len(block))])
		}
	}
	o.mu.Lock()
	o.mu.answers[string(h.path)] = answer
	o.mu.Unlock()
	return answer, true
}

func refusal(status int) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status, http.StatusText(status))
}

// bytesPath is the path that the origin answers with n bytes.
func bytesPath(n int) string { return "/bytes/" + strconv.Itoa(n) }

// originMain is the origin's process. It serves on an inherited listener and
// answers each line on its standard input with its figures.
func originMain(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("origin", flag.ContinueOnError)
	after := flags.Duration("after", 0, "time from a request to its answer")
	if err := flags.Parse(args); err != nil {
		return command.Usagef("%w", err)
	}
	l, err := child.InheritedListener(0)
	if err != nil {
		return err
	}
	o := newOrigin()
	o.after = *after
	failed := make(chan error, 1)
	go func() { failed <- o.serve(l) }()
	asked := make(chan error, 1)
	go func() {
		asked <- child.AnswerLines(stdin, stdout, func(struct{}) (OriginFigures, error) { return o.figures(), nil })
	}()
	select {
	case err = <-failed:
	case err = <-asked:
	}
	return err
}
