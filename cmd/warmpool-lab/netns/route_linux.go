package netns

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Congestion makes connections to an address, over an interface, use a congestion
// control, given by its kernel name. The namespace's own setting takes only what
// the whole system allows to anyone; a route's takes what the kernel has.
func (n *Namespace) Congestion(name string, other netip.Addr, algorithm string) error {
	return n.Do(func() error {
		device, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		if err := replaceRoute(device.Index, other, algorithm); err != nil {
			return fmt.Errorf("congestion control %q for the route to %s: %w", algorithm, other, err)
		}
		return nil
	})
}

// replaceRoute replaces the route to an address by one that names a congestion
// control (rtnetlink(7)).
func replaceRoute(device int, to netip.Addr, algorithm string) error {
	const metricCongestion = 16 // RTAX_CC_ALGO of linux/rtnetlink.h
	route := []byte{
		unix.AF_INET, 32, 0, 0, // family, length of the destination, of the source, type of service
		unix.RT_TABLE_MAIN, unix.RTPROT_KERNEL, unix.RT_SCOPE_LINK, unix.RTN_UNICAST,
		0, 0, 0, 0, // flags
	}
	route = attribute(route, unix.RTA_DST, to.AsSlice())
	route = attribute(route, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(device)))
	route = attribute(route, unix.RTA_METRICS, attribute(nil, metricCongestion, append([]byte(algorithm), 0)))
	return request(unix.RTM_NEWROUTE, unix.NLM_F_REPLACE|unix.NLM_F_CREATE, route)
}

// attribute appends an attribute, padded to four bytes.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// request sends one message to the kernel and waits until it is acknowledged
// (netlink(7)).
func request(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // it carries requests only
	message := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	message = binary.NativeEndian.AppendUint16(message, kind)
	message = binary.NativeEndian.AppendUint16(message, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	message = append(message, make([]byte, 8)...) // sequence, port
	if err := unix.Sendto(fd, append(message, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, unix.Getpagesize())
	got, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if got < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("the kernel answered %d bytes, must be an acknowledgement", got)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
