package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// selfSigned makes a certificate and its key, as PEM.
func selfSigned(t testing.TB, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestPolicyOfAnUpstreamWithoutSettingsIsTheEnginesDefault(t *testing.T) {
	policy, _, err := Policy(&warmpoolv1.Upstream{Name: "a", Url: "http://a"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := pool.DefaultPolicy("a", "http://a"); !reflect.DeepEqual(policy, want) {
		t.Errorf("got  %+v\nwant %+v", policy, want)
	}
	if err := policy.Validate(); err != nil {
		t.Error(err)
	}
}

// others has a value for each setting of an upstream that differs from its
// default.
var others = map[string]string{
	"name": "other", "url": "https://other", "endpoints": "['10.0.0.1:80']",
	"connections.warm": "1", "connections.max": "2", "connections.max_dialing": "3", "connections.max_idle_time": "1s",
	"connections.max_lifetime": "2s", "connections.max_requests": "9", "connections.selection": "round_robin",
	"connections.peak_memory": "0s", "connections.preconnect": "1.5",
	"queue.max_waiting": "5", "queue.max_wait": "6s", "pipelining.depth": "2",
	"timeouts.connect": "3s", "timeouts.tls_handshake": "4s", "timeouts.response_head": "5s", "timeouts.body_idle": "6s",
	"timeouts.expect_continue":   "7s",
	"limits.response_head_bytes": "2KiB", "limits.response_fields": "7", "limits.chunk_line_bytes": "64",
	"limits.trailer_bytes": "3KiB", "limits.buffered_body_bytes": "5",
	"tls.ca_file": "ca.pem", "tls.cert_file": "ca.pem", "tls.key_file": "key.pem", "tls.server_name": "b", "tls.min_version": "'1.3'",
	"tls.dangerously_skip_verification": "accept-any-certificate", "tls.session_cache": "0",
	"dns.refresh": "7s", "dns.min_ttl": "6s", "dns.max_ttl": "2m",
	"dns.servers": "['10.0.0.53:53']", "dns.srv": "_http._tcp.a",
	"tcp.keepalive_idle": "0s", "tcp.keepalive_interval": "6s", "tcp.keepalive_count": "4", "tcp.user_timeout": "0s",
	"tcp.source_addresses": "['10.0.0.1']", "tcp.congestion": "bbr",
	"retry.max_attempts": "3", "retry.budget": "0.5", "retry.min_budget": "0",
	"upkeep.connections": "1", "upkeep.method": "HEAD", "upkeep.path": "'/tiny?a=1'", "upkeep.interval": "20ms", "upkeep.after_use": "1s",
}

func TestEachSettingReachesTheEngineOrIsRefused(t *testing.T) {
	dir := t.TempDir()
	certificate, key := selfSigned(t, "ca")
	for name, content := range map[string][]byte{"ca.pem": certificate, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plain, _, err := Policy(&warmpoolv1.Upstream{Name: "a", Url: "https://a"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	visitSettings(upstreamSchema(), "", func(path string, _ *entry) {
		value, ok := others[path]
		if !ok {
			t.Errorf("%s: the test has no other value for it", path)
			return
		}
		section, key, nested := strings.Cut(path, ".")
		settings := map[string]string{"name": "name: a", "url": "url: https://a"}
		if nested {
			pair := key + ": " + value
			switch key { // one goes with the other
			case "cert_file":
				pair += ", key_file: key.pem"
			case "key_file":
				pair += ", cert_file: ca.pem"
			}
			settings[section] = section + ": {" + pair + "}"
		} else {
			settings[section] = section + ": " + value
		}
		var lines []string
		for _, line := range settings {
			lines = append(lines, line)
		}
		file := filepath.Join(dir, "warmpool.yaml")
		if err := os.WriteFile(file, []byte("upstreams: [{"+strings.Join(lines, ", ")+"}]"), 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := Load(Source{File: file})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		policy, _, err := Policy(loaded.Config.GetUpstreams()[0], loaded.Dir)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		if err := policy.Validate(); err != nil {
			t.Errorf("%s: the engine refuses what is allowed here: %v", path, err)
		}
		if reflect.DeepEqual(policy, plain) {
			t.Errorf("%s has no effect on the policy", path)
		}
	})
}

func TestPolicyReportsCredentialsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	certificate, key := selfSigned(t, "client")
	_, otherKey := selfSigned(t, "other")
	broken := strings.Replace(string(certificate), "-----END", "????\n-----END", 1)
	for name, content := range map[string]string{
		"cert.pem": string(certificate), "key.pem": string(key), "other.pem": string(otherKey),
		"both.pem": string(certificate) + string(key), "broken.pem": broken, "text.pem": "no PEM at all\n", "empty.pem": "",
		"garbage.pem":   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("garbage")})),
		"encrypted.pem": string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})),
		"bundle.pem":    "# a comment\n" + string(certificate) + "# another\n" + string(certificate),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name          string
		tls           *warmpoolv1.Tls
		path, message string // empty: it is fine
	}{
		{"a bundle with comments", &warmpoolv1.Tls{CaFile: "bundle.pem"}, "", ""},
		{"an absolute path", &warmpoolv1.Tls{CaFile: filepath.Join(dir, "cert.pem")}, "", ""},
		{"a pair", &warmpoolv1.Tls{CertFile: "cert.pem", KeyFile: "key.pem"}, "", ""},
		{"a pair whose key stands behind its certificate", &warmpoolv1.Tls{CertFile: "cert.pem", KeyFile: "both.pem"}, "", ""},
		{"no such file", &warmpoolv1.Tls{CaFile: "none.pem"}, "tls.ca_file", "there is no such file"},
		{"no PEM", &warmpoolv1.Tls{CaFile: "text.pem"}, "tls.ca_file", "holds no PEM block of type CERTIFICATE"},
		{"an empty file", &warmpoolv1.Tls{CaFile: "empty.pem"}, "tls.ca_file", "holds no PEM block of type CERTIFICATE"},
		{"broken PEM", &warmpoolv1.Tls{CaFile: "broken.pem"}, "tls.ca_file", "PEM block 1 is damaged"},
		{"a key for a CA", &warmpoolv1.Tls{CaFile: "both.pem"}, "tls.ca_file", "PEM block 2 is a PRIVATE KEY"},
		{"a CA that is no certificate", &warmpoolv1.Tls{CaFile: "garbage.pem"}, "tls.ca_file", "PEM block 1 is no certificate: malformed"},
		{"a key for a certificate", &warmpoolv1.Tls{CertFile: "key.pem", KeyFile: "key.pem"}, "tls.cert_file", "PEM block 1 is a PRIVATE KEY"},
		{"a certificate for a key", &warmpoolv1.Tls{CertFile: "cert.pem", KeyFile: "cert.pem"}, "tls.key_file", "holds no private key, but CERTIFICATE"},
		{"a key that is no PEM", &warmpoolv1.Tls{CertFile: "cert.pem", KeyFile: "text.pem"}, "tls.key_file", "holds no PEM block of a private key"},
		{"an encrypted key", &warmpoolv1.Tls{CertFile: "cert.pem", KeyFile: "encrypted.pem"}, "tls.key_file", "the key is encrypted"},
		{"the key of another", &warmpoolv1.Tls{CertFile: "cert.pem", KeyFile: "other.pem"}, "tls.key_file", "does not go with the first certificate"},
	} {
		policy, _, err := Policy(&warmpoolv1.Upstream{Name: "a", Url: "https://a", Tls: c.tls}, dir)
		found := problemsOf(t, err)
		switch {
		case c.message == "":
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else if (policy.TLS.RootCAs == nil) == (c.tls.GetCaFile() != "") || len(policy.TLS.Certificates) == 0 != (c.tls.GetCertFile() == "") {
				t.Errorf("%s: %+v", c.name, policy.TLS)
			}
		case len(found) != 1 || found[0].Path != c.path || !strings.Contains(found[0].Message, c.message):
			t.Errorf("%s: got %v, want %s: %s", c.name, err, c.path, c.message)
		}
	}
}

func TestPolicyMeansWhatZeroMeans(t *testing.T) {
	none := durationpb.New(0)
	policy, _, err := Policy(&warmpoolv1.Upstream{
		Name: "a", Url: "https://a",
		Connections: &warmpoolv1.Connections{MaxIdleTime: none, MaxLifetime: none, MaxRequests: proto.Uint64(1<<64 - 1)},
		Tcp:         &warmpoolv1.Tcp{KeepaliveIdle: none},
		Tls:         &warmpoolv1.Tls{SessionCache: proto.Uint32(0), MinVersion: "1.3"},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	if policy.MaxIdleTime != 0 || policy.MaxLifetime != 0 || policy.TLS.SessionCache != 0 {
		t.Errorf("zero was replaced by a default: %+v", policy)
	}
	if policy.TCP.KeepAliveIdle >= 0 {
		t.Errorf("keepalive_idle 0s must be negative for the engine, is %s", policy.TCP.KeepAliveIdle)
	}
	if policy.MaxRequests <= 0 {
		t.Errorf("max_requests overflowed to %d", policy.MaxRequests)
	}
	if policy.TLS.MinVersion != tls.VersionTLS13 {
		t.Errorf("min_version is %#x", policy.TLS.MinVersion)
	}
}

func TestMessagesAreHeldToTheSameChecksAsFiles(t *testing.T) {
	unknown := &warmpoolv1.Upstream{Name: "a", Url: "http://a"}
	unknown.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 1))
	for _, c := range []struct {
		upstream             *warmpoolv1.Upstream
		path, value, message string
	}{
		{nil, "name", "", "is missing"},
		{&warmpoolv1.Upstream{Name: "A", Url: "http://a"}, "name", `"A"`, "must be 1 to 63"},
		{&warmpoolv1.Upstream{Name: "a", Url: "http://a", Connections: &warmpoolv1.Connections{Max: proto.Uint32(0)}}, "connections.max", "0", "must be 1 to 100000"},
		{&warmpoolv1.Upstream{Name: "a", Url: "http://a", Queue: &warmpoolv1.Queue{MaxWait: durationpb.New(-1)}}, "queue.max_wait", "-1ns", "must be 1ms to 10m"},
		{&warmpoolv1.Upstream{Name: "a", Url: "http://a", Queue: &warmpoolv1.Queue{MaxWait: &durationpb.Duration{Seconds: 1, Nanos: -1}}}, "queue.max_wait", "1 s -1 ns", "must be 1ms to 10m"},
		{&warmpoolv1.Upstream{Name: "a", Url: "http://a", Queue: &warmpoolv1.Queue{MaxWait: &durationpb.Duration{Seconds: 1 << 62}}}, "queue.max_wait", "4611686018427387904 s 0 ns", "must be 1ms to 10m"},
		{&warmpoolv1.Upstream{Name: "a", Url: "http://a", Limits: &warmpoolv1.Limits{ResponseHeadBytes: proto.Uint64(17 << 20)}}, "limits.response_head_bytes", "17MiB", "must be 1KiB to 16MiB"},
		{&warmpoolv1.Upstream{Name: "a", Url: "http://a", Endpoints: []string{"x"}}, "endpoints[0]", `"x"`, `must be "ip:port"`},
		{&warmpoolv1.Upstream{Name: "a", Url: "http://me:secret@a"}, "url", `"http://me:xxxxx@a"`, "without user information"},
		{unknown, "", "", "holds fields that this version does not know (number 1000)"},
	} {
		_, _, err := Policy(c.upstream, "")
		found := problemsOf(t, err)
		if !slices.ContainsFunc(found, func(p Problem) bool {
			return p.Path == c.path && p.Value == c.value && strings.Contains(p.Message, c.message)
		}) {
			t.Errorf("%v: got %v, want %s  %s: %s", c.upstream, err, c.path, c.value, c.message)
		}
		if err := checked(&warmpoolv1.Config{Upstreams: []*warmpoolv1.Upstream{c.upstream}}); err == nil {
			t.Errorf("%v is refused alone, but not in a configuration", c.upstream)
		}
	}
	if err := checked(nil); err != nil {
		t.Errorf("no configuration is all defaults: %v", err)
	}
}
