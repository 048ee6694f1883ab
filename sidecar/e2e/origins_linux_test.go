package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool/dns/dnstest"
)

// Addresses of the namespace's loopback interface that are none of loopback, and those where clouds serve metadata.
const (
	private     = "10.7.7.1"
	alsoPrivate = "10.7.7.2"
	linkLocal   = "169.254.169.254"
	azure       = "168.63.129.16"
)

const originsConfig = `
listen: ["unix://%[1]s/data.sock", "tcp://%[2]s"]
control: ["off"]
admin: "%[3]s"
log: {format: text}
dynamic_origins: {allow: [%[4]s], like: own, max: %[7]d, max_idle_time: %[8]s}
upstreams:
  - {name: own, url: "http://127.0.0.1:%[5]d", dns: {servers: ["%[6]s"], min_ttl: 1s, max_ttl: 1s}}
`

// address gives the loopback interface one more address, with the network of its class.
func address(alias int, ip string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq(fmt.Sprintf("lo:%d", alias))
	if err != nil {
		return err
	}
	four := netip.MustParseAddr(ip).As4()
	if err := lo.SetInet4Addr(four[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, lo); err != nil {
		return fmt.Errorf("address %s: %w", ip, err)
	}
	return nil
}

// answering runs an HTTP server at an address, which counts the connections that it gets.
func answering(t *testing.T, at string) *atomic.Int64 {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	opened := new(atomic.Int64)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s at %s", r.Host, at) }),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return opened
}

// naming is a sidecar whose callers may name origins.
type naming struct {
	*sidecar
	caller

	dir, admin string
	port       int
	names      *dnstest.Server
	most       int
	idle       time.Duration
}

// allow writes the configuration: what callers may name.
func (n *naming) allow(t *testing.T, origins ...string) {
	t.Helper()
	writeFile(t, n.file, fmt.Sprintf(originsConfig, n.dir, n.tcp, n.admin, `"`+strings.Join(origins, `", "`)+`"`, n.port, n.names.Addr(), n.most, n.idle))
}

func startNaming(t *testing.T, port, most int, idle time.Duration, origins ...string) *naming {
	t.Helper()
	dir := folder(t)
	n := &naming{dir: dir, admin: loopback(freePort(t)), port: port, names: dnstest.Start(t), most: most, idle: idle}
	n.sidecar = &sidecar{unix: "unix://" + filepath.Join(dir, "data.sock"), tcp: loopback(freePort(t)), file: filepath.Join(dir, "warmpool.yaml")}
	n.allow(t, origins...)
	n.serve(t)
	n.caller = openGo(t, n.unix)
	return n
}

// refused sends to an origin and expects the reason.
func (n *naming) refused(t *testing.T, origin string, code codes.Code, reason warmpoolv1.Reason, says ...string) {
	t.Helper()
	_, err := n.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: origin})
	f := failureIn(err)
	if status.Code(err) != code || f.GetReason() != reason || f.GetDelivery() != warmpoolv1.Delivery_DELIVERY_NOT_SENT {
		t.Errorf("%s: %v, want %v, %v", origin, err, code, reason)
	}
	for _, text := range says {
		if !strings.Contains(f.GetMessage(), text) {
			t.Errorf("%s: %q does not say %q", origin, f.GetMessage(), text)
		}
	}
}

func TestOriginsThatCallersNameLeadToNoLocalAddress(t *testing.T) {
	inNamespace(t, nil, func(t *testing.T) {
		for i, ip := range []string{private, linkLocal, azure} {
			if err := address(i+1, ip); err != nil {
				t.Fatal(err)
			}
		}
		port := freePort(t)
		at := func(ip string) string { return netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port)).String() }
		good, byAddress := answering(t, at(private)), answering(t, at(alsoPrivate))
		traps := []*atomic.Int64{answering(t, at("127.0.0.1")), answering(t, at(linkLocal)), answering(t, at(azure))}
		if _, err := os.Stat("/proc/net/if_inet6"); !errors.Is(err, os.ErrNotExist) {
			traps = append(traps, answering(t, at("::1")))
		}
		trapped := func() (n int64) {
			for _, trap := range traps {
				n += trap.Load()
			}
			return n
		}
		named := func(host string) string { return "http://" + net.JoinHostPort(host, strconv.Itoa(port)) }
		pattern := named("*.origins.test")
		n := startNaming(t, port, 64, time.Minute, pattern, named(alsoPrivate))

		// The operator's own upstream may be at a local address.
		must(t, n, &warmpoolv1.HttpRequest{Upstream: "own"})
		before := trapped()
		if before == 0 {
			t.Fatal("the trap does not count")
		}

		n.names.Set("good.origins.test", "A 1 "+private)
		want := fmt.Sprintf("good.origins.test:%d at %s", port, at(private))
		if got := must(t, n, &warmpoolv1.HttpRequest{Upstream: named("good.origins.test")}); string(got.GetBody()) != want {
			t.Errorf("%q, want %q", got.GetBody(), want)
		}
		must(t, n, &warmpoolv1.HttpRequest{Upstream: named(alsoPrivate)})
		if good.Load() == 0 || byAddress.Load() == 0 {
			t.Errorf("%d connections to the one, %d to the other", good.Load(), byAddress.Load())
		}

		for i, record := range []string{
			"A 1 127.0.0.1", "A 1 127.9.9.9", "A 1 0.0.0.0", "A 1 " + linkLocal, "A 1 " + azure, "A 1 100.100.100.200", "A 1 224.0.0.1", "A 1 255.255.255.255",
			"AAAA 1 ::1", "AAAA 1 ::", "AAAA 1 fe80::1", "AAAA 1 fd00:ec2::254", "AAAA 1 64:ff9b::7f00:1", "AAAA 1 2002:7f00:1::",
		} {
			host := fmt.Sprintf("bad-%d.origins.test", i)
			n.names.Set(host, record)
			n.refused(t, named(host), codes.PermissionDenied, warmpoolv1.Reason_REASON_ADDRESS_FORBIDDEN, strings.Fields(record)[2])
		}
		// IPv4 addresses in records of IPv6 are not taken for addresses at all.
		n.names.Set("mapped.origins.test", "AAAA 1 ::ffff:127.0.0.1")
		n.refused(t, named("mapped.origins.test"), codes.Unavailable, warmpoolv1.Reason_REASON_DNS_FAILED)

		// DNS rebinding: the name is fine at first.
		rebound := named("rebound.origins.test")
		n.names.Set("rebound.origins.test", "A 1 "+private)
		must(t, n, &warmpoolv1.HttpRequest{Upstream: rebound})
		n.names.Set("rebound.origins.test", "A 1 127.0.0.1")
		eventually(t, "the rebound name leads nowhere", func() bool {
			_, err := n.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: rebound, Headers: []*warmpoolv1.Header{header("Connection", "close")}})
			return failureIn(err).GetReason() == warmpoolv1.Reason_REASON_ADDRESS_FORBIDDEN
		})
		n.names.Set("rebound.origins.test", "A 1 "+private)
		eventually(t, "the name leads to its server again", func() bool {
			_, err := n.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: rebound})
			return err == nil
		})

		// Of several addresses those are used that may be.
		n.names.Set("mixed.origins.test", "A 1 127.0.0.1", "A 1 "+private, "A 1 "+linkLocal)
		for range 20 {
			must(t, n, &warmpoolv1.HttpRequest{Upstream: named("mixed.origins.test"), Headers: []*warmpoolv1.Header{header("Connection", "close")}})
		}
		if got := trapped(); got != before {
			t.Errorf("%d connections were made to addresses that are refused", got-before)
		}
	})
}

func TestOriginsThatCallersNameComeAndGo(t *testing.T) {
	inNamespace(t, nil, func(t *testing.T) {
		if err := address(1, private); err != nil {
			t.Fatal(err)
		}
		port := freePort(t)
		answering(t, netip.AddrPortFrom(netip.MustParseAddr(private), uint16(port)).String())
		answering(t, loopback(port))
		named := func(host string) string { return "http://" + net.JoinHostPort(host, strconv.Itoa(port)) }
		pattern, own := named("*.origins.test"), named("127.0.0.1")
		n := startNaming(t, port, 3, time.Second, pattern, own)
		for _, label := range []string{"a", "b", "c", "d"} {
			n.names.Set(label+".origins.test", "A 1 "+private)
		}
		must(t, n, &warmpoolv1.HttpRequest{Upstream: own}) // the very address that the operator has allowed
		n.refused(t, named("a.b.origins.test"), codes.PermissionDenied, warmpoolv1.Reason_REASON_NOT_ALLOWED)
		n.refused(t, named("localhost"), codes.PermissionDenied, warmpoolv1.Reason_REASON_NOT_ALLOWED)
		n.refused(t, named("A.origins.test"), codes.InvalidArgument, warmpoolv1.Reason_REASON_INVALID_REQUEST, "lower case")

		// At most three.
		text := func() string { return n.process.log.String() }
		gone := func(origin string) int { return strings.Count(text(), `msg="upstream deleted" upstream=`+origin) }
		eventually(t, "room for three", func() bool { return gone(own) == 1 })
		eventually(t, "a fourth origin is refused", func() bool { // unless this took so long that one had to go meanwhile
			for _, label := range []string{"a", "b", "c", "d"} {
				_, err := n.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: named(label + ".origins.test")})
				switch {
				case failureIn(err).GetReason() == warmpoolv1.Reason_REASON_ORIGIN_LIMIT && status.Code(err) == codes.ResourceExhausted:
					return true
				case err != nil:
					t.Fatal(err)
				}
			}
			return false
		})
		begun := time.Now()
		eventually(t, "it is let in when another was not used for long enough", func() bool {
			_, err := n.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: named("d.origins.test")})
			return err == nil
		})
		t.Logf("that took %s", time.Since(begun).Round(10*time.Millisecond))

		response, err := http.Get("http://" + n.admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		metrics, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(metrics), `warmpool_responses_total{warmpool_upstream="_dynamic"}`) {
			t.Errorf("the metrics do not tell of dynamic origins:\n%s", metrics)
		}
		for _, text := range []string{"origins.test", private} {
			if strings.Contains(string(metrics), text) {
				t.Errorf("the metrics hold %q", text)
			}
		}

		// A reload takes the list anew.
		n.names.Set("e.origins.test", "A 1 "+private)
		n.allow(t, named("e.origins.test"))
		n.process.signal(syscall.SIGHUP)
		eventually(t, "the new list holds", func() bool {
			_, err := n.Send(t.Context(), &warmpoolv1.HttpRequest{Upstream: named("d.origins.test")})
			return failureIn(err).GetReason() == warmpoolv1.Reason_REASON_NOT_ALLOWED
		})
		must(t, n, &warmpoolv1.HttpRequest{Upstream: named("e.origins.test")})
		must(t, n, &warmpoolv1.HttpRequest{Upstream: "own"})
	})
}
