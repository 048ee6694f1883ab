package config

import (
	"crypto/sha256"
	"crypto/tls"
	"slices"
	"strings"
	"testing"
)

func TestAccessIsReadFromItsFiles(t *testing.T) {
	certificate, key := selfSigned(t, "sidecar.internal")
	file := write(t, "warmpool.yaml", "listen: ['tcp://:7600']\n"+
		"tls: {cert_file: "+write(t, "cert.pem", string(certificate))+", key_file: "+write(t, "key.pem", string(key))+
		", client_ca_file: "+write(t, "ca.pem", string(certificate))+"}\n"+
		"allow: [{uid: 0, upstreams: [payments]}, {token_file: "+write(t, "token", " 0123456789abcdef\n")+", upstreams: ['*'], control: read}]\n")
	loaded, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Files) != 5 {
		t.Errorf("a change of %d files would be noticed, want 5: %v", len(loaded.Files), loaded.Files)
	}
	a, err := NewAccess(loaded.Config, loaded.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if a.TLS == nil || a.TLS.MinVersion != tls.VersionTLS13 || a.TLS.ClientAuth != tls.RequireAndVerifyClientCert || a.TLS.ClientCAs == nil {
		t.Errorf("TLS is %+v", a.TLS)
	}
	if len(a.Rules) != 2 || a.Rules[0].UID == nil || *a.Rules[0].UID != 0 || a.Rules[0].Token != nil ||
		a.Rules[1].UID != nil || *a.Rules[1].Token != sha256.Sum256([]byte("0123456789abcdef")) ||
		a.Rules[1].Control != "read" || !slices.Equal(a.Rules[1].Upstreams, []string{EveryUpstream}) {
		t.Errorf("%+v", a.Rules)
	}
}

func TestATokenThatIsNoneIsRefusedWithoutBeingShown(t *testing.T) {
	for token, says := range map[string]string{
		"hunter2":                 "less than 16 characters",
		"":                        "less than 16 characters",
		"hunter2 hunter2 hunter2": "other than visible ASCII",
		"hunter2hunter2hunter2ä":  "other than visible ASCII",
	} {
		_, err := load(t, ".yaml", "allow: [{token_file: "+write(t, "token", token)+", upstreams: [a]}]")
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", token, err)
		}
	}
}
