package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/command"
)

// maxAnswer bounds the body that a path may ask for.
const maxAnswer = 4 << 20

// idHeader names a POST, so that the origin can tell when one is carried out
// twice.
const idHeader = "X-Post"

// OriginFigures is what the origins have served.
type OriginFigures struct {
	Connections int64          `json:"connections"` // accepted
	Requests    int64          `json:"requests"`
	Twice       map[string]int `json:"twice"` // POSTs that were carried out more than once, by their ids without the number
}

// origin is net/http's server as it comes, but for the idle timeout. It answers
// GET /bytes/N with N bytes, and POST with "ok" once it has read the body.
type origin struct {
	body []byte
	mu   struct {
		sync.Mutex

		figures OriginFigures
		carried map[string]int // POSTs, by what idHeader says
	}
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		o.carriedOut(r.Header.Get(idHeader))
		io.WriteString(w, "ok") //nolint:errcheck,gosec // the client is gone then
		return
	}
	o.carriedOut("")
	digits, found := strings.CutPrefix(r.URL.Path, "/bytes/")
	n, err := strconv.Atoi(digits)
	if !found || err != nil || n < 0 || n > maxAnswer {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Length", digits)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(o.body[:n]) //nolint:errcheck,gosec // the client is gone then
}

func (o *origin) carriedOut(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.figures.Requests++
	if id == "" {
		return
	}
	o.mu.carried[id]++
	if o.mu.carried[id] == 2 {
		o.mu.figures.Twice[id[:strings.LastIndexByte(id, '-')]]++
	}
}

func (o *origin) connected(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		o.mu.Lock()
		o.mu.figures.Connections++
		o.mu.Unlock()
	}
}

func (o *origin) figures(struct{}) (OriginFigures, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.mu.figures
	f.Twice = maps.Clone(f.Twice)
	return f, nil
}

// originMain is the process of all origins. It answers each line on its standard
// input with its figures.
func originMain(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("origin", flag.ContinueOnError)
	cert := flags.String("cert", "", "file with the certificate")
	key := flags.String("key", "", "file with its key")
	quick := flags.Bool("quick", false, "the quick plan")
	if err := flags.Parse(args); err != nil {
		return command.Usagef("%w", err)
	}
	plan := planOf(*quick)
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	o := &origin{body: make([]byte, maxAnswer)}
	o.mu.figures.Twice = make(map[string]int)
	o.mu.carried = make(map[string]int)
	failed := make(chan error, 1)
	for _, at := range plan.origins() {
		var listen net.ListenConfig
		l, err := listen.Listen(context.Background(), "tcp", at.address(&plan))
		if err != nil {
			return err
		}
		if at.TLS {
			l = tls.NewListener(l, &tls.Config{
				Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
			})
		}
		server := &http.Server{ //nolint:gosec // its clients are ours
			Handler: o, IdleTimeout: at.Closes, ConnState: o.connected,
			// Handshakes that a client gave up are not what is looked at.
			ErrorLog: log.New(io.Discard, "", 0),
		}
		go func() { failed <- fmt.Errorf("%s: %w", at.address(&plan), server.Serve(l)) }()
	}
	asked := make(chan error, 1)
	go func() { asked <- child.AnswerLines(stdin, stdout, o.figures) }()
	select {
	case err = <-failed:
	case err = <-asked:
	}
	return err
}
