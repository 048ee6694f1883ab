package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// answerSlack is how much longer than --timeout the client waits: the sidecar
// keeps the time and says what it was spent on.
const answerSlack = 2 * time.Second

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
upstream. The response's body goes to standard output byte for byte; everything
else goes to standard error. Nothing is added to the request: no User-Agent, no
Accept, and no Content-Type with -d. Redirects are not followed.

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
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "header field 'Name: value', sent in the order given; repeatable")
	flags.StringArrayVarP(&f.data, "data", "d", nil, "body: the text itself, @FILE, or @- for standard input; nothing is stripped")
	flags.BoolVarP(&f.include, "include", "i", false, "print status line, header fields and trailers as well")
	flags.BoolVar(&f.receipt, "receipt", false, "print to standard error how the exchange was carried out")
	flags.BoolVarP(&f.fail, "fail", "f", false, "status 400 and above: no body, exit code 22")
	flags.BoolVar(&f.idempotent, "idempotent", false, "sending it twice does no harm: allow retries whatever the method")
	flags.DurationVar(&f.timeout, "timeout", 0, "time for the whole exchange, such as 500ms or 5s; 0: only the upstream's own limits")
	return cmd
}

// request makes the message from the command line.
func (f *sendFlags) request(upstream, path string, stdin io.Reader) (*warmpoolv1.HttpRequest, error) {
	request := &warmpoolv1.HttpRequest{
		Upstream: upstream, Method: f.method, Path: path,
		Options: &warmpoolv1.RequestOptions{Receipt: f.receipt, Idempotent: f.idempotent},
	}
	for what, text := range map[string]string{"upstream": upstream, "method": f.method, "path": path} {
		if !utf8.ValidString(text) {
			return nil, usage(fmt.Errorf("%s is %q, must be valid UTF-8; percent-encode other bytes of a path", what, text))
		}
	}
	switch {
	case f.timeout < 0:
		return nil, usage(fmt.Errorf("timeout is %s, must not be negative", f.timeout))
	case f.timeout > 0:
		request.Timeout = durationpb.New(f.timeout)
	}
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !utf8.ValidString(name) {
			return nil, usage(fmt.Errorf("header is %q, must be 'Name: value'", line))
		}
		header := &warmpoolv1.Header{Name: name}
		value = strings.Trim(value, " \t")
		if utf8.ValidString(value) {
			header.Value = value
		} else {
			header.RawValue = []byte(value)
		}
		request.Headers = append(request.Headers, header)
	}
	var err error
	request.Body, err = f.body(stdin)
	return request, err
}

func (f *sendFlags) body(stdin io.Reader) ([]byte, error) {
	switch len(f.data) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, usage(fmt.Errorf("data is given %d times, must be given once", len(f.data)))
	}
	switch name, isFile := strings.CutPrefix(f.data[0], "@"); {
	case !isFile:
		return []byte(name), nil
	case name == "-":
		body, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("data from standard input: %w", err)
		}
		return body, nil
	default:
		body, err := os.ReadFile(name)
		if err != nil {
			return nil, usage(fmt.Errorf("data: %w", err))
		}
		return body, nil
	}
}

func (f *sendFlags) send(ctx context.Context, request *warmpoolv1.HttpRequest, std streams) error {
	conn, err := f.socket.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout+answerSlack)
		defer cancel()
	}
	answer, err := warmpoolv1.NewHttpServiceClient(conn).Send(ctx, &warmpoolv1.SendRequest{Request: request})
	if err != nil {
		return f.failed(err, std.err)
	}
	response := answer.GetResponse()
	refused := f.fail && response.GetStatus() >= http.StatusBadRequest
	unfinished, err := f.print(std.out, response, !refused)
	if receipt := response.GetReceipt(); receipt != nil {
		if unfinished && isTerminal(std.out) && isTerminal(std.err) {
			fmt.Fprintln(std.err) // there the receipt would begin on the body's last line
		}
		err = errors.Join(err, printReceipt(std.err, receipt))
	}
	if err == nil && refused {
		err = &exitError{exitStatus, fmt.Errorf("the response's status is %d", response.GetStatus())}
	}
	return err
}

// print writes what was asked for of a response, and reports whether its last
// line has no end.
func (f *sendFlags) print(w io.Writer, response *warmpoolv1.HttpResponse, withBody bool) (unfinished bool, err error) {
	var out bytes.Buffer
	if f.include {
		// HTTP/1.1 is what the pool speaks; the phrase is the registered one, as the upstream's own says nothing more.
		fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", response.GetStatus(), http.StatusText(int(response.GetStatus())))
		writeFields(&out, response.GetHeaders())
		out.WriteString("\r\n")
	}
	if withBody {
		out.Write(response.GetBody())
	}
	if f.include {
		writeFields(&out, response.GetTrailers())
	}
	unfinished = out.Len() > 0 && out.Bytes()[out.Len()-1] != '\n'
	_, err = out.WriteTo(w)
	return unfinished, err
}

func writeFields(out *bytes.Buffer, fields []*warmpoolv1.Header) {
	for _, field := range fields {
		out.WriteString(field.GetName())
		out.WriteString(": ")
		out.WriteString(field.GetValue())
		out.Write(field.GetRawValue())
		out.WriteString("\r\n")
	}
}
