package config

import (
	"fmt"
	"strings"
	"testing"
)

const payments = "upstreams[0] (payments)"

const allowed = "dynamic_origins.allow[0]"

// origins is a document that allows them.
func origins(list ...string) string {
	return "dynamic_origins: {allow: ['" + strings.Join(list, "', '") + "']}"
}

// rejected holds a document for each kind of mistake, with the one problem that
// it must give, in every format.
var rejected = []struct {
	name     string
	document string // YAML
	path     string
	value    string
	message  string // part of it
}{
	{"a key nobody knows", "metrics: {a: 1}", "metrics", "", "unknown key; known are listen, control, admin"},
	{"an unknown key that holds an empty table", "metrics: {}", "metrics", "", "unknown key"},
	{"an unknown key that holds null", "metrics: null", "metrics", "", "unknown key"},
	{"a key in capitals", "Log: {level: warn}", "Log", "", "unknown key; did you mean log?"},
	{"a key in camel case", upstream("connections: {maxIdleTime: 5s}"), payments + ".connections.maxIdleTime", "", "did you mean max_idle_time?"},
	{"a key with a slip", upstream("conections: {max: 5}"), payments + ".conections", "", "did you mean connections?"},
	{"a key with a dot", "log.level: warn", `"log.level"`, "", "did you mean log.level (one section further in)?"},
	{"a key one section too far out", upstream("max_idle_time: 5s"), payments + ".max_idle_time", "", "did you mean connections.max_idle_time (one section further in)?"},
	{"a key of another section", upstream("connections: {max_wait: 5s}"), payments + ".connections.max_wait", "", "an upstream has a setting queue.max_wait"},
	{"a key of an upstream at the top", "url: http://a", "url", "", "an upstream has a setting url"},
	{"a known key that holds null", "log: null", "log", "null", "has no value; give it one or remove the key"},
	{"a setting that holds null", upstream("queue: {max_wait: null}"), payments + ".queue.max_wait", "null", "has no value"},

	{"a text for a number", upstream(`connections: {max: "64"}`), payments + ".connections.max", `"64"`, "must be a whole number in decimal digits: 1 to 100000"},
	{"a fraction for a whole number", upstream("connections: {max: 6.5}"), payments + ".connections.max", "6.5", "must be a whole number in decimal digits"},
	{"a number for a text", upstream("tls: {min_version: 1.2}"), payments + ".tls.min_version", "1.2", `must be a text: write it in quotes, "1.2"`},
	{"a truth value for a text", "log: {level: true}", "log.level", "true", `must be a text: write it in quotes, "true"`},
	{"a text for a list", "listen: tcp://127.0.0.1:7600", "listen", `"tcp://127.0.0.1:7600"`, "must be a list of texts"},
	{"a list for a text", `admin: ["127.0.0.1:7601"]`, "admin", "a list", "must be a text"},
	{"a number in a list of texts", "listen: [7600]", "listen[0]", "7600", `must be a text: write it in quotes, "7600"`},
	{"a list in a list", `listen: [["tcp://127.0.0.1:7600"]]`, "listen[0]", "a list", "must be a text"},
	{"a text for a section", "log: debug", "log", `"debug"`, "must be a table with level, format"},
	{"a list for a section", "log: [debug]", "log", "a list", "must be a table with level, format"},
	{"a table for the upstreams", "upstreams: {payments: {url: http://a}}", "upstreams", "a table", "must be a list of tables, each with name, url"},
	{"a text for an upstream", "upstreams: [payments]", "upstreams[0]", `"payments"`, "must be a table with name, url"},
	{"a table for a setting", upstream("queue: {max_wait: {seconds: 1}}"), payments + ".queue.max_wait", "a table", "must be a duration with its unit"},

	{"a duration without a unit", upstream("queue: {max_wait: 5}"), payments + ".queue.max_wait", "5", "must be a duration with its unit, such as"},
	{"a duration without a unit, in quotes", upstream(`queue: {max_wait: "5"}`), payments + ".queue.max_wait", `"5"`, "must be a duration with its unit"},
	{"zero without a unit", upstream("queue: {max_wait: 0}"), payments + ".queue.max_wait", "0", "must be a duration with its unit"},
	{"zero without a unit, in quotes", upstream(`queue: {max_wait: "0"}`), payments + ".queue.max_wait", `"0"`, "must be a duration with its unit"},
	{"a duration in days", upstream("connections: {max_lifetime: 1d}"), payments + ".connections.max_lifetime", `"1d"`, `such as "250ms", "55s" or "1h30m": 1s to 720h, or 0s (no limit)`},
	{"an empty duration", upstream(`queue: {max_wait: ""}`), payments + ".queue.max_wait", `""`, "must be a duration with its unit"},
	{"a duration that is a word", upstream("queue: {max_wait: soon}"), payments + ".queue.max_wait", `"soon"`, "must be a duration with its unit"},
	{"a negative duration", upstream("queue: {max_wait: -1s}"), payments + ".queue.max_wait", `"-1s"`, "must be 1ms to 10m, or 0s (as long as"},
	{"a duration below its bound", upstream("connections: {max_idle_time: 99ms}"), payments + ".connections.max_idle_time", `"99ms"`, "must be 100ms to 24h, or 0s (no limit of its own)"},
	{"a duration above its bound", upstream("connections: {max_idle_time: 24h1ns}"), payments + ".connections.max_idle_time", `"24h1ns"`, "must be 100ms to 24h"},
	{"a duration that no clock holds", upstream("connections: {max_idle_time: 9999999h}"), payments + ".connections.max_idle_time", `"9999999h"`, "must be a duration"},

	{"a size with an unknown unit", upstream("limits: {buffered_body_bytes: 4M}"), payments + ".limits.buffered_body_bytes", `"4M"`, "KiB, MiB, GiB, KB, MB or GB"},
	{"a size with a fraction", upstream("limits: {buffered_body_bytes: 1.5MiB}"), payments + ".limits.buffered_body_bytes", `"1.5MiB"`, "must be a whole number of bytes"},
	{"a size below its bound", upstream("limits: {response_head_bytes: 1023}"), payments + ".limits.response_head_bytes", "1023", "must be 1KiB to 16MiB"},
	{"a size above its bound", upstream("limits: {response_head_bytes: 17MB}"), payments + ".limits.response_head_bytes", `"17MB"`, "must be 1KiB to 16MiB"},
	{"a size over 64 bits", upstream("limits: {response_head_bytes: 99999999999GiB}"), payments + ".limits.response_head_bytes", `"99999999999GiB"`, "must be 1KiB to 16MiB"},
	{"a number below its bound", upstream("connections: {max: 0}"), payments + ".connections.max", "0", "must be 1 to 100000"},
	{"a number above its bound", upstream("connections: {warm: 100001}"), payments + ".connections.warm", "100001", "must be 0 (no floor) to 100000"},
	{"a negative number", upstream("connections: {warm: -1}"), payments + ".connections.warm", "-1", "must be 0 (no floor) to 100000"},
	{"a number over 32 bits", upstream("connections: {max: 4294967296}"), payments + ".connections.max", "4294967296", "must be 1 to 100000"},
	{"a share above one", upstream("retry: {budget: 1.5}"), payments + ".retry.budget", "1.5", "must be 0 to 1"},

	{"a listener that anybody can reach", `listen: ["tcp://0.0.0.0:7600"]`, "listen[0]", `"tcp://0.0.0.0:7600"`, "can be reached from other machines, and neither TLS nor a token protects it"},
	{"a listener on all interfaces", `listen: ["tcp://:7600"]`, "listen[0]", `"tcp://:7600"`, "configure tls"},
	{"a listener on a name", `listen: ["tcp://pod.internal:7600"]`, "listen[0]", `"tcp://pod.internal:7600"`, "can be reached from other machines"},
	{"a listener whose rules do not protect it", "listen: [\"tcp://:7600\"]\nallow: [{uid: 0, upstreams: [a]}, {upstreams: [b]}]", "listen[0]", `"tcp://:7600"`, "neither TLS nor a token"},
	{"an unprotected listener by another word", "dangerously_unprotected: \"yes\"", "dangerously_unprotected", `"yes"`, `must be "serve-anybody"`},
	{"a control listener that serves nobody", `control: ["tcp://127.0.0.1:7602"]`, "control[0]", `"tcp://127.0.0.1:7602"`, "nobody may do anything unless a rule in allow gives control"},
	{"a listener's certificate without its key", "tls: {cert_file: a.pem}", "tls.cert_file", `"a.pem"`, "needs tls.key_file"},
	{"callers' certificates without TLS", "tls: {client_ca_file: a.pem}", "tls.client_ca_file", `"a.pem"`, "needs tls.cert_file"},
	{"a rule that allows nothing", "allow: [{uid: 1}]", "allow[0]", "", "allows nothing; name upstreams, or give control"},
	{"a rule for no upstream's name", "allow: [{upstreams: [Not A Name]}]", "allow[0].upstreams[0]", `"Not A Name"`, `must be the name of an upstream, or "*" for all`},
	{"a rule for an origin with a path", "allow: [{upstreams: ['https://a.example/']}]", "allow[0].upstreams[0]", `"https://a.example/"`, "without path, query and fragment"},
	{"a rule for an origin with a password", "allow: [{upstreams: ['https://me:secret@a.example']}]", "allow[0].upstreams[0]", `"https://me:xxxxx@a.example"`, "without user information"},
	{"a rule that gives control to everybody", "allow: [{control: all}]", "allow[0].control", `"all"`, "is not for everybody"},
	{"a rule by certificates that nobody shows", "allow: [{certificate: a, upstreams: [b]}]", "allow[0].certificate", `"a"`, "needs tls.client_ca_file"},
	{"a token that is not there", "allow: [{token_file: none, upstreams: [b]}]", "allow[0].token_file", `"none"`, "there is no such file"},

	{"an origin in capitals", origins("https://API.example.com"), allowed, `"https://API.example.com"`, "in lower case"},
	{"an origin of another scheme", origins("ftp://a.example"), allowed, `"ftp://a.example"`, `must be an origin in its canonical form, such as "https://api.example.com:8443": it must begin with "http://" or "https://"`},
	{"an origin without a scheme", origins("a.example"), allowed, `"a.example"`, "it must begin with"},
	{"an origin with a slash", origins("https://a.example/"), allowed, `"https://a.example/"`, "without a slash at its end"},
	{"an origin with its scheme's port", origins("https://a.example:443"), allowed, `"https://a.example:443"`, "without :443, which is the scheme's own"},
	{"an origin with a port that is none", origins("https://a.example:08443"), allowed, `"https://a.example:08443"`, `port "08443" is not 1 to 65535 in decimal digits`},
	{"an origin with a final dot", origins("https://a.example."), allowed, `"https://a.example."`, "without a final dot"},
	{"an origin in another script", origins("https://bücher.example"), allowed, `"https://bücher.example"`, "xn-- form"},
	{"an origin with a zone", origins("http://[fe80::1%25eth0]"), allowed, `"http://[fe80::1%25eth0]"`, "a zone cannot be sent"},
	{"an origin whose address is a number", origins("http://2130706433"), allowed, `"http://2130706433"`, "not how an IPv4 address is written"},
	{"an origin whose address is long", origins("http://[0:0:0:0:0:0:0:1]"), allowed, `"http://[0:0:0:0:0:0:0:1]"`, "the address is written [::1]"},
	{"every origin", origins("https://*"), allowed, `"https://*"`, `must have "*" in the place of the first label alone, with a domain behind it`},
	{"a star for a part of a label", origins("https://api-*.example.com"), allowed, `"https://api-*.example.com"`, `must have "*" in the place of the first label alone`},
	{"a star for another label", origins("https://api.*.example.com"), allowed, `"https://api.*.example.com"`, `must have "*" in the place of the first label alone`},
	{"a star for two labels", origins("https://*.*.example.com"), allowed, `"https://*.*.example.com"`, "must be a DNS name"},
	{"a star in an address", origins("https://*.0.0.1"), allowed, `"https://*.0.0.1"`, "not how an IPv4 address is written"},
	{"a star before an address", origins("https://*.10.0.0.1"), allowed, `"https://*.10.0.0.1"`, `must not have "*" in an IP address`},
	{"an origin twice", origins("https://a.example", "https://a.example"), "dynamic_origins.allow[1]", `"https://a.example"`, "is in the list already, at 0"},
	{"origins like no upstream", "dynamic_origins: {like: payments}", "dynamic_origins.like", `"payments"`, "is the name of no upstream of this file"},
	{"no origin at once", "dynamic_origins: {max: 0}", "dynamic_origins.max", "0", "must be 1 to 10000"},

	{"a level that does not exist", "log: {level: trace}", "log.level", `"trace"`, `must be "debug", "info", "warn" or "error"`},
	{"a level in capitals", "log: {level: DEBUG}", "log.level", `"DEBUG"`, `must be "debug", "info"`},
	{"an empty text where there is a default", `log: {level: ""}`, "log.level", `""`, `must be "debug", "info"`},
	{"verification skipped by a truth value", upstream("tls: {dangerously_skip_verification: true}"), payments + ".tls.dangerously_skip_verification", "true", "must be a text"},
	{"verification skipped by another word", upstream(`tls: {dangerously_skip_verification: "yes"}`), payments + ".tls.dangerously_skip_verification", `"yes"`, `must be "accept-any-certificate"`},
	{"a name in capitals", "upstreams: [{name: Payments, url: http://a}]", "upstreams[0].name", `"Payments"`, "must be 1 to 63 of a-z"},
	{"an empty name", `upstreams: [{name: "", url: http://a}]`, "upstreams[0].name", `""`, "must be 1 to 63 of a-z"},
	{"no name", "upstreams: [{url: http://a}]", "upstreams[0].name", "", "is missing; must be 1 to 63 of a-z"},
	{"no url", "upstreams: [{name: payments}]", payments + ".url", "", "is missing; must be an origin"},
	{"a url of another scheme", "upstreams: [{name: payments, url: ftp://a}]", payments + ".url", `"ftp://a"`, `it must begin with "http://" or "https://"`},
	{"a url without a scheme", "upstreams: [{name: payments, url: 'a:80'}]", payments + ".url", `"a:80"`, `it must begin with`},
	{"a url with a path", "upstreams: [{name: payments, url: http://a/b}]", payments + ".url", `"http://a/b"`, "without path, query and fragment"},
	{"a url with a slash", "upstreams: [{name: payments, url: http://a/}]", payments + ".url", `"http://a/"`, "without path, query and fragment"},
	{"a url with a query", "upstreams: [{name: payments, url: 'http://a?'}]", payments + ".url", `"http://a?"`, "without path, query and fragment"},
	{"a url without a host", "upstreams: [{name: payments, url: 'http://:80'}]", payments + ".url", `"http://:80"`, "the host is missing"},
	{"a url with a bad port", "upstreams: [{name: payments, url: 'http://a:65536'}]", payments + ".url", `"http://a:65536"`, `port "65536" is not 1 to 65535`},
	{"a url with a colon only", "upstreams: [{name: payments, url: 'http://a:'}]", payments + ".url", `"http://a:"`, "a colon but no port"},
	{"a url in another script", "upstreams: [{name: payments, url: http://bücher.example}]", payments + ".url", `"http://bücher.example"`, "xn-- form"},
	{"a url with a zone", "upstreams: [{name: payments, url: 'http://[fe80::1%25eth0]'}]", payments + ".url", `"http://[fe80::1%25eth0]"`, "a zone cannot be sent"},
	{"a url with a password", "upstreams: [{name: payments, url: 'http://me:secret@a'}]", payments + ".url", `"http://me:xxxxx@a"`, "without user information"},
	{"a broken url with a password", "upstreams: [{name: payments, url: 'http://me:secret@a:x'}]", payments + ".url", `"(set)"`, "must be an origin"},
	{"an empty list of listeners", "listen: []", "listen", "[]", "must not be empty"},
	{"a listener without a scheme", `listen: ["127.0.0.1:7600"]`, "listen[0]", `"127.0.0.1:7600"`, `must be "unix://" and an absolute path, or "tcp://" and host:port`},
	{"a listener with a relative path", "listen: ['unix://warmpool.sock']", "listen[0]", `"unix://warmpool.sock"`, "is not absolute"},
	{"a listener with a path too long", "listen: ['unix:///" + strings.Repeat("x", 107) + "']", "listen[0]", `"unix:///` + strings.Repeat("x", 92) + `"… (115 bytes)`, "the path has 108 bytes, a Unix socket's may have 107"},
	{"a listener without a port", "listen: ['tcp://127.0.0.1']", "listen[0]", `"tcp://127.0.0.1"`, "missing port in address"},
	{"a listener with a named port", "listen: ['tcp://127.0.0.1:http']", "listen[0]", `"tcp://127.0.0.1:http"`, `port "http" is not 0 to 65535`},
	{"data listeners switched off", `listen: ["off"]`, "listen[0]", `"off"`, "is not for data listeners"},
	{"a control listener beside off", `control: ["off", "tcp://127.0.0.1:7602"]`, "control[0]", `"off"`, "must stand alone"},
	{"one listener twice", `listen: ["tcp://[::1]:1", "tcp://[::1]:1"]`, "listen[1]", `"tcp://[::1]:1"`, "is in the list already, at 0"},
	{"one address for data and control", `control: ["tcp://127.0.0.1:7600"]`, "control[0]", `"tcp://127.0.0.1:7600"`, "is the address of listen[1] already"},
	{"one address for data and admin", "admin: 127.0.0.1:7600", "admin", `"tcp://127.0.0.1:7600"`, "is the address of listen[1] already"},
	{"an admin listener without a port", "admin: localhost", "admin", `"localhost"`, `must be host:port (an empty host: all interfaces), or "off"`},
	{"an endpoint by name", upstream("endpoints: ['a:80']"), payments + ".endpoints[0]", `"a:80"`, `must be "ip:port"`},
	{"an endpoint with port 0", upstream("endpoints: ['10.0.0.1:80', '10.0.0.1:0']"), payments + ".endpoints[1]", `"10.0.0.1:0"`, `must be "ip:port"`},
	{"an endpoint twice", upstream("endpoints: ['10.0.0.1:80', '10.0.0.1:80']"), payments + ".endpoints[1]", `"10.0.0.1:80"`, "is in the list already, at 0"},
	{"a source address with a port", upstream("tcp: {source_addresses: ['10.0.0.1:80']}"), payments + ".tcp.source_addresses[0]", `"10.0.0.1:80"`, "must be an IP address"},
	{"a mode that is a number", "socket: {mode: 432}", "socket.mode", "432", "must be a text"},
	{"a mode that is no octal", `socket: {mode: "0680"}`, "socket.mode", `"0680"`, "permission bits in octal"},
	{"a mode with the sticky bit", `socket: {mode: "1660"}`, "socket.mode", `"1660"`, "permission bits in octal"},
	{"a group that does not exist", "socket: {group: no-such-group}", "socket.group", `"no-such-group"`, "there is none of this name"},
	{"a server name that is none", upstream("tls: {server_name: 'a b'}"), payments + ".tls.server_name", `"a b"`, "must be a DNS name"},
	{"a control character", upstream(`tcp: {congestion: "b\tr"}`), payments + ".tcp.congestion", `"b\tr"`, "without control characters; there is one at byte 1"},
	{"a file that is a folder", upstream("tls: {ca_file: '.'}"), payments + ".tls.ca_file", `"."`, "is a directory, must be a file"},
	{"a file that does not exist", upstream("tls: {ca_file: none.pem}"), payments + ".tls.ca_file", `"none.pem"`, "there is no such file"},

	{"a name twice", "upstreams: [{name: payments, url: http://a}, {name: payments, url: http://b}]", "upstreams[1] (payments).name", `"payments"`, "is the name of upstreams[0] already"},
	{"a warm floor over the maximum", upstream("connections: {warm: 5, max: 4}"), payments + ".connections.warm", "5", "must be at most connections.max, which is 4"},
	{"a warm floor over the default maximum", upstream("connections: {warm: 65}"), payments + ".connections.warm", "65", "must be at most connections.max, which is 64"},
	{"a certificate without a key", upstream("tls: {cert_file: /dev/null/a}"), payments + ".tls.cert_file", `"/dev/null/a"`, "needs tls.key_file"},
	{"a key without a certificate", upstream("tls: {key_file: /dev/null/a}"), payments + ".tls.key_file", `"/dev/null/a"`, "needs tls.cert_file"},
	{"tls for a plain url", "upstreams: [{name: payments, url: http://a, tls: {min_version: '1.3'}}]", payments + ".tls", "", `is only for a url of scheme https; url is "http://a"`},
	{"name resolution for fixed addresses", upstream("endpoints: ['10.0.0.1:80']\ndns: {refresh: 10s}"), payments + ".dns", "", "is only for an upstream without endpoints"},
	{"upkeep of every connection", upstream("connections: {max: 2}\nupkeep: {connections: 2}"), payments + ".upkeep.connections", "2", "must be below connections.max, which is 2"},
	{"upkeep that is over before it begins", upstream("upkeep: {connections: 1, interval: 1s, after_use: 1s}"), payments + ".upkeep.interval", "1s", "must be below upkeep.after_use, which is 1s: no request would be sent"},
	{"upkeep of connections that are gone", upstream("connections: {max_idle_time: 100ms}\nupkeep: {connections: 1}"), payments + ".upkeep.interval", "150ms", "must be below connections.max_idle_time, which is 100ms"},
	{"upkeep by a method that is not safe", upstream("upkeep: {method: POST}"), payments + ".upkeep.method", `"POST"`, "GET"},
	{"upkeep by a URL", upstream("upkeep: {path: 'http://a/tiny'}"), payments + ".upkeep.path", `"http://a/tiny"`, "must be a path of a request"},
	{"a least time to live over the largest", upstream("dns: {min_ttl: 61s}"), payments + ".dns.min_ttl", "1m1s", "must be at most dns.max_ttl, which is 1m"},
	{"a DNS server without a port", upstream("dns: {servers: ['10.0.0.53']}"), payments + ".dns.servers[0]", `"10.0.0.53"`, `must be "ip:port"`},
	{"an SRV record that is no name", upstream("dns: {srv: 'http://a'}"), payments + ".dns.srv", `"http://a"`, "must be a DNS name"},
	{"a document that is a list", "[]", "", "a list", "the document must be a table with listen, control"},
	{"a document that is a text", "warmpool", "", `"warmpool"`, "the document must be a table with listen, control"},
}

func TestEachKindOfMistakeIsRejectedInEachFormat(t *testing.T) {
	for _, c := range rejected {
		t.Run(c.name, func(t *testing.T) {
			for _, extension := range []string{".yaml", ".json", ".toml"} {
				if c.path == "" && extension == ".toml" {
					continue // every TOML document is a table
				}
				content, ok := in(t, extension, c.document)
				if !ok {
					continue
				}
				_, err := load(t, extension, content)
				found := problemsOf(t, err)
				for _, p := range found {
					if p.Path == c.path && p.Value == c.value && strings.Contains(p.Message, c.message) && p.Line > 0 {
						found = nil
					}
				}
				if found != nil || err == nil {
					t.Errorf("%s: got\n%v\nwant %s  %s: …%s…\nin\n%s", extension, err, c.path, c.value, c.message, content)
				}
			}
		})
	}
}

// What only one format can get wrong.
func TestMistakesOfAFormat(t *testing.T) {
	deep := strings.Repeat("[", 101) + strings.Repeat("]", 101)
	laughs := "listen:\n  - &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 8 {
		anchor := string(rune('a' + i))
		laughs += "  - &" + string(rune('b'+i)) + " [" + strings.Repeat("*"+anchor+",", 10) + "]\n"
	}
	var wide strings.Builder
	for i := range maxKeys + 1 {
		fmt.Fprintf(&wide, "key%d = 1\n", i)
	}
	cases := []struct {
		name, extension, content string
		line                     int
		path, message            string
	}{
		{"a key twice", ".yaml", "log:\n  level: warn\n  level: info\n", 3, "log.level", "stands here twice; the first is in line 2"},
		{"a key twice", ".json", "{\"log\": {\n\"level\": \"warn\",\n\"level\": \"info\"}}", 3, "log.level", "stands here twice; the first is in line 2"},
		{"a key twice, once escaped", ".json", "{\"log\": {\n\"level\": \"warn\",\n\"l\\u0065vel\": \"info\"}}", 3, "log.level", "stands here twice"},
		{"a key twice", ".toml", "[log]\nlevel = 'warn'\nlevel = 'info'\n", 3, "log.level", "stands here twice; the first is in line 2"},
		{"a section twice", ".yaml", "log: {level: warn}\nprocs: 1\nlog: {format: text}\n", 3, "log", "stands here twice; the first is in line 1"},
		{"a section twice", ".json", "{\"log\": {},\n\"log\": {}}", 2, "log", "stands here twice; the first is in line 1"},
		{"a section twice", ".toml", "[log]\nlevel = 'warn'\n[drain]\n[log]\nformat = 'text'\n", 4, "log", "stands here twice; the first is in line 1"},
		{"a section of an upstream twice", ".toml", "[[upstreams]]\nname = 'a'\nurl = 'http://a'\n[upstreams.queue]\n[upstreams.queue]\n", 5, "upstreams[0] (a).queue", "stands here twice; the first is in line 4"},
		{"a dotted key twice", ".toml", "log.level = 'warn'\nlog.level = 'info'\n", 2, "log.level", "stands here twice; the first is in line 1"},
		{"a key twice in an inline table", ".toml", "log = {level = 'warn', level = 'info'}\n", 1, "log.level", "stands here twice"},
		{"a key that is a value and a table", ".toml", "log = 1\n[log.level]\n", 2, "log", "the first is in line 1 and is a whole number"},
		{"a list and a list of tables", ".toml", "upstreams = []\n[[upstreams]]\nname = 'a'\n", 2, "upstreams", "stands here twice"},
		{"an inline table that is added to", ".toml", "log = {level = 'warn'}\n[log]\nformat = 'text'\n", 2, "log", "stands here twice"},
		{"a table by dots that a header opens", ".toml", "[a]\nb.c = 1\n[a.b]\n", 3, "a.b", "stands here twice; the first is in line 2"},
		{"a table by a header that dots add to", ".toml", "[a.b]\nc = 1\n[a]\nb.d = 2\n", 0, "", "is not TOML"},
		{"a key merged and unknown", ".yaml", "log: {<<: {levl: warn}}\n", 1, "log.levl", "unknown key"},
		{"a merge of no table", ".yaml", "log: {<<: warn}\n", 1, "log.<<", "must be an alias of a table"},
		{"an octal number", ".yaml", "procs: 010\n", 1, "procs", "must be a whole number in decimal digits"},
		{"a hexadecimal number", ".yaml", "procs: 0x10\n", 1, "procs", "must be a whole number in decimal digits"},
		{"a hexadecimal number", ".toml", "procs = 0x10\n", 1, "procs", "must be a whole number in decimal digits"},
		{"a number with an exponent", ".json", `{"procs": 1e1}`, 1, "procs", "must be a whole number in decimal digits"},
		{"a number that is none", ".yaml", upstream("retry: {budget: .nan}"), 4, "upstreams[0] (payments).retry.budget", "must be"},
		{"a number that is none", ".toml", "[[upstreams]]\nname='payments'\nurl='http://a'\nretry.budget = nan", 4, "upstreams[0] (payments).retry.budget", "must be 0 to 1"},
		{"a date", ".toml", "[log]\nlevel = 2026-11-01\n", 2, "log.level", `must be a text: write it in quotes, "2026-11-01"`},
		{"a tag", ".yaml", "procs: !cores 1\n", 1, "procs", "YAML tags have no meaning here"},
		{"a tagged table", ".yaml", "log: !!set {level}\n", 1, "log", "YAML tags have no meaning here"},
		{"a key that is a list", ".yaml", "? [log]\n: 1\n", 1, "", "a key must be a text"},
		{"two documents", ".yaml", "procs: 1\n---\nprocs: 2\n", 2, "", "a second document begins here"},
		{"something behind the document", ".json", "{}\n{}", 2, "", "after top-level value"},
		{"an anchor that contains itself", ".yaml", "listen: &a [*a]\n", 1, "", "contains itself"},
		{"aliases without end", ".yaml", laughs, 0, "", "aliases stand for more than 100000 values"},
		{"too much nesting", ".yaml", "listen: " + deep, 1, "", "more than 100 deep"},
		{"too much nesting", ".json", `{"listen": ` + deep + "}", 1, "", "more than 100 deep"},
		{"too much nesting", ".toml", "listen = " + deep, 1, "", "more than 100 deep"},
		{"nesting that would end the process", ".toml", "listen = " + strings.Repeat("[", 1<<20), 1, "", "more than 100 deep"},
		{"more keys than any section has", ".toml", wide.String(), 0, "", "a table holds more than 10000 keys"},
		{"no syntax", ".yaml", "log:\n  level: [\n", 0, "", "is not YAML: "},
		{"a tab", ".yaml", "log:\n\tlevel: warn\n", 2, "", "is not YAML: a tab indents this line"},
		{"no syntax", ".json", "{\n\"log\": }", 2, "", "is not JSON: "},
		{"a comma too many", ".json", "{\"procs\": 1,\n}", 2, "", "is not JSON: "},
		{"the end is missing", ".json", "{\n\"log\": {", 2, "", "unexpected end of JSON input"},
		{"no syntax", ".toml", "[log]\nlevel = warn\n", 2, "", "is not TOML: "},
		{"an unfinished text", ".toml", "admin = \"[[[[\n", 1, "", "is not TOML: "},
		{"not UTF-8", ".yaml", "log:\n  level: \"\xff\"\n", 2, "", "is not UTF-8"},
		{"not UTF-8", ".json", "{\"admin\":\n \"\xff\"}", 2, "", "is not UTF-8"},
		{"not UTF-8", ".toml", "admin = '\xff'", 1, "", "is not UTF-8"},
		{"half a character, escaped", ".json", `{"upstreams": [{"name": "a", "url": "http://a", "tcp": {"congestion": "\ud800"}}]}`, 1, "upstreams[0] (a).tcp.congestion", "must be valid UTF-8"},
		{"nothing", ".yaml", "", 0, "", "is empty"},
		{"nothing", ".json", " \n", 0, "", "is empty"},
		{"nothing", ".toml", "\ufeff\n", 0, "", "is empty"},
		{"null", ".yaml", "~\n", 1, "", "the document must be a table"},
		{"null", ".json", "null", 1, "", "the document must be a table"},
	}
	for _, c := range cases {
		t.Run(c.name+" in "+c.extension[1:], func(t *testing.T) {
			_, err := load(t, c.extension, c.content)
			for _, p := range problemsOf(t, err) {
				if p.Path == c.path && strings.Contains(p.Message, c.message) && (p.Line == c.line || c.line == 0) {
					return
				}
			}
			t.Errorf("got\n%v\nwant line %d, %s: …%s…", err, c.line, c.path, c.message)
		})
	}
}
