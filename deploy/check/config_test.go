package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestEveryConfigurationIsOneThatWarmpoolTakes(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "warmpool")
	build := exec.Command("go", "build", "-o", binary, "./cmd/warmpool")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	secret := secretFolder(t)
	checked := 0
	all := append(everything(t), rendered(t, "node.enabled=true", "node.config.callers.max_in_flight=8", "config.upstreams[0].name=a", "config.upstreams[0].url=http://a")...)
	for _, m := range all {
		c, ok := m.object.(*corev1.ConfigMap)
		if !ok {
			continue
		}
		checked++
		file := filepath.Join(t.TempDir(), "warmpool.yaml")
		text := strings.ReplaceAll(c.Data["warmpool.yaml"], "/etc/warmpool-tls", secret)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(binary, "check", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\n%s", m, err, out, text)
		}
	}
	if checked < 8 {
		t.Errorf("%d configurations were checked", checked)
	}
}

// secretFolder holds what the secret with certificates does.
func secretFolder(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"warmpool.tools.svc"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "ca.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
