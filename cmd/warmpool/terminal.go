package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// isTerminal reports whether a person may be looking at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// style marks up text for a terminal, and leaves it alone elsewhere and where
// NO_COLOR is set (no-color.org).
type style bool

func styleOf(w io.Writer) style { return style(isTerminal(w) && os.Getenv("NO_COLOR") == "") }

func (s style) bold(text string) string { return s.with("1", text) }
func (s style) dim(text string) string  { return s.with("2", text) }

func (s style) with(code, text string) string {
	if !s {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// progressDelay keeps what ends within a second from flickering.
const progressDelay = time.Second

// showProgress draws on w, when it is a terminal, how far something has come,
// until stop is called. stop wipes it and returns when nothing more is drawn.
func showProgress(w io.Writer, what string, done func() int, total int) (stop func()) {
	if !isTerminal(w) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pause(ctx, progressDelay)
		if ctx.Err() != nil {
			return
		}
		for ctx.Err() == nil {
			fmt.Fprintf(w, "\r%s", progressLine(what, done(), total))
			pause(ctx, 100*time.Millisecond)
		}
		fmt.Fprint(w, "\r\x1b[K")
	}()
	return func() { cancel(); <-ended }
}

func progressLine(what string, done, total int) string {
	const width = 30
	filled := width * done / max(total, 1)
	return fmt.Sprintf("  [%s%s] %3d %%  %s\x1b[K", strings.Repeat("#", filled), strings.Repeat(".", width-filled), 100*done/max(total, 1), what)
}
