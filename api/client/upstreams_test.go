package client

import (
	"net/url"
	"strings"
	"testing"
)

func TestAURLMeansAnUpstream(t *testing.T) {
	names := map[string]string{
		"payments.internal:8443": "payments", "https://Shop.example": "shop", "plain.example": "plain",
		"http://both.example": "both-plain", "https://both.example:443/": "both-tls", "[::1]:80": "six",
	}
	r, err := newRoutes(names, false)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"https://payments.internal:8443/v1": "payments",
		"http://PAYMENTS.internal:8443":     "payments",
		"https://payments.internal/":        "payments.internal",
		"https://shop.example/":             "shop",
		"https://shop.example:443/":         "shop",
		"http://shop.example/":              "shop.example",
		"http://plain.example:80/":          "plain",
		"https://plain.example:443/":        "plain",
		"http://plain.example:81/":          "plain.example:81",
		"http://both.example/":              "both-plain",
		"https://both.example/":             "both-tls",
		"http://[::1]/":                     "six",
		"http://Payments/":                  "payments",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := r.upstream(u); got != want {
			t.Errorf("%s means %q, want %q", text, got, want)
		}
	}
}

func TestAURLThatIsNotMappedMeansItsOrigin(t *testing.T) {
	r, err := newRoutes(map[string]string{"payments.internal:8443": "payments"}, true)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"https://payments.internal:8443/v1": "payments",
		"https://payments.internal/":        "https://payments.internal",
		"https://API.example.com/a?b":       "https://api.example.com",
		"HTTPS://api.example.com:443/":      "https://api.example.com",
		"https://api.example.com:":          "https://api.example.com",
		"https://api.example.com:8443":      "https://api.example.com:8443",
		"http://api.example.com:443":        "http://api.example.com:443",
		"http://api.example.com:80":         "http://api.example.com",
		"http://[::1]:80/":                  "http://[::1]",
		"http://[::1]:81/":                  "http://[::1]:81",
		"https://b\u00fccher.example:8443/": "https://xn--bcher-kva.example:8443",
		"https://me:secret@api.example.com": "https://api.example.com",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := r.upstream(u); got != want {
			t.Errorf("%s means %q, want %q", text, got, want)
		}
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		target string
		option Option
		says   []string
	}{
		{"unix:///s", InFlight(0, 1), []string{"0", "1 or more"}},
		{"unix:///s", InFlight(1, -1), []string{"-1", "0 or more"}},
		{"unix:///s", Patience(-1), []string{"-1ns", "0 or more"}},
		{"unix:///s", Upstreams(map[string]string{"a": ""}), []string{`upstreams["a"]`, "name"}},
		{"unix:///s", Upstreams(map[string]string{"ftp://a": "b"}), []string{`"ftp://a"`, "https://host:port"}},
		{"unix:///s", Upstreams(map[string]string{"a/b": "b"}), []string{`"a/b"`}},
		{"unix:relative/\x00", Streaming(), []string{"unix:///path"}},
	} {
		made, err := Dial(c.target, c.option)
		if err == nil {
			made.Close()
			t.Errorf("%q: no error, want one that says %q", c.target, c.says)
			continue
		}
		for _, says := range c.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%v: does not say %q", err, says)
			}
		}
	}
}
