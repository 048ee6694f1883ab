//go:build !race

package sidecar_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// What an exchange allocates in the sidecar, gRPC's own included. Client and
// upstream are another process (load_test.go), so that this one's counter is the
// sidecar's. The race detector, which throws away much of what is kept for reuse,
// would count something else.
//
// A session's exchange allocates nothing of its own; what is left is gRPC's for
// each message, divided by the calls in it. A Send is a gRPC call each time.
func TestAnExchangeAllocatesLittleInTheSidecar(t *testing.T) {
	const n = 20_000
	l := startLoad(t)
	h := start(t, at("http://"+l.origin))
	l.tell("use " + h.Addrs().Data[0])
	for _, c := range []struct {
		how  string
		most float64 // allocations for each exchange
	}{
		{"session", 2},
		{"send", 54}, // grpc-go's own for a unary call, nearly all; 40 is the aim
	} {
		order := fmt.Sprintf("%s %d", c.how, n)
		l.tell(order) // connections are made, and what is kept for reuse
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l.tell(order)
		runtime.ReadMemStats(&after)
		got := float64(after.Mallocs-before.Mallocs) / n
		t.Logf("%s: %.2f allocations for each exchange", c.how, got)
		if got > c.most {
			t.Errorf("%s: %.2f allocations for each exchange, at most %v may be", c.how, got, c.most)
		}
	}
}

// loadProcess is the process that asks, and answers what it asks for.
type loadProcess struct {
	t      *testing.T
	orders io.Writer
	told   *bufio.Scanner
	origin string // address
}

func startLoad(t *testing.T) *loadProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self) // the test's context ends before its cleanup
	cmd.Env = append(os.Environ(), asLoad+"=1")
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	told, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := &loadProcess{t: t, orders: orders, told: bufio.NewScanner(told)}
	t.Cleanup(func() {
		_ = orders.Close() // it ends with its input
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process of the load: %v", err)
		}
	})
	l.origin = l.answer()
	return l
}

// tell gives an order and waits until it is carried out.
func (l *loadProcess) tell(order string) {
	l.t.Helper()
	if _, err := io.WriteString(l.orders, order+"\n"); err != nil {
		l.t.Fatal(err)
	}
	if got := l.answer(); got != "done" {
		l.t.Fatalf("%s: %s", order, got)
	}
}

func (l *loadProcess) answer() string {
	l.t.Helper()
	if !l.told.Scan() {
		l.t.Fatal("the process of the load has ended")
	}
	return strings.TrimSpace(l.told.Text())
}
