package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/warmpool-dev/warmpool/api/client"
	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// sendFlags are the flags of send.
type sendFlags struct {
	socket     *target
	method     string
	headers    []string
	data       []string
	include    bool
	receipt    bool
	fail       bool
	idempotent bool
	timeout    time.Duration
}

func newSendCommand(std streams) *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send UPSTREAM PATH",
		Short: "Send one HTTP request through the sidecar, like curl",
		Long: `Send one HTTP request over the sidecar's pooled connections to a configured
upstream. The response's body goes to standard output byte for byte, as it comes
and of any length; everything else goes to standard error. Nothing is added to
the request: no User-Agent, no Accept, and no Content-Type with -d. Redirects
are not followed.

` + targetHelp + `

Exit codes:
   0  the upstream answered, whatever the status
   1  the exchange failed; standard error says why, whether the request can have
      reached the upstream (delivery), and what to do
   2  wrong command line
   3  no sidecar answered at the socket
  22  with --fail: the status is 400 or above`,
		Example: `  warmpool send payments /v1/balance
  warmpool send payments /v1/orders -H 'Content-Type: application/json' -d '{"id": 7}'
  warmpool send payments /v1/upload -X PUT -d @picture.jpg -i --receipt
  generate | warmpool send payments /v1/import -d @- --timeout 5s --fail
  warmpool send payments / -s tcp://127.0.0.1:7600`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: doing(func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("request") && len(f.data) > 0 {
				f.method = http.MethodPost
			}
			request, err := f.request(args[0], args[1], std.in)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return f.send(ctx, request, std)
		}),
	}
	flags := cmd.Flags()
	f.socket = addTarget(cmd)
	flags.StringVarP(&f.method, "request", "X", http.MethodGet, "method; POST with -d")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "header field 'Name: value'; repeatable, the values of a name go in the order given")
	flags.StringArrayVarP(&f.data, "data", "d", nil, "body: the text itself, @FILE, or @- for standard input, sent as it comes; nothing is stripped")
	flags.BoolVarP(&f.include, "include", "i", false, "print status line, header fields and trailers as well")
	flags.BoolVar(&f.receipt, "receipt", false, "print to standard error how the exchange was carried out")
	flags.BoolVarP(&f.fail, "fail", "f", false, "status 400 and above: no body, exit code 22")
	flags.BoolVar(&f.idempotent, "idempotent", false, "sending it twice does no harm: allow retries whatever the method")
	flags.DurationVar(&f.timeout, "timeout", 0, "time for the whole exchange, such as 500ms or 5s; 0: only the upstream's own limits")
	return cmd
}

// request makes the request from the command line.
func (f *sendFlags) request(upstream, path string, stdin io.Reader) (*http.Request, error) {
	if f.timeout < 0 {
		return nil, usage(fmt.Errorf("timeout is %s, must not be negative", f.timeout))
	}
	for what, text := range map[string]string{"upstream": upstream, "method": f.method, "path": path} {
		if !utf8.ValidString(text) {
			return nil, usage(fmt.Errorf("%s is %q, must be valid UTF-8; percent-encode other bytes of a path", what, text))
		}
	}
	request := &http.Request{
		Method: f.method,
		URL:    &url.URL{Scheme: "http", Host: upstream, Opaque: path}, // Opaque goes as it is
		Header: http.Header{"User-Agent": {""}},                        // none
	}
	if strings.HasPrefix(path, "//") { // of which Opaque would make a URL
		request.URL.Opaque = ""
		request.URL.Path, request.URL.RawQuery, request.URL.ForceQuery = strings.Cut(path, "?")
	}
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !utf8.ValidString(name) {
			return nil, usage(fmt.Errorf("header is %q, must be 'Name: value'", line))
		}
		value = strings.Trim(value, " \t")
		switch http.CanonicalHeaderKey(name) {
		case "Host":
			request.Host = value
		case "User-Agent":
			request.Header.Set(name, value)
		default:
			request.Header.Add(name, value)
		}
	}
	return request, f.body(request, stdin)
}

// body gives the request its body.
func (f *sendFlags) body(request *http.Request, stdin io.Reader) error {
	switch len(f.data) {
	case 0:
		return nil
	case 1:
	default:
		return usage(fmt.Errorf("data is given %d times, must be given once", len(f.data)))
	}
	switch name, isFile := strings.CutPrefix(f.data[0], "@"); {
	case !isFile:
		request.ContentLength = int64(len(name))
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(name)), nil }
	case name == "-":
		request.Body, request.ContentLength = io.NopCloser(stdin), -1
		return nil
	default:
		about, err := os.Stat(name)
		if err != nil {
			return usage(fmt.Errorf("data: %w", err))
		}
		if about.IsDir() {
			return usage(fmt.Errorf("data: %s is a directory, must be a file", name))
		}
		request.ContentLength = -1
		if about.Mode().IsRegular() {
			request.ContentLength = about.Size()
			request.GetBody = func() (io.ReadCloser, error) { return os.Open(name) }
		}
		if request.Body, err = os.Open(name); err != nil {
			return usage(fmt.Errorf("data: %w", err))
		}
		return nil
	}
	var err error
	request.Body, err = request.GetBody()
	return err
}

func (f *sendFlags) send(ctx context.Context, request *http.Request, std streams) error {
	if err := f.socket.check(); err != nil {
		return err
	}
	sidecar, err := client.Dial(f.socket.address, client.Secured(f.socket.credentials),
		client.Streaming(), client.DisableCompression(), client.Patience(0))
	if err != nil {
		return f.socket.explain(err)
	}
	defer func() { _ = sidecar.Close() }()
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	if f.idempotent {
		ctx = client.WithIdempotent(ctx)
	}
	var receipt *warmpoolv1.Receipt
	if f.receipt {
		ctx = client.WithReceipt(ctx, func(r *warmpoolv1.Receipt) { receipt = r })
	}
	response, err := sidecar.Do(ctx, request)
	if err != nil {
		return f.failed(err, std.err)
	}
	defer func() { _ = response.Body.Close() }()
	refused := f.fail && response.StatusCode >= http.StatusBadRequest
	out := &outlet{Writer: std.out, last: '\n'}
	if err := f.print(out, response, !refused); err != nil {
		if out.err != nil { // nobody reads it any more
			return out.err
		}
		return f.failed(err, std.err)
	}
	if receipt != nil && out.unfinished() && isTerminal(std.out) && isTerminal(std.err) {
		fmt.Fprintln(std.err) // there the receipt would begin on the body's last line
	}
	err = printReceipt(std.err, receipt)
	if err == nil && refused {
		err = &exitError{exitStatus, fmt.Errorf("the response's status is %d", response.StatusCode)}
	}
	return err
}

// print writes what was asked for of a response.
func (f *sendFlags) print(out *outlet, response *http.Response, withBody bool) error {
	if f.include {
		fmt.Fprintf(out, "%s %s\r\n", response.Proto, response.Status)
		writeFields(out, response.Header)
		fmt.Fprint(out, "\r\n")
	}
	body := io.Writer(out)
	if !withBody {
		body = io.Discard // read it is: trailers and receipt follow it
	}
	if _, err := io.Copy(body, response.Body); err != nil {
		return err
	}
	if f.include {
		writeFields(out, response.Trailer)
	}
	return out.err
}

// writeFields writes fields in the order of their names, the values of a name in
// that of the message.
func writeFields(out *outlet, fields http.Header) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		for _, value := range fields[name] {
			fmt.Fprintf(out, "%s: %s\r\n", name, value)
		}
	}
}

// outlet is an output that remembers how it ended.
type outlet struct {
	io.Writer

	last byte  // that was written; a line end before there is one
	err  error // the first one
}

// Write implements io.Writer.
func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if n > 0 {
		o.last = p[n-1]
	}
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// unfinished reports that the last line has no end.
func (o *outlet) unfinished() bool { return o.last != '\n' }
