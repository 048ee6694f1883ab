package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/link"
	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/netns"
)

// ends are two namespaces with a line between them, while a test runs.
func ends(t *testing.T, s link.Setting) (near, far *netns.Namespace) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	namespace := func() *netns.Namespace {
		n, err := netns.New()
		if lacking, ok := errors.AsType[*netns.UnavailableError](err); ok {
			unavailable(t, lacking.Error())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	near, far = namespace(), namespace()
	a, b := netip.MustParseAddr(nearAddress), netip.MustParseAddr(farAddress)
	tun := func(n *netns.Namespace, local, other netip.Addr) *os.File {
		f, err := n.Tun(device, local, other)
		if lacking, ok := errors.AsType[*netns.UnavailableError](err); ok {
			unavailable(t, lacking.Error())
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	line, err := link.New(s, tun(near, a, b), tun(far, b, a))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- line.Run() }()
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return near, far
}

// unavailable ends a test that cannot run here: skipped, or failed where
// everything is required.
func unavailable(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("E2E_REQUIRE") != "" && os.Geteuid() == 0 {
		t.Fatal(what)
	}
	t.Skip(what)
}

func TestTheKernelsAtBothEndsSeeTheDelay(t *testing.T) {
	const oneWay = 20 * time.Millisecond
	near, far := ends(t, link.Setting{OneWay: oneWay})
	var l net.Listener
	if err := far.Do(func() (err error) {
		l, err = net.Listen("tcp", farAddress+":80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()

	fd, began := -1, time.Now()
	if err := near.Do(func() (err error) { // a blocking socket: the net package would dial on any thread
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet4{Port: 80, Addr: netip.MustParseAddr(farAddress).As4()})
	}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*oneWay {
		t.Errorf("the handshake took %s, cannot take less than %s", took, 2*oneWay)
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	sent := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		f.Write(sent)
		syscall.Shutdown(fd, syscall.SHUT_WR)
	}()
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d came back: %v", len(got), len(sent), err)
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	if rtt := time.Duration(info.Min_rtt) * time.Microsecond; rtt < 2*oneWay {
		t.Errorf("the kernel has seen a round trip of %s, cannot be less than %s", rtt, 2*oneWay)
	}
}

func TestNamespacesHaveSettingsOfTheirOwn(t *testing.T) {
	const file = "/proc/sys/net/ipv4/tcp_slow_start_after_idle"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	near, far := ends(t, link.Setting{OneWay: time.Millisecond})
	read := func(n *netns.Namespace) (text string) {
		if err := n.Do(func() error {
			b, err := os.ReadFile(file)
			text = strings.TrimSpace(string(b))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, value := range []string{"0", "1"} {
		if err := near.Set(map[string]string{"tcp_slow_start_after_idle": value}); err != nil {
			t.Fatal(err)
		}
		if got := read(near); got != value {
			t.Errorf("near: %q, want %q", got, value)
		}
	}
	if got, want := read(far), strings.TrimSpace(string(before)); got != want {
		t.Errorf("far: %q, want %q, untouched", got, want)
	}
	if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
		t.Errorf("this process's namespace went from %q to %q", before, after)
	}
}

func TestARouteNamesTheCongestionControl(t *testing.T) {
	near, _ := ends(t, link.Setting{OneWay: time.Millisecond})
	far := netip.MustParseAddr(farAddress)
	if err := near.Congestion(device, far, "reno"); err != nil {
		t.Fatal(err)
	}
	var used string
	if err := near.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 80, Addr: far.As4()}); !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		used, err = unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if used != "reno" {
		t.Errorf("a connection uses %q, want reno", used)
	}
	if err := near.Congestion(device, far, "no-such"); err == nil || !strings.Contains(err.Error(), `congestion control "no-such"`) {
		t.Errorf("an unknown congestion control: %v", err)
	}
}
