package h1_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// outcome is all that a reader of a response can learn from a Parser.
type outcome struct {
	Interims []string // status and end-to-end fields of each
	Status   int
	Minor    int
	Reason   string
	Raw      string // all fields as received
	Fields   string // end-to-end fields
	Body     string
	Trailers string
	Persist  h1.Persistence
	Hint     h1.KeepAlive
	ViaOld   bool
	Started  bool
	Ended    bool
	Rest     string // input that was left over
	Kind     h1.Kind
	Offset   int64
	What     string
	toHead   bool // set by those who need it: the request was a HEAD
}

// ending is what follows the last byte of input.
type ending int

const (
	open  ending = iota // nothing
	fin                 // a clean end
	reset               // an abnormal one
)

// lines formats fields one a line, as "name: value".
func lines(fields []h1.Field) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.String()
}

func rawLines(fields []h1.RawField) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.String()
}

// play feeds the pieces to a parser as a connection would: unconsumed bytes are
// presented again, in new memory each time, with the next piece behind them.
func play(t testing.TB, to h1.ResponseTo, end ending, pieces ...string) outcome {
	t.Helper()
	var p h1.Parser
	return playOn(t, &p, to, end, pieces...)
}

func playOn(t testing.TB, p *h1.Parser, to h1.ResponseTo, end ending, pieces ...string) (o outcome) {
	t.Helper()
	p.Start(to)
	defer func() {
		o.Persist, o.Hint, o.ViaOld, o.Started = p.Persist(), p.KeepAlive(), p.ViaOld(), p.Started()
	}()
	fail := func(err error) {
		parseError, ok := errors.AsType[*h1.ParseError](err)
		if !ok {
			t.Fatalf("error of type %T: %v", err, err)
		}
		o.Kind, o.Offset, o.What = parseError.Kind, parseError.Offset, parseError.What
		if _, _, again := p.Parse([]byte("x")); again != err {
			t.Fatalf("error is not final: %v, then %v", err, again)
		}
	}
	buffer := ""
	for _, piece := range pieces {
		buffer += piece
		for !o.Ended {
			in := []byte(buffer)
			n, event, err := p.Parse(in)
			if string(in) != buffer {
				t.Fatal("Parse wrote to its input")
			}
			if n < 0 || n > len(in) {
				t.Fatalf("Parse consumed %d of %d bytes", n, len(in))
			}
			if err != nil {
				if n != 0 {
					t.Fatalf("Parse consumed %d bytes with an error", n)
				}
				fail(err)
				return o
			}
			if event == h1.Body {
				if len(p.Chunk()) == 0 {
					t.Fatal("Body event without a chunk")
				}
				o.Body += string(p.Chunk())
			}
			switch event {
			case h1.Interim:
				o.Interims = append(o.Interims, fmt.Sprintf("%d\n%s", p.Head().Status, lines(p.Head().AppendFields(nil))))
			case h1.HeadDone:
				h := p.Head()
				o.Status, o.Minor, o.Reason, o.Raw = h.Status, h.Minor, string(h.Reason), rawLines(h.Fields)
				o.Fields = lines(h.AppendFields(nil))
				yielded := ""
				for name, value := range h.EndToEnd {
					yielded += fmt.Sprintf("%s: %s\n", name, value)
				}
				if yielded != o.Fields {
					t.Fatalf("EndToEnd yields %q, AppendFields %q", yielded, o.Fields)
				}
			case h1.End:
				o.Ended = true
				o.Trailers = lines(p.AppendTrailers(nil))
			}
			buffer = buffer[n:]
			if event == h1.More {
				break
			}
		}
	}
	o.Rest = buffer
	if end == open {
		return o
	}
	event, err := p.EOF(end == fin)
	if err != nil {
		fail(err)
		return o
	}
	if event != h1.End {
		t.Fatalf("EOF returned %v without an error", event)
	}
	o.Ended = true
	return o
}

// bytewise cuts s into single bytes.
func bytewise(s string) []string { return strings.Split(s, "") }

// describe formats an outcome for comparison.
func describe(o outcome) string { return fmt.Sprintf("%+v", o) }
