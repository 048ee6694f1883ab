package h1test

import (
	"bytes"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

//go:embed testdata/*.json
var builtin embed.FS

// Cases returns the cases that come with the package: those of testdata/cases.json,
// and those of testdata/rows.json, which go through RFC 9112 rule by rule and
// fault by fault.
func Cases() []Case {
	var cases []Case
	for _, name := range []string{"cases.json", "rows.json"} {
		data, err := builtin.ReadFile("testdata/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		more, err := Parse(data)
		if err != nil {
			panic("h1test: embedded " + name + ": " + err.Error())
		}
		cases = append(cases, more...)
	}
	return cases
}

// Load reads cases from a file. A key that the format does not have, a value out
// of range or a name used twice is an error that names the case.
func Load(path string) ([]Case, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("h1test: load cases: %w", err)
	}
	cases, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("h1test: %s: %w", path, err)
	}
	return cases, nil
}

// Parse reads cases as [Load] does.
func Parse(data []byte) ([]Case, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("not a list of cases: %w", err)
	}
	cases := make([]Case, len(raw))
	names := make(map[string]bool, len(raw))
	for i, r := range raw {
		var id struct {
			Name string `json:"name"`
		}
		// A wrong type is reported by the strict reading below.
		_ = json.Unmarshal(r, &id)
		if id.Name == "" {
			id.Name = "#" + strconv.Itoa(i)
		}
		c := &cases[i]
		if err := strict(r, c); err != nil {
			return nil, fmt.Errorf("case %s: %w", id.Name, err)
		}
		if err := c.Validate(); err != nil {
			return nil, fmt.Errorf("case %s: %w", id.Name, err)
		}
		if names[c.Name] {
			return nil, fmt.Errorf("case %s: the name is used twice", c.Name)
		}
		names[c.Name] = true
	}
	return cases, nil
}

func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data behind the value")
	}
	return nil
}

// Strictness says what a result outside the alternatives means.
type Strictness string

// Must is an RFC MUST or a rule of safety; Should is reported as a deviation;
// Either marks behaviour that the RFCs leave open.
const (
	Must   Strictness = "must"
	Should Strictness = "should"
	Either Strictness = "either"
)

// Case is one scripted origin, the calls made to it, and the right results.
type Case struct {
	Name       string     `json:"name"`
	Group      string     `json:"group"`
	Strictness Strictness `json:"strictness"`
	Source     string     `json:"source"` // section of the RFC
	Note       string     `json:"note"`
	Slow       bool       `json:"slow"` // takes more than 0.5 s by design

	Transport string         `json:"transport"` // "tls", or "" for plain TCP
	Requires  []string       `json:"requires"`  // features that the client must have
	Client    ClientSettings `json:"client"`

	// Warmup is the number of connections that carry a GET /__warm each, at the
	// same time, before the script starts. They are then idle.
	Warmup int `json:"warmup"`
	// StartDelay is how long after the script the first call starts.
	StartDelay Millis `json:"start_delay_ms"`

	Request CallSpec   `json:"request"`
	More    []FollowUp `json:"more"`
	Script  []Step     `json:"script"`

	Expect Expectation   `json:"expect"`
	Accept []Expectation `json:"accept"` // alternatives to Expect
}

// Missing returns the first feature which the case needs and f lacks, or "".
func (c *Case) Missing(f Features) string {
	for _, r := range c.Requires {
		if !f[r] {
			return r
		}
	}
	return ""
}

// ClientSettings overrides what [Config] holds by default.
type ClientSettings struct {
	MaxConns           *int    `json:"max_conns"`               // 1
	Pipelining         *int    `json:"pipelining"`              // 1
	HeaderTimeout      *Millis `json:"header_timeout_ms"`       // 400
	BodyIdleTimeout    *Millis `json:"body_idle_timeout_ms"`    // 400
	ExpectContinueWait *Millis `json:"expect_continue_wait_ms"` // 200
	MaxHeadBytes       *int    `json:"max_head_bytes"`          // 65536
	MaxHeaderCount     *int    `json:"max_header_count"`        // 200
	MaxChunkLineBytes  *int    `json:"max_chunk_line_bytes"`    // 4096
	MaxBodyBytes       *int64  `json:"max_body_bytes"`          // none
}

func (s *ClientSettings) config() Config {
	return Config{
		MaxConns:           or(s.MaxConns, 1),
		Pipelining:         or(s.Pipelining, 1),
		HeaderTimeout:      or(s.HeaderTimeout, 400).Duration(),
		BodyIdleTimeout:    or(s.BodyIdleTimeout, 400).Duration(),
		ExpectContinueWait: or(s.ExpectContinueWait, 200).Duration(),
		IdleTimeout:        time.Minute,
		MaxHeadBytes:       or(s.MaxHeadBytes, 65536),
		MaxHeaderCount:     or(s.MaxHeaderCount, 200),
		MaxChunkLineBytes:  or(s.MaxChunkLineBytes, 4096),
		MaxBodyBytes:       or(s.MaxBodyBytes, 0),
	}
}

func or[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}

// CallSpec is a call as a case describes it.
type CallSpec struct {
	Method         Text      `json:"method"`
	Path           Text      `json:"path"`
	Headers        [][2]Text `json:"headers"`
	Body           Text      `json:"body"`
	BodyRepeat     *Repeat   `json:"body_repeat"`     // instead of Body
	BodyReplayable *bool     `json:"body_replayable"` // true
	Timeout        Millis    `json:"timeout_ms"`      // of the whole call; 0 is none
}

func (s *CallSpec) call() Call {
	c := Call{
		Method:     string(s.Method),
		Path:       string(s.Path),
		Body:       []byte(s.Body),
		Replayable: or(s.BodyReplayable, true),
		Timeout:    s.Timeout.Duration(),
	}
	for _, h := range s.Headers {
		c.Headers = append(c.Headers, [2]string{string(h[0]), string(h[1])})
	}
	if s.BodyRepeat != nil {
		c.Body = s.BodyRepeat.bytes()
	}
	return c
}

// FollowUp is a call behind the first.
type FollowUp struct {
	// Start is "after": Delay after the previous call's outcome; or "pipelined":
	// right behind the previous call, without waiting for it.
	Start   string        `json:"start"`
	Delay   Millis        `json:"delay_ms"`
	Request CallSpec      `json:"request"`
	Expect  Expectation   `json:"expect"`
	Accept  []Expectation `json:"accept"`
}

// Expectation is one right result of a call. What is nil or absent is not
// checked.
type Expectation struct {
	Outcome    string                `json:"outcome"` // "response" or "error"
	Status     *int                  `json:"status"`
	Body       *Text                 `json:"body"`
	BodyLen    *int                  `json:"body_len"`
	Headers    map[string]FieldMatch `json:"headers"`
	Trailers   map[string]FieldMatch `json:"trailers"`
	TunnelData *Text                 `json:"tunnel_data"`
	Error      ErrorKind             `json:"error"`
	// Reusable true: the next request uses the same connection; false: another
	// one, and the client closes this one within 500 ms. Cases with More show
	// this by their script and are not probed.
	Reusable *bool `json:"reusable"`
	// Retried is whether the origin saw the same method and path again.
	Retried *bool `json:"retried"`
}

// FieldMatch is what the values of one field must be. The values of several
// lines may have been joined by ", ", but for Set-Cookie.
type FieldMatch struct {
	Absent bool
	Values []string
}

// UnmarshalJSON takes a string, a list of strings, or null for Absent.
func (m *FieldMatch) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		m.Absent = true
		return nil
	}
	var one Text
	if json.Unmarshal(data, &one) == nil {
		m.Values = []string{string(one)}
		return nil
	}
	var list []Text
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("field value %s: a string, a list of strings or null is allowed", data)
	}
	m.Values = make([]string, len(list))
	for i, v := range list {
		m.Values[i] = string(v)
	}
	return nil
}

// Text holds bytes. In JSON each is the code point of the same number.
type Text string

// UnmarshalJSON refuses code points above 255.
func (t *Text) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil // leaves a *Text nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return fmt.Errorf("text %q: code point %U is not a byte; Latin-1 is allowed", s, r)
		}
		b = append(b, byte(r))
	}
	*t = Text(b)
	return nil
}

// Hex holds bytes written as hexadecimal digits; white space is ignored.
type Hex []byte

// UnmarshalJSON decodes the digits.
func (h *Hex) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	b, err := hex.DecodeString(string(bytes.Join(bytes.Fields([]byte(s)), nil)))
	if err != nil {
		return fmt.Errorf("send_hex %q: %w", s, err)
	}
	*h = b
	return nil
}

// Millis is a time in milliseconds.
type Millis int64

// Duration is m as Go has it.
func (m Millis) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// Repeat is a text many times over.
type Repeat struct {
	Text  Text `json:"text"`
	Count int  `json:"count"`
}

func (r *Repeat) bytes() []byte { return bytes.Repeat([]byte(r.Text), r.Count) }
