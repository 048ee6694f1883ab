package pool

import "github.com/warmpool-dev/warmpool/pool/h1"

// Sink takes a response as it arrives. Its methods are called one after another,
// by the goroutine that reads the connection; while one runs nothing more is read
// from it, so a sink that is slow slows the upstream down. What they are given is
// valid only during the call.
//
// An exchange that is sent again starts over before its sink has been told
// anything.
type Sink interface {
	// Head takes the head of the final response. length is the body's, or -1 when
	// only its end will tell. An error ends the exchange, and its connection.
	Head(head *h1.Head, length int64) error
	// Body takes a piece of the body. An error ends the exchange, and its connection.
	Body(piece []byte) error
	// End is called once, last, from whichever goroutine ended the exchange: with
	// the trailers of a complete response, or with what went wrong. The exchange is
	// the caller's again: End may start it anew.
	End(trailers []h1.Field, failure *Error)
}

// InterimSink is a Sink that wants interim responses too (RFC 9110, 15.2), but
// for 100, which is the connection's own affair.
type InterimSink interface {
	Sink
	Interim(head *h1.Head)
}

// PlacedSink is a Sink with memory of its own into which a body of known length
// is read without a copy.
type PlacedSink interface {
	Sink
	// Space is where the next bytes go, at most n; nil: give them to Body.
	Space(n int64) []byte
	// Filled tells that the first n bytes of that space were read. An error ends the
	// exchange, and its connection.
	Filled(n int) error
}

// whole is the sink of Do: it collects a response in memory.
type whole struct {
	response Response
	failure  *Error
	done     chan struct{} // receives one value at the end
}

func (w *whole) Head(head *h1.Head, length int64) error {
	w.response.Status = head.Status
	w.response.Fields = head.AppendFields(nil)
	if length > 0 {
		w.response.Body = make([]byte, 0, length)
	}
	return nil
}

func (w *whole) Body(piece []byte) error {
	w.response.Body = append(w.response.Body, piece...)
	return nil
}

func (w *whole) Space(n int64) []byte {
	body := w.response.Body
	return body[len(body):min(int64(len(body))+n, int64(cap(body)))]
}

func (w *whole) Filled(n int) error {
	w.response.Body = w.response.Body[:len(w.response.Body)+n]
	return nil
}

func (w *whole) End(trailers []h1.Field, failure *Error) {
	w.response.Trailers, w.failure = trailers, failure
	w.done <- struct{}{}
}
