package pool

import (
	"fmt"
	"net/netip"
)

// An upstream whose host somebody else has chosen (Policy.GuardAddresses) must not
// become a way to what only this host, or this machine's cloud, may reach. What
// the host is called proves nothing: a name leads wherever its owner's DNS says,
// and to another place the next time it is asked for. So the address itself is
// looked at, by the one who is about to connect to it.

// forbiddenNetworks are those to which a guarded upstream does not connect.
var forbiddenNetworks = []struct {
	network netip.Prefix
	what    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an address of this host"}, // RFC 1122, 3.2.1.3; Linux connects 0.0.0.0 to itself
	{netip.MustParsePrefix("::/128"), "the unspecified address"},    // likewise
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address, where clouds serve metadata"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	// Metadata that is not link-local.
	{netip.MustParsePrefix("fd00:ec2::/32"), "a metadata address (AWS)"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "a metadata address (Google Cloud)"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a metadata address (Azure)"},
	{netip.MustParsePrefix("100.100.100.200/32"), "a metadata address (Alibaba Cloud)"},
	{netip.MustParsePrefix("192.0.0.192/32"), "a metadata address (Oracle Cloud)"},
}

// forbidden says what an address is to which a guarded upstream does not connect;
// empty: it may. An IPv6 address that stands for an IPv4 one is what that one is.
func forbidden(a netip.Addr) string {
	if !a.IsValid() {
		return "no address"
	}
	a = a.WithZone("").Unmap()
	for _, f := range forbiddenNetworks {
		if f.network.Contains(a) {
			return f.what
		}
	}
	four, ok := embedded(a)
	switch {
	case !ok:
		return ""
	case !four.IsValid():
		return "a translated address (NAT64) that does not tell which"
	}
	if what := forbidden(four); what != "" {
		return fmt.Sprintf("%s (%s)", what, four)
	}
	return ""
}

var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, 2.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052, 2.1
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
)

// embedded is the IPv4 address that an IPv6 one leads to, if it is such a one. It
// is not valid where that cannot be told.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case compatible.Contains(a), translated.Contains(a), nat64.Contains(a):
		return last, true
	case nat64Local.Contains(a):
		// Networks cut their own prefixes out of this one, and the prefix's length says
		// where the address lies (RFC 6052, 2.2). Of the customary length only is that sure.
		if [4]byte(b[8:12]) != [4]byte{} {
			return netip.Addr{}, true
		}
		return last, true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case teredo.Contains(a):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return netip.Addr{}, false
}

// refuses is the failure of a dial that is not made, because of where it would lead;
// nil: it may be.
func (p *Policy) refuses(to netip.AddrPort) *dialFailure {
	if !p.GuardAddresses {
		return nil
	}
	what := forbidden(to.Addr())
	if what == "" {
		return nil
	}
	return &dialFailure{
		endpoint: to, reason: ReasonAddressForbidden, permanent: true,
		detail: fmt.Sprintf("%s is %s: no connection is made to it for a host that a caller has named", to, what),
	}
}
