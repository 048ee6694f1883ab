package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// payload is the UDP reply that fits into one packet on every path, and what is
// announced by EDNS0 (RFC 6891; the figure is that of DNS Flag Day 2020).
const payload = 1232

// maxStrays is how many packets that are no reply to the question are passed
// over on one socket before the server counts as silent.
const maxStrays = 64

// exchange asks one server one question and returns its reply: over UDP, and
// over TCP when the reply did not fit. A server that does not know EDNS0 is
// asked without.
func exchange(ctx context.Context, server netip.AddrPort, q dnsmessage.Question, limit time.Duration, tcp bool) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	edns := true
	for {
		r, err := ask(ctx, server, q, edns, tcp)
		switch {
		case err != nil:
			return nil, err
		case r.truncated && !tcp:
			tcp = true
		case r.truncated:
			return nil, errors.New("the reply is truncated over TCP")
		case edns && (r.code == dnsmessage.RCodeFormatError || r.code == dnsmessage.RCodeNotImplemented):
			edns = false
		default:
			return r, nil
		}
	}
}

// ask sends a question on a socket of its own and waits for the reply to it.
func ask(ctx context.Context, server netip.AddrPort, q dnsmessage.Question, edns, tcp bool) (*reply, error) {
	id, message, err := pack(q, edns)
	if err != nil {
		return nil, err
	}
	network := "udp"
	if tcp {
		network = "tcp"
	}
	// Connected, so that the kernel lets only what the server sent through, and
	// tells when nobody listens there.
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if tcp {
		return askTCP(conn, message, id, q)
	}
	return askUDP(conn, message, id, q)
}

func askUDP(conn net.Conn, message []byte, id uint16, q dnsmessage.Question) (*reply, error) {
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096) // some servers send more than was announced
	for range maxStrays {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if r, err := readReply(buf[:n], id, q); !errors.Is(err, errNotOurs) {
			return r, err
		}
	}
	return nil, errors.New("only packets that are no reply to the question came")
}

// askTCP speaks with the length before each message (RFC 7766, 8).
func askTCP(conn net.Conn, message []byte, id uint16, q dnsmessage.Question) (*reply, error) {
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
	if _, err := conn.Write(framed); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	return readReply(buf, id, q)
}

// pack writes a question with an id by chance.
func pack(q dnsmessage.Question, edns bool) (uint16, []byte, error) {
	var random [2]byte
	if _, err := rand.Read(random[:]); err != nil {
		return 0, nil, err
	}
	id := binary.BigEndian.Uint16(random[:])
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return 0, nil, err
	}
	if err := b.Question(q); err != nil {
		return 0, nil, err
	}
	if edns {
		if err := b.StartAdditionals(); err != nil {
			return 0, nil, err
		}
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(payload, dnsmessage.RCodeSuccess, false); err != nil {
			return 0, nil, err
		}
		if err := b.OPTResource(h, dnsmessage.OPTResource{}); err != nil {
			return 0, nil, err
		}
	}
	message, err := b.Finish()
	return id, message, err
}
