package pool

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestAddressesThatAGuardedUpstreamDoesNotConnectTo(t *testing.T) {
	for text, what := range map[string]string{
		"127.0.0.1":                 "loopback",
		"127.255.255.254":           "loopback",
		"::1":                       "loopback",
		"::1%lo":                    "loopback",
		"0.0.0.0":                   "this host",
		"0.1.2.3":                   "this host",
		"::":                        "unspecified",
		"169.254.169.254":           "link-local",
		"169.254.0.1":               "link-local",
		"fe80::1":                   "link-local",
		"fe80::1%eth0":              "link-local",
		"febf:ffff::1":              "link-local",
		"224.0.0.1":                 "multicast",
		"239.255.255.255":           "multicast",
		"ff02::1":                   "multicast",
		"255.255.255.255":           "broadcast",
		"fd00:ec2::254":             "AWS",
		"fd00:ec2::23":              "AWS",
		"fd20:ce::254":              "Google",
		"168.63.129.16":             "Azure",
		"100.100.100.200":           "Alibaba",
		"192.0.0.192":               "Oracle",
		"::ffff:127.0.0.1":          "loopback",
		"::ffff:169.254.169.254":    "link-local",
		"::127.0.0.1":               "loopback address (127.0.0.1)",
		"::ffff:0:127.0.0.1":        "loopback address (127.0.0.1)",
		"64:ff9b::7f00:1":           "loopback address (127.0.0.1)",
		"64:ff9b::a9fe:a9fe":        "link-local address, where clouds serve metadata (169.254.169.254)",
		"64:ff9b:1::7f00:1":         "loopback address (127.0.0.1)",
		"64:ff9b:1:7::7f00:1":       "loopback address (127.0.0.1)",
		"64:ff9b:1:7f00:0:100::":    "does not tell",
		"64:ff9b:1:0:7f:0:100:0":    "does not tell",
		"2002:7f00:1::1":            "loopback address (127.0.0.1)",
		"2002:a9fe:a9fe::":          "(169.254.169.254)",
		"2001:0:102:304::80ff:fffe": "loopback address (127.0.0.1)",
	} {
		if got := forbidden(netip.MustParseAddr(text)); !strings.Contains(got, what) {
			t.Errorf("%s is %q, want one that says %q", text, got, what)
		}
	}
	if forbidden(netip.Addr{}) == "" {
		t.Error("no address at all is none that may be connected to")
	}
	for _, text := range []string{
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.201", "128.0.0.1", "126.255.255.255", "1.0.0.0",
		"169.253.255.255", "169.255.0.0", "223.255.255.255", "240.0.0.1", "198.51.100.7", "192.0.0.191", "168.63.129.17",
		"::ffff:10.0.0.1", "64:ff9b::c633:6407", "64:ff9b:1::c633:6407", "2002:c633:6407::1", "2001:db8::1", "fd00::1", "fd12:3456::1",
		"fd00:ec3::254", "fd20:ce::253", "fec0::1", "2606:4700::1111", "2001:0:102:304::3f57:fe71",
	} {
		if got := forbidden(netip.MustParseAddr(text)); got != "" {
			t.Errorf("%s is %q, want that it may be connected to", text, got)
		}
	}
}

// FuzzForbidden holds that an IPv4 address is judged alike however it is written.
func FuzzForbidden(f *testing.F) {
	f.Add(byte(127), byte(0), byte(0), byte(1))
	f.Add(byte(169), byte(254), byte(169), byte(254))
	f.Add(byte(10), byte(0), byte(0), byte(1))
	f.Fuzz(func(t *testing.T, a, b, c, d byte) {
		four := netip.AddrFrom4([4]byte{a, b, c, d})
		want := forbidden(four) != ""
		for _, as := range [][16]byte{
			{10: 0xff, 0xff, a, b, c, d},
			{8: 0xff, 0xff, 0, 0, a, b, c, d},
			{0, 0x64, 0xff, 0x9b, 12: a, b, c, d},
			{0, 0x64, 0xff, 0x9b, 0, 1, 12: a, b, c, d},
			{0x20, 0x02, a, b, c, d},
			{0x20, 0x01, 12: ^a, ^b, ^c, ^d},
		} {
			six := netip.AddrFrom16(as)
			if got := forbidden(six); (got != "") != want {
				t.Errorf("%s is %q, and %s %q", four, forbidden(four), six, got)
			}
		}
	})
}

func TestCountersAddUp(t *testing.T) {
	var one, two Counters
	fill := func(c *Counters, n uint64) {
		var set func(v reflect.Value)
		set = func(v reflect.Value) {
			switch v.Kind() {
			case reflect.Array:
				for i := range v.Len() {
					set(v.Index(i))
				}
			case reflect.Int64:
				v.SetInt(int64(n))
			default:
				v.SetUint(n)
			}
		}
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			set(v.Field(i))
		}
	}
	fill(&one, 3)
	fill(&two, 4)
	one.Add(&two)
	var want Counters
	fill(&want, 7)
	if one != want {
		t.Errorf("3 and 4 of each are %+v", one)
	}
}
