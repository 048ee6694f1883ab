package config

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestAnOriginIsNamedInOneWayOnly(t *testing.T) {
	long := strings.Repeat("a.", 126)
	for _, text := range []string{
		"http://a", "https://api.example.com", "https://api.example.com:8443", "http://api.example.com:443", "https://api.example.com:80",
		"https://xn--bcher-kva.example", "http://_service.example", "http://10.0.0.7", "http://10.0.0.7:81", "http://[::1]", "https://[2001:db8::7]:8443",
		"http://1.2.3.a", "http://0x.example", "https://" + long + "b", "https://" + strings.Repeat("a", 63) + ".b",
	} {
		if err := CheckOrigin(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if err := checkOriginPattern(text); err != nil {
			t.Errorf("%q as an element of the list: %v", text, err)
		}
	}
	for text, says := range map[string]string{
		"":                                          `begin with "http://"`,
		"api.example.com":                           `begin with "http://"`,
		"//api.example.com":                         `begin with "http://"`,
		"ftp://api.example.com":                     `begin with "http://"`,
		"HTTPS://api.example.com":                   `begin with "http://"`,
		" https://api.example.com":                  `begin with "http://"`,
		"https:/api.example.com":                    `begin with "http://"`,
		"https://":                                  "host is missing",
		"https://:8443":                             "host is missing",
		"https://API.example.com":                   "lower case",
		"https://api.example.com.":                  "final dot",
		"https://api.example.com.:8443":             "final dot",
		"https://api..example.com":                  "DNS name",
		"https://.example.com":                      "DNS name",
		"https://-api.example.com":                  "DNS name",
		"https://api-.example.com":                  "DNS name",
		"https://api.example.com:443":               "without :443",
		"http://api.example.com:80":                 "without :80",
		"https://api.example.com:":                  "is not 1 to 65535",
		"https://api.example.com:0":                 "is not 1 to 65535",
		"https://api.example.com:08443":             "is not 1 to 65535",
		"https://api.example.com:+8443":             "is not 1 to 65535",
		"https://api.example.com:65536":             "is not 1 to 65535",
		"https://api.example.com:8443:1":            "is not 1 to 65535",
		"https://api.example.com:https":             "is not 1 to 65535",
		"https://api.example.com/":                  "without path",
		"https://api.example.com/a":                 "without path",
		"https://api.example.com?a":                 "without path",
		"https://api.example.com#a":                 "without path",
		`https://evil.example\.example.com`:         "without path",
		"https://me:secret@example.com":             "user information",
		"https://evil.example@example.com":          "user information",
		"https://api.example.com%2e":                "DNS name",
		"https://api.example.com\x00":               "DNS name",
		"https://api.example.com\n":                 "DNS name",
		"https://api .example.com":                  "DNS name",
		"https://bücher.example":                    "xn--",
		"https://ａpi.example":                       "xn--",
		"https://api。example":                       "xn--",
		"https://*.example.com":                     "DNS name",
		"http://127.1":                              "ends in a number",
		"http://0x7f.1":                             "ends in a number",
		"http://2130706433":                         "ends in a number",
		"http://0x7f000001":                         "ends in a number",
		"http://017700000001":                       "ends in a number",
		"http://0177.0.0.1":                         "ends in a number",
		"http://127.0.0.01":                         "ends in a number",
		"http://127.0.0.1.":                         "final dot",
		"http://a.0x":                               "ends in a number",
		"http://1.2.3.4.5":                          "ends in a number",
		"http://256.0.0.1":                          "ends in a number",
		"http://[::1":                               "bracket",
		"http://[::1]a":                             "behind an address in brackets",
		"http://[127.0.0.1]":                        "no IPv6 address",
		"http://[::1%eth0]":                         "zone",
		"http://[fe80::1%25eth0]":                   "zone",
		"http://[::ffff:127.0.0.1]":                 "is written 127.0.0.1, without brackets",
		"http://[::ffff:7f00:1]":                    "is written 127.0.0.1, without brackets",
		"http://[0:0:0:0:0:0:0:1]":                  "is written [::1]",
		"http://[2001:DB8::7]":                      "is written [2001:db8::7]",
		"http://::1":                                "host is missing",
		"https://" + long + "bb":                    "at most 253",
		"https://" + strings.Repeat("a", 64) + ".b": "DNS name",
		"https://" + strings.Repeat("a", 1<<20):     "at most 253",
	} {
		if err := CheckOrigin(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80q: %v, want an error that says %q", text, err, says)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAListHasWhatItsElementsSay(t *testing.T) {
	list := NewOrigins([]string{"https://*.example.com", "http://*.example.com:81", "https://one.example.org", "http://10.0.0.7", "https://*.io"})
	for origin, want := range map[string]bool{
		"https://api.example.com":            true,
		"https://xn--80ak6aa92e.example.com": true,
		"http://api.example.com:81":          true,
		"https://one.example.org":            true,
		"http://10.0.0.7":                    true,
		"https://a.io":                       true,
		"https://*.example.com":              false,
		"https://example.com":                false,
		"https://.example.com":               false,
		"https://a.b.example.com":            false,
		"http://api.example.com":             false,
		"https://api.example.com:8443":       false,
		"https://api.example.com:81":         false,
		"https://api.example.com.":           false,
		"https://API.example.com":            false,
		"https://apiexample.com":             false,
		"https://api.example.com.evil":       false,
		"https://evil/.example.com":          false,
		"https://evil@x.example.com":         false,
		"https://evil?.example.com":          false,
		"https://evil#.example.com":          false,
		"https://evil:1.example.com":         false,
		"https://[::1].example.com":          false,
		"https://ev\x00il.example.com":       false,
		"https://two.example.org":            false,
		"https://one.example.org:8443":       false,
		"http://one.example.org":             false,
		"http://10.0.0.70":                   false,
		"http://10.0.0.8":                    false,
		"https://10.0.0.7":                   false,
		"payments":                           false,
		"":                                   false,
	} {
		if got := list.Allow(origin); got != want {
			t.Errorf("%q is allowed: %v, want %v", origin, got, want)
		}
	}
	for _, empty := range []Origins{{}, NewOrigins(nil)} {
		if !empty.Empty() || empty.Allow("https://api.example.com") || empty.Allow("") {
			t.Error("an empty list allows something")
		}
	}
}

// FuzzOrigins holds that what a list allows is an origin in its canonical form, that
// other readers of URLs read it alike, and that the list has it by a plain
// comparison label by label.
func FuzzOrigins(f *testing.F) {
	for _, pattern := range []string{"https://*.example.com", "http://*.a:81", "https://api.example.com", "http://[::1]:81", "http://10.0.0.7"} {
		for _, name := range []string{
			"https://api.example.com", "https://a.b.example.com", "http://x.a:81", "http://[::1]:81", "http://10.0.0.7", "http://0x7f.1",
			"https://me@api.example.com", "https://api.example.com.", "https://API.example.com", "http://[fe80::1%25eth0]", "https://bücher.example",
		} {
			f.Add(pattern, name)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		canonical := CheckOrigin(name) == nil
		if canonical {
			u, err := url.Parse(name)
			if err != nil || u.Scheme+"://"+u.Host != name || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
				t.Fatalf("%q is in its canonical form, and to net/url it is %+v, %v", name, u, err)
			}
			if err := checkOrigin(name); err != nil {
				t.Fatalf("%q is in its canonical form, and no URL of an upstream: %v", name, err)
			}
			policy, _, err := OriginPolicy(OriginUpstream(WithDefaults(&warmpoolv1.Config{}), name), "")
			if err == nil {
				err = policy.Validate()
			}
			if _, notAddress := netip.ParseAddr(u.Hostname()); err != nil || policy.GuardAddresses != (notAddress != nil) || !policy.Unlisted {
				t.Fatalf("%q: %v, %+v", name, err, policy)
			}
		}
		if checkOriginPattern(pattern) != nil {
			return
		}
		list := NewOrigins([]string{pattern})
		if got, want := list.Allow(name), canonical && matches(pattern, name); got != want {
			t.Fatalf("%q allows %q: %v, want %v", pattern, name, got, want)
		}
	})
}

// matches compares an origin with a pattern, label by label.
func matches(pattern, name string) bool {
	patterns, names := strings.Split(pattern, "."), strings.Split(name, ".")
	if len(patterns) != len(names) {
		return false
	}
	for i := range names {
		scheme, label, _ := strings.Cut(patterns[i], "://")
		if i == 0 && label == "*" {
			if !strings.HasPrefix(names[i], scheme+"://") {
				return false
			}
		} else if patterns[i] != names[i] {
			return false
		}
	}
	return true
}

func TestAnOriginHasTheSettingsOfTheUpstreamThatItIsLike(t *testing.T) {
	c := WithDefaults(&warmpoolv1.Config{
		DynamicOrigins: &warmpoolv1.DynamicOrigins{Like: "payments"},
		Upstreams: []*warmpoolv1.Upstream{
			{Name: "search", Url: "http://search"},
			{
				Name: "payments", Url: "https://payments.internal", Endpoints: []string{"127.0.0.1:1"},
				Connections: &warmpoolv1.Connections{Max: new(uint32(7)), Warm: new(uint32(3))},
				Queue:       &warmpoolv1.Queue{MaxWait: durationpb.New(7e9)},
				Tls: &warmpoolv1.Tls{
					MinVersion: "1.3", ServerName: "payments", CertFile: "cert.pem", KeyFile: "key.pem", DangerouslySkipVerification: "accept-any-certificate",
				},
				Upkeep: &warmpoolv1.Upkeep{Connections: new(uint32(1))},
			},
		},
	})
	before := proto.CloneOf(c)
	const origin = "https://api.example.com"
	want := WithDefaults(&warmpoolv1.Upstream{
		Name: origin, Url: origin,
		Connections: &warmpoolv1.Connections{Max: new(uint32(7))},
		Queue:       &warmpoolv1.Queue{MaxWait: durationpb.New(7e9)},
		Tls:         &warmpoolv1.Tls{MinVersion: "1.3"},
	})
	if got := OriginUpstream(c, origin); !proto.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	if _, _, err := OriginPolicy(OriginUpstream(c, origin), ""); err != nil {
		t.Error(err)
	}
	plain := OriginUpstream(c, "http://api.example.com")
	if plain.GetConnections().GetMax() != 7 || plain.GetTls().GetMinVersion() != "1.2" {
		t.Errorf("a plain one has %v", plain)
	}
	if _, _, err := OriginPolicy(plain, ""); err != nil {
		t.Error(err)
	}
	if !proto.Equal(c, before) {
		t.Error("the configuration was changed")
	}
	if got := OriginUpstream(WithDefaults(&warmpoolv1.Config{}), origin); !proto.Equal(got, WithDefaults(&warmpoolv1.Upstream{Name: origin, Url: origin})) {
		t.Errorf("without one it is like, it has %v", got)
	}
}

func TestAnUpstreamThatIsNoOriginIsNotReadAsOne(t *testing.T) {
	for name, url := range map[string]string{"payments": "https://api.example.com", "https://a.example": "https://b.example", "https://a.example/": "https://a.example/"} {
		if _, _, err := OriginPolicy(&warmpoolv1.Upstream{Name: name, Url: url}, ""); err == nil {
			t.Errorf("%q at %q is taken for an origin", name, url)
		}
	}
}
