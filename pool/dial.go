package pool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// dialer makes an upstream's connections: TCP, then TLS where the origin is https.
type dialer struct {
	policy *Policy
	tls    *tls.Config // nil for plain HTTP
	tcp    func(ctx context.Context, network, address string) (net.Conn, error)
	below  int           // Options.DescriptorsBelow
	turn   atomic.Uint32 // of the source addresses
}

// dialTimes is what a connection's handshakes took.
type dialTimes struct{ connect, handshake time.Duration }

// newDialer makes a dialer. secured is nil for plain HTTP.
func newDialer(o *Options, policy *Policy, secured *tls.Config) *dialer {
	d := &dialer{policy: policy, tls: secured, tcp: o.Dial, below: o.DescriptorsBelow}
	if o.Dial == nil {
		d.tcp = d.connect
	}
	return d
}

// tlsConfig is what TLS is spoken with to o; nil for plain HTTP. It holds the
// sessions that can be resumed.
func tlsConfig(policy *TLSPolicy, o origin) *tls.Config {
	if !o.tls {
		return nil
	}
	c := &tls.Config{
		RootCAs:            policy.RootCAs,
		Certificates:       policy.Certificates,
		ServerName:         policy.ServerName,
		MinVersion:         policy.MinVersion,
		InsecureSkipVerify: policy.InsecureSkipVerify, //nolint:gosec // the operator's explicit choice
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(max(1, policy.SessionCache)),
	}
	if c.ServerName == "" {
		c.ServerName = o.name()
	}
	return c
}

// connect makes a TCP connection with the policy's socket options, from the
// source address whose turn it is.
func (d *dialer) connect(ctx context.Context, network, address string) (net.Conn, error) {
	policy := &d.policy.TCP
	from := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: policy.KeepAliveIdle >= 0,
			Idle:   policy.KeepAliveIdle, Interval: policy.KeepAliveInterval, Count: policy.KeepAliveCount,
		},
		Control: func(_, _ string, c syscall.RawConn) error {
			if err := d.leavesOthers(c); err != nil {
				return err
			}
			return setSocketOptions(c, policy)
		},
	}
	sources := d.sources(address)
	if len(sources) == 0 {
		return from.DialContext(ctx, network, address)
	}
	var failed error
	for range sources { // an address that has no port left does not stop the others
		from.LocalAddr = &net.TCPAddr{IP: sources[int(d.turn.Add(1))%len(sources)].AsSlice()}
		c, err := from.DialContext(ctx, network, address)
		if err == nil || !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return c, err
		}
		failed = err
	}
	return nil, failed
}

// leavesOthers reports an error where c has a descriptor that is kept for other
// uses of the process.
func (d *dialer) leavesOthers(c syscall.RawConn) error {
	if d.below == 0 {
		return nil
	}
	var number int
	if err := c.Control(func(fd uintptr) { number = int(fd) }); err != nil {
		return err
	}
	if number >= d.below {
		return &descriptorsKept{d.below}
	}
	return nil
}

// descriptorsKept is EMFILE while some are left, for others.
type descriptorsKept struct{ below int }

func (e *descriptorsKept) Error() string {
	return fmt.Sprintf("%v: connections have those below %d, the rest is kept for other uses", syscall.EMFILE, e.below)
}

// Unwrap is what it would be a little later.
func (*descriptorsKept) Unwrap() error { return syscall.EMFILE }

// sources are the source addresses of the family that address is of.
func (d *dialer) sources(address string) []netip.Addr {
	all := d.policy.TCP.SourceAddresses
	to, err := netip.ParseAddrPort(address)
	if err != nil || len(all) == 0 {
		return all
	}
	var fit []netip.Addr
	for _, source := range all {
		if source.Is4() == to.Addr().Is4() {
			fit = append(fit, source)
		}
	}
	return fit
}

// dial connects to one endpoint; connected is called when TLS begins. The noticer
// sees what happens below TLS.
func (d *dialer) dial(ctx context.Context, to netip.AddrPort, connected func()) (net.Conn, *noticer, dialTimes, *dialFailure) {
	var times dialTimes
	if failure := d.policy.refuses(to); failure != nil {
		return nil, nil, times, failure
	}
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, d.policy.ConnectTimeout)
	tcp, err := d.tcp(limited, "tcp", to.String())
	cancel()
	times.connect = time.Since(begun)
	if err != nil {
		return nil, nil, times, connectFailure(to, d.policy.ConnectTimeout, err)
	}
	n := newNoticer(tcp, d.tls != nil)
	if d.tls == nil {
		return tcp, n, times, nil
	}
	connected()
	begun = time.Now()
	limited, cancel = context.WithTimeout(ctx, d.policy.TLSHandshakeTimeout)
	defer cancel()
	secured := tls.Client(n, d.tls)
	err = secured.HandshakeContext(limited)
	times.handshake = time.Since(begun)
	if err == nil {
		if proto := secured.ConnectionState().NegotiatedProtocol; proto != "" && proto != "http/1.1" {
			err = fmt.Errorf("the server chose the protocol %q, only http/1.1 is spoken", proto)
		}
	}
	if err != nil {
		_ = tcp.Close() // the handshake's error is the one that counts
		return nil, nil, times, handshakeFailure(to, d.policy.TLSHandshakeTimeout, err)
	}
	return secured, n, times, nil
}

func connectFailure(to netip.AddrPort, limit time.Duration, err error) *dialFailure {
	f := &dialFailure{endpoint: to, reason: ReasonDialFailed, detail: fmt.Sprintf("connecting to %s failed", to), err: plain(err)}
	var network net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		f.reason = ReasonDialRefused
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.reason = ReasonNoLocalPort
	case errors.Is(err, syscall.EMFILE):
		f.err = fmt.Errorf("%w; raise the process's limit (ulimit -n) or lower connections.max", f.err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT),
		errors.As(err, &network) && network.Timeout():
		f.reason = ReasonDialTimeout
		f.detail, f.err = fmt.Sprintf("connecting to %s took longer than timeouts.connect (%s)", to, limit), nil
	}
	return f
}

func handshakeFailure(to netip.AddrPort, limit time.Duration, err error) *dialFailure {
	f := &dialFailure{endpoint: to, reason: ReasonTLSFailed, detail: fmt.Sprintf("the TLS handshake with %s failed", to), err: err}
	var (
		network   net.Error
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &verify), errors.As(err, &authority):
		f.permanent = true
		f.err = nameCertificate(err, time.Now())
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		f.reason = ReasonDialTimeout
		f.detail, f.err = fmt.Sprintf("the TLS handshake with %s took longer than timeouts.tls_handshake (%s)", to, limit), nil
	}
	return f
}

// plain drops the outer layers of a dial error that only repeat the address.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}

// stoppable gives a dial what ends it.
func (s *slot) stoppable(ctx context.Context) { s.ctx, s.stop = context.WithCancel(ctx) }

// connected takes note that a dial has come as far as TLS.
func (u *Upstream) connected(s *slot) {
	u.mu.Lock()
	s.connected = true
	u.mu.Unlock()
}

// begins takes note that a dial which had to wait for others' begins now.
func (u *Upstream) begins(s *slot) {
	now := u.pool.now()
	u.mu.Lock()
	u.mu.admission.passed(s, now)
	todo := u.settle()
	u.mu.Unlock()
	u.carryOut(todo)
}
