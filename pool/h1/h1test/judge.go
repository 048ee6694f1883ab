package h1test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict is how a case ended.
type Verdict uint8

// Pass matches an alternative. Deviation does so but for the kind of error, or
// departs from a SHOULD. Fail departs from a MUST, or from everything that the
// RFCs leave open. Skip was not played.
const (
	Pass Verdict = iota
	Deviation
	Fail
	Skip
)

func (v Verdict) String() string {
	switch v {
	case Pass:
		return "pass"
	case Deviation:
		return "deviation"
	case Fail:
		return "fail"
	case Skip:
		return "skip"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Result is the verdict on one case.
type Result struct {
	Name, Group string
	Strictness  Strictness
	Verdict     Verdict
	Reason      string   // why it is not Pass, one line
	Details     []string // everything that was wrong
	KindOnly    bool     // a Deviation in nothing but the kind of an error
	Transcript  string   // what the origin saw and did
	Elapsed     time.Duration
}

// Skipped is the result of a case that was not played.
func Skipped(c Case, reason string) Result {
	return Result{Name: c.Name, Group: c.Group, Strictness: c.Strictness, Verdict: Skip, Reason: reason}
}

// Explain is everything known about the result, for a test's log.
func (r *Result) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s (%s): %v", r.Group, r.Name, r.Strictness, r.Verdict)
	for _, d := range r.Details {
		b.WriteString("\n  " + d)
	}
	if r.Transcript != "" {
		b.WriteString("\n" + r.Transcript)
	}
	return b.String()
}

func (r *Result) fail(details ...string) {
	r.Verdict = Fail
	if r.Strictness == Should {
		r.Verdict = Deviation
	}
	r.Details = append(r.Details, details...)
	r.Reason = r.Details[0]
}

// judge holds what happened against the alternatives.
func (r *Result) judge(p *player, calls []*call) {
	p.mu.Lock()
	failures := slices.Clone(p.failures)
	p.mu.Unlock()
	if len(failures) > 0 {
		r.fail(failures...)
	}
	var kinds []string
	for i, c := range calls {
		if c.hung {
			continue
		}
		alternatives := append([]Expectation{p.c.Expect}, p.c.Accept...)
		if i > 0 {
			m := &p.c.More[i-1]
			alternatives = append([]Expectation{m.Expect}, m.Accept...)
		}
		wrong, kind := p.compare(calls, c, alternatives)
		if wrong != nil {
			r.fail(wrong...)
		} else if kind != "" {
			kinds = append(kinds, kind)
		}
	}
	if r.Verdict == Pass && len(kinds) > 0 {
		r.Verdict, r.KindOnly, r.Details, r.Reason = Deviation, true, kinds, kinds[0]
	}
}

// compare finds the alternative that matches. Without one it says how each
// differs; kind is what it says when only the kind of error is another.
func (p *player) compare(calls []*call, c *call, alternatives []Expectation) (wrong []string, kind string) {
	got := fmt.Sprintf("%s: %v", c.what, c.outcome)
	var kinds []string
	for i := range alternatives {
		e := &alternatives[i]
		diff := p.differences(calls, c, e)
		sameKind := e.Outcome != "error" || c.outcome.Err == e.Error
		switch {
		case diff == nil && sameKind:
			return nil, ""
		case diff == nil:
			kinds = append(kinds, string(e.Error))
		}
		wrong = append(wrong, fmt.Sprintf("%s; alternative %d (%s) differs: %s", got, i, e.summary(), strings.Join(diff, "; ")))
	}
	if kinds != nil {
		return nil, fmt.Sprintf("%s; only the kind of error differs, expected is %s", got, strings.Join(kinds, " or "))
	}
	return wrong, ""
}

func (e *Expectation) summary() string {
	if e.Outcome == "error" {
		return string(e.Error)
	}
	return fmt.Sprintf("response %d", or(e.Status, 0))
}

// differences lists what about a call is not as expected, the kind of error
// aside.
func (p *player) differences(calls []*call, c *call, e *Expectation) []string {
	var d []string
	differ := func(format string, args ...any) { d = append(d, fmt.Sprintf(format, args...)) }
	o := &c.outcome
	failed := o.Err != NoError
	switch {
	case failed != (e.Outcome == "error"):
		differ("outcome is not %s", e.Outcome)
	case !failed:
		o.differences(e, differ)
	}
	if e.Retried != nil {
		times, asked := p.o.seen(c.Method, c.Path), 0
		for _, other := range calls {
			if other.Method == c.Method && other.Path == c.Path {
				asked++
			}
		}
		if retried := times > asked; retried != *e.Retried {
			differ("retried is %t (seen %d times for %d calls)", retried, times, asked)
		}
	}
	if e.Reusable != nil && p.reuse.probed {
		switch {
		case p.reuse.trouble != "":
			differ("reusable is not %t: %s", *e.Reusable, p.reuse.trouble)
		case p.reuse.same != *e.Reusable:
			differ("reusable is %t", p.reuse.same)
		}
	}
	return d
}

func (o *Outcome) differences(e *Expectation, differ func(string, ...any)) {
	if e.Status != nil && o.Status != *e.Status {
		differ("status is %d, not %d", o.Status, *e.Status)
	}
	if e.Body != nil && string(o.Body) != string(*e.Body) {
		differ("body is %s, not %s", quote(o.Body), quote(string(*e.Body)))
	}
	if e.BodyLen != nil && len(o.Body) != *e.BodyLen {
		differ("body has %d bytes, not %d", len(o.Body), *e.BodyLen)
	}
	if e.TunnelData != nil && string(o.Tunnel) != string(*e.TunnelData) {
		differ("tunnel data is %s, not %s", quote(o.Tunnel), quote(string(*e.TunnelData)))
	}
	for name, m := range e.Headers {
		if got := values(o.Headers, name); !m.matches(name, got) {
			differ("header %s is %q, not %v", name, got, m)
		}
	}
	for name, m := range e.Trailers {
		if got := values(o.Trailers, name); !m.matches(name, got) {
			differ("trailer %s is %q, not %v", name, got, m)
		}
	}
}

func (m FieldMatch) String() string {
	if m.Absent {
		return "absent"
	}
	return fmt.Sprintf("%q", m.Values)
}

func (m FieldMatch) matches(name string, got []string) bool {
	switch {
	case m.Absent:
		return got == nil
	case got == nil:
		return false
	case slices.Equal(got, m.Values):
		return true
	}
	return !strings.EqualFold(name, "Set-Cookie") && strings.Join(got, ", ") == strings.Join(m.Values, ", ")
}

func (o Outcome) String() string {
	if o.Err != NoError {
		return fmt.Sprintf("error %s (%s)", o.Err, o.Detail)
	}
	s := fmt.Sprintf("response %d, body %s", o.Status, quote(o.Body))
	if len(o.Trailers) > 0 {
		s += fmt.Sprintf(", trailers %q", o.Trailers)
	}
	if o.Tunnel != nil {
		s += ", tunnel " + quote(o.Tunnel)
	}
	return s
}
