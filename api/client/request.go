package client

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// defaultUserAgent is what http.Transport sends in the absence of another.
const defaultUserAgent = "Go-http-client/1.1"

// plan is a request, checked, and what is decided about it. It does not change.
type plan struct {
	req      *http.Request
	ctx      context.Context // the call's, which need not be the request's
	wish     wish
	trace    *httptrace.ClientTrace // nil: none
	upstream string
	target   string // as it goes on the wire
	host     string // value of Host; empty: the upstream's own
	length   int64  // of the body; -1: unknown

	idempotent  bool // by method, by a field, or by the caller's word
	promised    bool // the caller's word is to be passed on
	gzip        bool // compression is asked for here, and undone here
	expects     bool // Expect: 100-continue, with a body
	lastOfMany  bool // Connection: close is to be added
	eventStream bool
}

// newPlan checks a request as http.Transport does. The failure is of the request
// itself; nothing was sent.
func (c *Client) newPlan(ctx context.Context, req *http.Request) (p plan, failure *Failure) {
	p = plan{req: req, ctx: ctx, wish: wishOf(ctx), trace: httptrace.ContextClientTrace(ctx)}
	switch {
	case req.URL == nil:
		return p, invalid("Request.URL is nil")
	case req.Header == nil:
		return p, invalid("Request.Header is nil")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return p, invalid(fmt.Sprintf("the URL's scheme is %q, must be http or https", req.URL.Scheme))
	case req.URL.Host == "":
		return p, invalid("the URL has no host: it must be an upstream's name, or mapped to one by client.Upstreams")
	case req.Method != "" && !isToken(req.Method):
		return p, invalid(fmt.Sprintf("method %q is no token", req.Method))
	}
	p.length = bodyLength(req)
	if req.ContentLength != 0 && req.Body == nil {
		return p, invalid(fmt.Sprintf("Request.ContentLength is %d, but there is no body", req.ContentLength))
	}
	if failure = checkFields("header", req.Header); failure != nil {
		return p, failure
	}
	if failure = checkFields("trailer", req.Trailer); failure != nil {
		return p, failure
	}
	var mapped bool
	p.upstream, mapped = c.routes.upstream(req.URL)
	if !isVisible(p.upstream) {
		return p, invalid(fmt.Sprintf("the URL's host %q is no upstream's name", req.URL.Host))
	}
	p.target = req.URL.RequestURI()
	if !isVisible(p.target) {
		return p, invalid(fmt.Sprintf("path and query %q hold bytes that must be percent-encoded", p.target))
	}
	if req.Host != "" && req.Host != req.URL.Host {
		p.host = req.Host
	} else if mapped {
		p.host = strings.TrimSuffix(req.URL.Host, ":")
	}
	p.host = withoutZone(p.host)
	if !isVisible(p.host) {
		return p, invalid(fmt.Sprintf("Request.Host is %q, must be host or host:port", req.Host))
	}
	c.decide(&p)
	return p, nil
}

// withoutZone takes the zone out of an IPv6 address, as http.Transport does: it means
// something on the sender's machine alone (RFC 6874, 4).
func withoutZone(host string) string {
	end := strings.LastIndexByte(host, ']')
	if start := strings.IndexByte(host, '%'); host != "" && host[0] == '[' && 0 < start && start < end {
		return host[:start] + host[end:]
	}
	return host
}

// decide settles what the fields say.
func (c *Client) decide(p *plan) {
	h := p.req.Header
	p.promised = p.wish.idempotent
	for _, key := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		// As with http.Transport a key without a value is a promise that is not sent.
		if _, ok := h[key]; ok {
			p.promised = true
		}
	}
	p.idempotent = p.promised || idempotent(p.req.Method)
	// What http.Transport asks of an upstream, and when it does.
	p.gzip = !c.options.plain && h.Get("Accept-Encoding") == "" && h.Get("Range") == "" && p.req.Method != http.MethodHead
	p.expects = p.length != 0 && hasToken(h["Expect"], "100-continue")
	p.lastOfMany = p.req.Close && !hasToken(h["Connection"], "close")
	p.eventStream = strings.Contains(h.Get("Accept"), "text/event-stream")
}

// streams decides between Session and Stream for the request itself; its encoded
// size decides as well.
func (c *Client) streams(p *plan) bool {
	return c.options.stream || p.wish.stream || p.eventStream ||
		p.length != 0 && !p.fits() ||
		len(p.req.Trailer) > 0 ||
		p.trace != nil && p.trace.Got1xxResponse != nil ||
		c.large.has(p.place())
}

func (p *plan) place() place {
	path, _, _ := strings.Cut(p.target, "?")
	return place{p.upstream, path}
}

// failed is f as it is given out.
func (p *plan) failed(f *Failure) *Failure {
	f.idempotent = p.idempotent
	if f.Reason == warmpoolv1.Reason_REASON_DEADLINE_EXCEEDED {
		if deadline, ok := p.ctx.Deadline(); ok && time.Until(deadline) <= answerTime {
			<-p.ctx.Done() // the sidecar was told a little less: callers look at their context as well
		}
	}
	return f
}

// answerTime is how much earlier than the caller's deadline a sidecar's ends, at
// most.
const answerTime = 20 * time.Millisecond

// timeAllowed is how long the sidecar may take: a little less than the context, so
// that its answer, which knows what became of the request, is here before the
// context ends the call and nothing more can be said. 0: there is no limit.
func (p *plan) timeAllowed() time.Duration {
	deadline, ok := p.ctx.Deadline()
	if !ok {
		return 0
	}
	left := time.Until(deadline)
	return max(left-min(left/50, answerTime), time.Nanosecond)
}

// bodyLength is the number of bytes in a request's body: 0 for none, -1 for
// unknown.
func bodyLength(req *http.Request) int64 {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return 0
	case req.ContentLength <= 0 || len(req.TransferEncoding) > 0 && req.TransferEncoding[0] == "chunked":
		return -1
	}
	return req.ContentLength
}

// rarelyBodied reports whether a body of unknown length is likely to be none.
func rarelyBodied(method string) bool {
	switch method {
	case "", "GET", "HEAD", "OPTIONS", "DELETE", "PROPFIND", "SEARCH":
		return true
	}
	return false
}

// idempotent reports whether a method may be carried out twice (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "", "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// checkFields refuses names and values that no message can carry.
func checkFields(part string, fields http.Header) *Failure {
	for name, values := range fields {
		if !isToken(name) {
			return invalid(fmt.Sprintf("%s name %q is no token", part, name))
		}
		for _, v := range values {
			if i := badValue(v); i >= 0 {
				// The value may be a secret: only its place is told.
				return invalid(fmt.Sprintf("the value of %s %s has byte %#02x at %d; no control character but HTAB is allowed", part, name, v[i], i))
			}
		}
	}
	return nil
}

// badValue is where a field's value has a byte that is not allowed (RFC 9110, 5.5),
// or -1.
func badValue(v string) int {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokenBytes = func() (table [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		table[c] = true
	}
	return table
}()

// isVisible reports whether s holds visible ASCII only, and so no blank.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// hasToken reports whether lists of tokens have a member, given in lower case.
func hasToken(lists []string, token string) bool {
	return slices.ContainsFunc(lists, func(list string) bool {
		for member := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(member), token) {
				return true
			}
		}
		return false
	})
}

// wroteHeaders tells the trace that the head is on its way.
func (p *plan) wroteHeaders() {
	if p.trace == nil {
		return
	}
	if p.trace.WroteHeaders != nil {
		p.trace.WroteHeaders()
	}
	if p.expects && p.trace.Wait100Continue != nil {
		p.trace.Wait100Continue()
	}
}

// wroteRequest tells the trace that all of the request is, or why not.
func (p *plan) wroteRequest(err error) {
	if p.trace != nil && p.trace.WroteRequest != nil {
		p.trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
}

// wrote tells the trace of a request that is sent in one piece.
func (p *plan) wrote(err error) {
	if p.trace != nil {
		p.wroteHeaders()
		p.wroteRequest(err)
	}
}

func (p *plan) gotFirstByte() {
	if p.trace != nil && p.trace.GotFirstResponseByte != nil {
		p.trace.GotFirstResponseByte()
	}
}

// receipt hands a receipt to who asked for it.
func (p *plan) receipt(r *warmpoolv1.Receipt) {
	if r != nil && p.wish.receipt != nil {
		p.wish.receipt(r)
	}
}
