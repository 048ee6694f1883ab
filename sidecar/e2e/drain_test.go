package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

const drainConfig = `
drain: {grace: %[2]s}
upstreams:
  - name: app
    url: http://%[1]s
`

// launch makes a call that runs beside the test.
func launch(ctx context.Context, c caller, r *warmpoolv1.HttpRequest) <-chan callOutcome {
	ended := make(chan callOutcome, 1)
	go func() {
		response, err := c.Send(ctx, r)
		ended <- callOutcome{response, err}
	}()
	return ended
}

// refuses waits until nobody listens at addr any more.
func refuses(t *testing.T, addr string) {
	t.Helper()
	for end := time.Now().Add(stopLimit); time.Now().Before(end); <-time.After(pollPause) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = conn.Close()
	}
	t.Fatalf("%s still accepts connections", addr)
}

func TestACallThatRunsWhenTheSignalComesIsAnsweredAndNewConnectionsAreRefused(t *testing.T) {
	t.Parallel()
	a := startApp(t, makeCertificates(t))
	for _, front := range allFronts {
		t.Run(front.name, func(t *testing.T) {
			t.Parallel()
			s := startSidecar(t, drainConfig, a.plain.addr, "20s")
			name := fmt.Sprintf("drain-%d", serial.Add(1))
			gate := a.gates.at(name)
			c := front.open(t, s)
			running := launch(t.Context(), c, &warmpoolv1.HttpRequest{Upstream: "app", Path: "/own/gate/" + name})
			<-gate.entered
			s.process.signal(syscall.SIGTERM)
			refuses(t, s.tcp)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			// One that comes on an open connection before the client has heard of the drain is still taken.
			r, err := c.Send(ctx, &warmpoolv1.HttpRequest{Upstream: "app", Path: "/get"})
			if taken := err == nil && r.GetStatus() == 200; !taken && status.Code(err) != codes.Unavailable {
				t.Errorf("a call during the drain: status %d, %v, want UNAVAILABLE", r.GetStatus(), err)
			}
			gate.release()
			if o := <-running; o.err != nil || string(o.response.GetBody()) != name {
				t.Errorf("the running call: %q, %v", o.response.GetBody(), o.err)
			}
			s.wait(t)
		})
	}
}

func TestACallThatOutlastsTheGraceFailsWithWhatIsKnownOfIt(t *testing.T) {
	t.Parallel()
	a := startApp(t, makeCertificates(t))
	s := startSidecar(t, drainConfig, a.plain.addr, "100ms")
	gate := a.gates.at("never")
	running := launch(t.Context(), openGo(t, s.unix), &warmpoolv1.HttpRequest{Upstream: "app", Method: "POST", Path: "/own/gate/never"})
	<-gate.entered
	s.stop(t)
	o := <-running
	expectFailure(t, o.err, codes.Unavailable, warmpoolv1.Reason_REASON_DRAINING, warmpoolv1.Delivery_DELIVERY_UNKNOWN)
}

func TestEveryCallUnderLoadEndsRightOrWithATrueFailureWhenTheSignalComes(t *testing.T) {
	t.Parallel()
	certs := makeCertificates(t)
	n := startNginx(t, startApp(t, certs), certs, nginxSettings{})
	s := startSidecar(t, idleConfig, loopback(n.plain))
	l := &load{upstream: "nginx", caller: openGo(t, s.unix), endAtFailure: true}
	l.run(t, 16, func() {
		l.await(t, 300)
		s.stop(t)
	})
	answered, refused := 0, 0
	carriedOut := strings.Join(n.requests(t), "\n")
	for _, o := range l.outcomes {
		switch {
		case o.err == nil:
			answered++
		case status.Code(o.err) != codes.Unavailable:
			t.Errorf("%s %s: %v, want UNAVAILABLE", o.method, o.id, o.err)
		default:
			refused++
			if strings.Contains(carriedOut, "?id="+o.id+" ") {
				t.Errorf("%s %s failed, and nginx has carried it out: %v", o.method, o.id, o.err)
			}
		}
	}
	t.Logf("%d answered, %d refused", answered, refused)
}
