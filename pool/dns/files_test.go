package dns

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func TestResolvConfIsReadAsTheSystemReadsIt(t *testing.T) {
	for text, want := range map[string]config{
		"search .\n": {ndots: 1, timeout: 2 * time.Second, attempts: 2},
		"domain a.test\nsearch B.test. c.test\nnameserver 127.0.0.1\nnameserver bad\nnameserver fe80::1%lo\nnameserver ::ffff:10.0.0.1\nnameserver 10.0.0.4": {
			search: []string{"b.test", "c.test"}, ndots: 1, timeout: 2 * time.Second, attempts: 2,
		},
		"search a.test\ndomain b.test": {search: []string{"b.test"}, ndots: 1, timeout: 2 * time.Second, attempts: 2},
		"search .\noptions ndots:5 timeout:3 attempts:4 rotate single-request use-vc edns0 trust-ad what": {
			ndots: 5, timeout: 3 * time.Second, attempts: 4, rotate: true, inTurn: true, tcp: true,
		},
		"search .\noptions ndots:99 timeout:99 attempts:99": {ndots: 15, timeout: 30 * time.Second, attempts: 5},
		"search .\noptions ndots:0 timeout:0 attempts:0":    {ndots: 0, timeout: time.Second, attempts: 1},
		"search .\noptions ndots timeout:x ; attempts:3":    {ndots: 1, timeout: 2 * time.Second, attempts: 2},
	} {
		got := parseResolv([]byte(text), 53)
		servers := fmt.Sprint(got.servers)
		got.servers = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\ngot  %+v\nwant %+v", text, got, want)
		}
		all := "[127.0.0.1:53 [::1]:53]"
		if want.search != nil && len(want.search) == 2 {
			all = "[127.0.0.1:53 [fe80::1%lo]:53 10.0.0.1:53]"
		}
		if servers != all {
			t.Errorf("%q: servers %s, want %s", text, servers, all)
		}
	}
}

func TestSourcesBesideFilesAndDNSAreNoticed(t *testing.T) {
	for line, want := range map[string]sources{
		"":                         {},
		"hosts: files dns":         {},
		"hosts: files mdns4 dns":   {mdnsAll: true},
		"hosts: mdns_minimal dns":  {mdns: true},
		"hosts: files myhostname":  {hostname: true},
		"hosts: files ldap # mdns": {unknown: true},
		"hosts: files [ NOTFOUND=return mdns ] dns": {},
	} {
		if got := parseSources([]byte(line)); got != want {
			t.Errorf("%q: got %+v, want %+v", line, got, want)
		}
	}
	all := sources{hostname: true}
	if !all.others("_gateway.") || all.others("a.test") {
		t.Error("the names that myhostname knows are others than they should be")
	}
}
