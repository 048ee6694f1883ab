package h1

import (
	"fmt"
	"strconv"
)

// Kind says what became of a response that could not be read.
type Kind uint8

const (
	// Malformed: the bytes break the protocol, or leave a doubt about framing.
	Malformed Kind = iota + 1
	// TooLarge: a limit of Limits was passed.
	TooLarge
	// Truncated: the connection ended after the first byte of the response and
	// before its last.
	Truncated
	// Closed: the connection ended before any byte of the response.
	Closed
)

var kindNames = [...]string{Malformed: "malformed", TooLarge: "too_large", Truncated: "truncated", Closed: "closed"}

// String returns the kind in lower case: "malformed", "too_large", "truncated" or "closed".
func (k Kind) String() string { return enumName(kindNames[:], k, "Kind") }

// ParseError is the error of Parse and EOF. It is final for the response and for
// the connection: what follows on the connection cannot be trusted.
type ParseError struct {
	Kind Kind
	// Offset is the number of bytes from Start to the first byte that is wrong, or,
	// for Truncated and Closed, to where the input ended.
	Offset int64
	// What tells what was wrong, with the offending bytes quoted and shortened, and
	// what is allowed there.
	What string
}

func (e *ParseError) Error() string {
	switch e.Kind {
	case Closed:
		return "response: " + e.What
	case TooLarge:
		return "response too large at byte " + strconv.FormatInt(e.Offset, 10) + ": " + e.What
	default:
		return e.Kind.String() + " response at byte " + strconv.FormatInt(e.Offset, 10) + ": " + e.What
	}
}

// RequestError says why a request cannot be sent. No byte of it was written.
type RequestError struct {
	// Part is what was refused: "method", "target", "host", "length", "header name",
	// "header value", "trailer name" or "trailer value".
	Part string
	// Name is the field's name when Part is about a field.
	Name string
	// Value is what was refused, redacted when it may hold credentials.
	Value string
	// Reason says what is wrong with it and what is allowed.
	Reason string
}

func (e *RequestError) Error() string {
	msg := "request " + e.Part
	if e.Name != "" {
		msg += " of field " + quote(e.Name)
	}
	if e.Value != "" {
		if e.Value == redacted {
			msg += " " + redacted
		} else {
			msg += " " + quote(e.Value)
		}
	}
	return msg + ": " + e.Reason
}

const redacted = "(redacted)"

// valueError refuses a field's value. part is "header" or "trailer".
func valueError(part string, f Field, reason string) *RequestError {
	e := &RequestError{Part: part + " value", Name: f.Name, Value: f.Value, Reason: reason}
	switch fieldOf(f.Name) {
	case fieldAuthorization, fieldProxyAuthorization, fieldCookie, fieldSetCookie:
		e.Value = redacted
	}
	return e
}

// quotedBytes is how much of an offending value an error shows.
const quotedBytes = 64

// quote returns s quoted in ASCII, cut to quotedBytes.
func quote[T text](s T) string {
	if len(s) <= quotedBytes {
		return strconv.QuoteToASCII(string(s))
	}
	return strconv.QuoteToASCII(string(s[:quotedBytes])) + fmt.Sprintf("... (%d bytes)", len(s))
}

// enumName returns the name of v, or its number for a value that has none.
func enumName[T ~uint8](names []string, v T, typeName string) string {
	if int(v) < len(names) && names[v] != "" {
		return names[v]
	}
	return typeName + "(" + strconv.Itoa(int(v)) + ")"
}
