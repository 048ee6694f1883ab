package h1test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Step is one thing the origin does or waits for. Exactly one of the verbs is
// set; the rest qualifies it.
type Step struct {
	// Reading. A request is read with its body, Head without: the origin then
	// takes no more from the socket until a later step reads.
	ExpectRequest     bool `json:"expect_request"`
	ExpectRequestHead bool `json:"expect_request_head"`
	ExpectBody        bool `json:"expect_body"`          // the rest of the body of such a request
	ExpectBodyOrClose bool `json:"expect_body_or_close"` // the same, or the client closes
	// ExpectNoData: no byte may arrive for that long.
	ExpectNoData *Millis `json:"expect_no_data_ms"`
	// ExpectClosed: the client must close within that time.
	ExpectClosed *Millis `json:"expect_closed_ms"`
	TLSNotify    bool    `json:"tls_notify"` // ... with a closure alert
	// AcceptNew: the client must open another connection, which becomes current.
	AcceptNew bool `json:"accept_new"`

	// Writing. What goes to a connection that is closed already is lost silently.
	Send       *Text   `json:"send"`
	SendHex    *Hex    `json:"send_hex"`
	SendRepeat *Repeat `json:"send_repeat"`
	SendSplit  []Text  `json:"send_split"` // each part in a write of its own
	Gap        Millis  `json:"gap_ms"`     // between the parts

	// Wait does nothing for that long; reading goes on unless NoRead.
	Wait   *Millis `json:"wait_ms"`
	NoRead bool    `json:"no_read"`

	// Close is "fin": no more is sent, what comes is read until the client
	// closes, over TLS without an alert; "rst": reset at once; "tls_notify":
	// closure alert, then as fin.
	Close string `json:"close"`

	// Conn is the connection meant, the current one when nil.
	Conn *ConnRef `json:"conn"`
	// On is "any" when a request may come on any open connection, or on a new
	// one; that one becomes current.
	On       string   `json:"on"`
	Optional Optional `json:"optional"`

	// Checks on a request. Has holds field values, "*" for any, an element of a
	// list counts; Lacks names fields that must not be there; Count is the number
	// of lines with that name; NotBoth names fields of which one must be missing.
	Method  *Text           `json:"method"`
	Path    *Text           `json:"path"`
	Body    *Text           `json:"body"`
	Has     map[string]Text `json:"has"`
	Lacks   []string        `json:"lacks"`
	Count   map[string]int  `json:"count"`
	NotBoth []string        `json:"not_both"`
}

// ConnRef names a connection by its number, or all of them.
type ConnRef struct {
	All   bool
	Index int
}

// UnmarshalJSON takes a number or "all".
func (r *ConnRef) UnmarshalJSON(data []byte) error {
	if string(data) == `"all"` {
		r.All = true
		return nil
	}
	if err := json.Unmarshal(data, &r.Index); err != nil || r.Index < 0 {
		return fmt.Errorf("conn %s: a number from 0 or \"all\" is allowed", data)
	}
	return nil
}

// Optional says what happens when a step waits in vain for 200 ms, or until
// every call has ended.
type Optional uint8

// Required fails the case, SkipRest ends the script, SkipStep goes on with the
// next step.
const (
	Required Optional = iota
	SkipRest
	SkipStep
)

// UnmarshalJSON takes true, false or "step".
func (o *Optional) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "true":
		*o = SkipRest
	case "false":
		*o = Required
	case `"step"`:
		*o = SkipStep
	default:
		return fmt.Errorf("optional %s: true, false or \"step\" is allowed", data)
	}
	return nil
}

// verbs lists the keys of the verbs that are set.
func (s *Step) verbs() []string {
	var v []string
	add := func(name string, set bool) {
		if set {
			v = append(v, name)
		}
	}
	add("expect_request", s.ExpectRequest)
	add("expect_request_head", s.ExpectRequestHead)
	add("expect_body", s.ExpectBody)
	add("expect_body_or_close", s.ExpectBodyOrClose)
	add("expect_no_data_ms", s.ExpectNoData != nil)
	add("expect_closed_ms", s.ExpectClosed != nil)
	add("accept_new", s.AcceptNew)
	add("send", s.Send != nil)
	add("send_hex", s.SendHex != nil)
	add("send_repeat", s.SendRepeat != nil)
	add("send_split", s.SendSplit != nil)
	add("wait_ms", s.Wait != nil)
	add("close", s.Close != "")
	return v
}

func (s *Step) readsRequest() bool { return s.ExpectRequest || s.ExpectRequestHead }

func (s *Step) String() string { return strings.Join(s.verbs(), "+") }

// Validate reports the first thing in the case that the format does not allow.
func (c *Case) Validate() error {
	switch {
	case c.Name == "":
		return errors.New("no name")
	case c.Group == "":
		return errors.New("no group")
	case !slices.Contains([]Strictness{Must, Should, Either}, c.Strictness):
		return fmt.Errorf("strictness %q: must, should or either is allowed", c.Strictness)
	case !slices.Contains([]string{"", "tcp", "tls"}, c.Transport):
		return fmt.Errorf("transport %q: tcp or tls is allowed", c.Transport)
	case c.Warmup < 0 || c.Warmup > or(c.Client.MaxConns, 1):
		return fmt.Errorf("warmup %d: 0 to max_conns (%d) is allowed", c.Warmup, or(c.Client.MaxConns, 1))
	}
	if err := validateCall("request", &c.Request, &c.Expect, c.Accept); err != nil {
		return err
	}
	for i := range c.More {
		m := &c.More[i]
		at := fmt.Sprintf("more[%d]", i)
		if m.Start != "after" && m.Start != "pipelined" {
			return fmt.Errorf("%s: start %q: after or pipelined is allowed", at, m.Start)
		}
		if err := validateCall(at, &m.Request, &m.Expect, m.Accept); err != nil {
			return err
		}
	}
	for i := range c.Script {
		if err := c.Script[i].validate(c.Transport == "tls"); err != nil {
			return fmt.Errorf("script[%d]: %w", i, err)
		}
	}
	return nil
}

func validateCall(at string, call *CallSpec, expect *Expectation, accept []Expectation) error {
	if call.Method == "" {
		return fmt.Errorf("%s: no method", at)
	}
	if r := call.BodyRepeat; r != nil && r.Count < 0 {
		return fmt.Errorf("%s: body_repeat count %d: 0 or more is allowed", at, r.Count)
	}
	for i, e := range append([]Expectation{*expect}, accept...) {
		what := fmt.Sprintf("%s: expect", at)
		if i > 0 {
			what = fmt.Sprintf("%s: accept[%d]", at, i-1)
		}
		switch e.Outcome {
		case "response":
			if e.Error != NoError {
				return fmt.Errorf("%s: error %q of a response", what, e.Error)
			}
		case "error":
			if !slices.Contains([]ErrorKind{Closed, Truncated, Malformed, TooLarge, Timeout}, e.Error) {
				return fmt.Errorf("%s: error %q: closed, truncated, malformed, too_large or timeout is allowed", what, e.Error)
			}
		default:
			return fmt.Errorf("%s: outcome %q: response or error is allowed", what, e.Outcome)
		}
	}
	return nil
}

func (s *Step) validate(overTLS bool) error {
	v := s.verbs()
	if len(v) != 1 {
		return fmt.Errorf("verbs %v: exactly one is allowed", v)
	}
	awaits := s.readsRequest() || s.AcceptNew || s.ExpectBody || s.ExpectBodyOrClose
	checks := s.Method != nil || s.Path != nil || s.Body != nil || s.Has != nil || s.Lacks != nil || s.Count != nil || s.NotBoth != nil
	switch {
	case s.Close != "" && !slices.Contains([]string{"fin", "rst", "tls_notify"}, s.Close):
		return fmt.Errorf("close %q: fin, rst or tls_notify is allowed", s.Close)
	case (s.Close == "tls_notify" || s.TLSNotify) && !overTLS:
		return errors.New("tls_notify: only with transport tls")
	case s.TLSNotify && s.ExpectClosed == nil:
		return errors.New("tls_notify: only with expect_closed_ms")
	case s.NoRead && s.Wait == nil:
		return errors.New("no_read: only with wait_ms")
	case s.Gap != 0 && s.SendSplit == nil:
		return errors.New("gap_ms: only with send_split")
	case s.SendRepeat != nil && s.SendRepeat.Count < 0:
		return fmt.Errorf("send_repeat count %d: 0 or more is allowed", s.SendRepeat.Count)
	case s.On != "" && (s.On != "any" || !s.readsRequest()):
		return fmt.Errorf("on %q: only any, with expect_request or expect_request_head, is allowed", s.On)
	case s.Optional != Required && !awaits:
		return fmt.Errorf("optional: not with %s", v[0])
	case checks && !s.readsRequest() && (!s.ExpectBody && !s.ExpectBodyOrClose || s.Body == nil):
		return fmt.Errorf("checks on a request: not with %s", v[0])
	case s.Body != nil && s.ExpectRequestHead:
		return errors.New("body: not with expect_request_head")
	case s.Conn != nil && (s.AcceptNew || s.On != "" || s.Conn.All && s.readsRequest()):
		return fmt.Errorf("conn: not with %s here", v[0])
	}
	return nil
}
