package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// Inherited is the i-th file given by the process that started this one.
func Inherited(i int) *os.File { return os.NewFile(uintptr(firstInherited+i), "inherited") }

// firstInherited is the descriptor of the first file given to a child process;
// 0 to 2 are its standard streams.
const firstInherited = 3

// InheritedListener is the i-th listener given by the process that started
// this one. That one binds, so that nobody waits for a port to be bound or has
// to guess a free one.
func InheritedListener(i int) (net.Listener, error) {
	f := Inherited(i)
	l, err := net.FileListener(f)
	err = errors.Join(err, f.Close()) // l has a descriptor of its own
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is no listener; this command is started by the one that measures: %w",
			firstInherited+i, err)
	}
	return l, nil
}

// AnswerLines answers each JSON value of in with one on out, until in ends. It
// stops at the first error.
func AnswerLines[Q, A any](in io.Reader, out io.Writer, answer func(Q) (A, error)) error {
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q Q
		if err := questions.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("standard input: %w", err)
		}
		a, err := answer(q)
		if err != nil {
			return err
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}
