package h1

import (
	"fmt"

	"golang.org/x/net/http/httpguts"
)

// Request is one request as a caller wants it. Fill the exported fields, call
// Prepare, and leave them alone afterwards: what AppendHead writes was checked then.
// A Request may be prepared again after a change, and its head appended any number
// of times.
type Request struct {
	// Method is a token, sent as it is (methods are case-sensitive). CONNECT is refused.
	Method string
	// Target is the request target as it goes on the wire: origin-form ("/a?b"), or
	// "*" with OPTIONS (RFC 9112, 3.2).
	Target string
	// Host is the value of the Host field, unless Fields carries exactly one of its own.
	Host string
	// Fields are sent in this order, duplicates included, without the whitespace
	// around their values. The hop-by-hop ones and those that a Connection field
	// nominates are not sent (RFC 9110, 7.6.1), except that "close", "TE: trailers"
	// and an upgrade are stated anew where they apply. No field can remove Host or
	// the framing.
	Fields []Field
	// Length is the number of body bytes: 0 for none, -1 for unknown. A body of
	// unknown length is sent chunked, unless Fields has a Content-Length, which then
	// is the length. Where both are known they must agree.
	Length int64

	plan plan
}

// plan is what Prepare found out.
type plan struct {
	prepared    bool
	close       bool   // the caller's Connection has "close"
	expect      bool   // Expect: 100-continue, and there is a body
	keepExpect  bool   // the Expect field, whatever it says, is sent
	trailers    bool   // TE has the member "trailers"
	stateLength bool   // Content-Length is written
	body        int64  // body bytes, -1: chunked
	host        string // value of Host
	ownHost     bool   // it is the caller's
	upgrade     string // offered protocols
	options     []string
	size        int // upper bound of the head's bytes
}

// Prepare checks the request and plans its head. The error is a *RequestError.
// After an error the request must not be sent.
func (r *Request) Prepare() error {
	r.plan = plan{options: r.plan.options[:0], body: r.Length}
	if err := r.checkStart(); err != nil {
		return err
	}
	if err := r.planFields(); err != nil {
		return err
	}
	if err := r.planBody(); err != nil {
		return err
	}
	r.plan.prepared = true
	return nil
}

// SetHost exchanges Host of a request that is prepared, because it goes to
// another server than it was made for. The value must be a valid one.
func (r *Request) SetHost(host string) {
	r.Host = host
	if !r.plan.ownHost {
		r.plan.host = host
	}
}

// WantsClose reports whether the caller's Connection field has the option "close":
// the connection ends with this exchange (RFC 9112, 9.6).
func (r *Request) WantsClose() bool { return r.plan.close }

// ExpectsContinue reports whether the head asks for a 100 (Continue) before the
// body. It is false for a request without body, where the field is dropped
// (RFC 9110, 10.1.1).
func (r *Request) ExpectsContinue() bool { return r.plan.expect }

// Upgrade returns the protocols that the caller offers to switch to: the value of
// Upgrade when Connection nominates it, else "". They are only sent when
// HeadOptions.Upgrade asks for it.
func (r *Request) Upgrade() string { return r.plan.upgrade }

// BodyLength returns how many bytes of body the head announces, and -1 when the
// body is chunked. It differs from Length when that is -1 and Fields has a
// Content-Length.
func (r *Request) BodyLength() int64 { return r.plan.body }

// checkStart checks what becomes the request line (RFC 9112, 3).
func (r *Request) checkStart() error {
	switch {
	case r.Method == "":
		return &RequestError{Part: "method", Reason: "is empty; a token such as GET is needed"}
	case badToken(r.Method) >= 0:
		return &RequestError{Part: "method", Value: r.Method, Reason: fmt.Sprintf(
			"byte %#02x at %d is not allowed; letters, digits and !#$%%&'*+-.^_`|~ are", r.Method[badToken(r.Method)], badToken(r.Method))}
	case r.Method == "CONNECT":
		return &RequestError{Part: "method", Value: r.Method, Reason: "tunnels are not supported; use any other method"}
	case r.Target == "":
		return &RequestError{Part: "target", Reason: `is empty; a path that starts with "/" is needed`}
	case r.Target == "*" && r.Method == "OPTIONS":
		return nil
	case r.Target[0] != '/':
		return &RequestError{Part: "target", Value: r.Target, Reason: `must start with "/" (or be "*" with OPTIONS); scheme and host belong to the upstream`}
	}
	for i := range len(r.Target) {
		if c := r.Target[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return &RequestError{Part: "target", Value: r.Target, Reason: fmt.Sprintf(
				"byte %#02x at %d is not allowed; percent-encode spaces, controls, \"#\" and everything beyond ASCII", c, i)}
		}
	}
	return nil
}

// planFields checks the fields and notes what they say about the connection.
func (r *Request) planFields() error {
	p := &r.plan
	p.host = r.Host
	p.size = len(r.Method) + len(r.Target) + len(r.Host) + fixedHeadBytes
	hosts, nominatesUpgrade, declared := 0, false, int64(-1)
	for _, f := range r.Fields {
		if err := checkField("header", f); err != nil {
			return err
		}
		p.size += len(f.Name) + len(f.Value) + len(": \r\n")
		switch fieldOf(f.Name) {
		case fieldHost:
			if hosts++; hosts > 1 {
				return &RequestError{Part: "host", Value: f.Value, Reason: "a second Host field; exactly one is allowed"}
			}
			p.host, p.ownHost = trim(f.Value), true
		case fieldContentLength:
			n, ok := parseDecimal(trim(f.Value))
			if !ok {
				return valueError("header", f, "not a length; decimal digits up to 2^63-1 are needed, or no such field")
			}
			if declared >= 0 && declared != n {
				return valueError("header", f, fmt.Sprintf("differs from the %d of an earlier line; state one length", declared))
			}
			declared = n
		case fieldConnection:
			for member, rest := cutMember(f.Value); ; member, rest = cutMember(rest) {
				switch optionOf(member) {
				case optionClose:
					p.close = true
				case optionUpgrade:
					nominatesUpgrade = true
				case optionOther:
					if len(p.options) == maxOptions {
						return valueError("header", f, fmt.Sprintf("more than %d connection options", maxOptions))
					}
					p.options = append(p.options, member)
				}
				if rest == "" {
					break
				}
			}
		case fieldTE:
			p.trailers = p.trailers || hasMember(f.Value, "trailers")
		case fieldUpgrade:
			if v := trim(f.Value); p.upgrade == "" {
				p.upgrade = v
			} else if v != "" {
				p.upgrade += ", " + v
			}
		case fieldExpect:
			p.keepExpect = true
			p.expect = p.expect || hasMember(f.Value, "100-continue")
		}
	}
	if !nominatesUpgrade {
		p.upgrade = ""
	}
	if declared >= 0 {
		if r.Length >= 0 && declared != r.Length {
			return &RequestError{
				Part: "header value", Name: "Content-Length", Value: fmt.Sprint(declared),
				Reason: fmt.Sprintf("the body has %d bytes; the two must agree, or the field be left out", r.Length),
			}
		}
		p.body = declared
		p.stateLength = true
	}
	return checkHost(p.host)
}

// planBody decides the framing (RFC 9112, 6; RFC 9110, 8.6).
func (r *Request) planBody() error {
	p := &r.plan
	if r.Length < -1 {
		return &RequestError{Part: "length", Value: fmt.Sprint(r.Length), Reason: "0 or more is allowed, or -1 for unknown"}
	}
	if p.body != 0 {
		if r.Method == "TRACE" {
			return &RequestError{Part: "method", Value: r.Method, Reason: "TRACE must not have a body (RFC 9110, 9.3.8)"}
		}
		p.stateLength = p.body > 0
	} else {
		// A length of zero is stated where the method gives a body a meaning, and not
		// where it does not. What an extension method means is not known here: the
		// caller's own Content-Length decides, and leaving it out also means zero.
		switch r.Method {
		case "POST", "PUT", "PATCH":
			p.stateLength = true
		case "GET", "HEAD", "DELETE", "OPTIONS", "TRACE":
			p.stateLength = false
		}
		p.expect, p.keepExpect = false, false
	}
	if p.keepExpect && r.nominated("Expect") {
		p.expect, p.keepExpect = false, false
	}
	return nil
}

// nominated reports whether the caller's Connection field names the field.
func (r *Request) nominated(name string) bool {
	for _, option := range r.plan.options {
		if sameName(option, name) {
			return true
		}
	}
	return false
}

// checkField checks a field's name and value (RFC 9110, 5.1 and 5.5). part is
// "header" or "trailer".
func checkField(part string, f Field) error {
	if f.Name == "" {
		return &RequestError{Part: part + " name", Reason: "is empty; a token such as Accept is needed"}
	}
	if i := badToken(f.Name); i >= 0 {
		return &RequestError{Part: part + " name", Value: f.Name, Reason: fmt.Sprintf(
			"byte %#02x at %d is not allowed; letters, digits and !#$%%&'*+-.^_`|~ are", f.Name[i], i)}
	}
	if i := badValue(f.Value); i >= 0 {
		return valueError(part, f, fmt.Sprintf(
			"byte %#02x at %d is not allowed; no control character but HTAB is", f.Value[i], i))
	}
	return nil
}

// checkHost checks the value of Host (RFC 9110, 7.2).
func checkHost(host string) error {
	if host == "" {
		return &RequestError{Part: "host", Reason: "is empty; host or host:port is needed"}
	}
	valid := httpguts.ValidHostHeader(host)
	for i := range len(host) {
		switch host[i] {
		case '@':
			return &RequestError{Part: "host", Value: redacted, Reason: `userinfo is not allowed; host or host:port is`}
		case ',':
			valid = false
		}
	}
	if !valid {
		return &RequestError{Part: "host", Value: host, Reason: "only host or host:port is allowed, non-ASCII names in their ASCII form"}
	}
	return nil
}

// hasMember reports whether a list of tokens has the member, given in lower case.
func hasMember(list, lower string) bool {
	for member, rest := cutMember(list); ; member, rest = cutMember(rest) {
		if equalFold(member, lower) {
			return true
		}
		if rest == "" {
			return false
		}
	}
}
