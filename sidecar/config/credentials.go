package config

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// credentials is what an upstream's TLS files hold.
type credentials struct {
	roots        *x509.CertPool // nil: the system's
	certificates []tls.Certificate
}

// tlsFiles are the files that a tls section names, an upstream's or that of the
// listeners, and the key of the one with authorities.
type tlsFiles struct {
	authoritiesKey, authorities string
	certificate, key            string
}

func upstreamFiles(t *warmpoolv1.Tls) tlsFiles {
	return tlsFiles{"ca_file", t.GetCaFile(), t.GetCertFile(), t.GetKeyFile()}
}

func listenerFiles(t *warmpoolv1.ListenerTls) tlsFiles {
	return tlsFiles{"client_ca_file", t.GetClientCaFile(), t.GetCertFile(), t.GetKeyFile()}
}

// namedFile reads a file that the setting at path names, which may be none, and
// appends it to files.
func (p *problems) namedFile(name, dir, path string, files *[]File) []byte {
	if name == "" || p.spoiled(path) {
		return nil
	}
	content, err := readFile(resolve(dir, name))
	if err != nil {
		p.addf(path, quoted(name), "%s", err)
		return nil
	}
	*files = append(*files, File{Path: resolve(dir, name), SHA256: sha256.Sum256(content)})
	return content
}

// credentials reads the files that a tls section names. path is the section's.
// Each file read is appended to files.
func (p *problems) credentials(t tlsFiles, dir, path string, files *[]File) credentials {
	var c credentials
	read := func(key, name string) []byte { return p.namedFile(name, dir, join(path, key), files) }

	if content := read(t.authoritiesKey, t.authorities); content != nil {
		roots, err := certificates(content)
		if err != nil {
			p.addf(join(path, t.authoritiesKey), quoted(t.authorities), "%s", err)
		}
		c.roots = x509.NewCertPool()
		for _, root := range roots {
			c.roots.AddCert(root)
		}
	}

	chain, key := read("cert_file", t.certificate), read("key_file", t.key)
	if chain != nil {
		if _, err := certificates(chain); err != nil {
			p.addf(join(path, "cert_file"), quoted(t.certificate), "%s", err)
		}
	}
	if key != nil {
		if err := checkKey(key); err != nil {
			p.addf(join(path, "key_file"), quoted(t.key), "%s", err)
		}
	}
	if chain == nil || key == nil || p.spoiled(join(path, "cert_file")) || p.spoiled(join(path, "key_file")) {
		return c
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		p.addf(join(path, "key_file"), quoted(t.key), "does not go with the first certificate of tls.cert_file %s: %s",
			quoted(t.certificate), strings.TrimPrefix(err.Error(), "tls: "))
		return c
	}
	c.certificates = []tls.Certificate{pair}
	return c
}

// resolve is the path of a file that a setting in dir names.
func resolve(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// certificates reads all certificates of a PEM file. Text between the blocks is
// allowed, as bundles have it.
func certificates(content []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for n := 1; ; n++ {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		content = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %d is a %s; a file of certificates holds CERTIFICATE blocks only", n, block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d is no certificate: %s", n, strings.TrimPrefix(err.Error(), "x509: "))
		}
		all = append(all, certificate)
	}
	if bytes.Contains(content, []byte("-----BEGIN ")) {
		return nil, fmt.Errorf("PEM block %d is damaged: it does not end, or its base64 is broken", len(all)+1)
	}
	if len(all) == 0 {
		return nil, errors.New("holds no PEM block of type CERTIFICATE")
	}
	return all, nil
}

func checkKey(content []byte) error {
	var types []string
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		content = rest
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return errors.New("the key is encrypted; the sidecar reads keys without a passphrase only (openssl pkey -in FILE writes one)")
		}
		if block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY") {
			return nil
		}
		types = append(types, block.Type)
	}
	if len(types) > 0 {
		return fmt.Errorf("holds no private key, but %s", strings.Join(types, ", "))
	}
	return errors.New("holds no PEM block of a private key")
}

// maxFileSize bounds what is read into memory. A larger file is not what the
// operator meant to name.
const maxFileSize = 4 << 20

// readFile reads a regular file of at most maxFileSize bytes. The error says
// what is wrong without the path.
func readFile(path string) ([]byte, error) {
	// Checked before it is opened, because opening a named pipe waits for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(err)
	}
	switch {
	case info.IsDir():
		return nil, errors.New("is a directory, must be a file")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	content, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	switch {
	case err != nil:
		return nil, fileError(err)
	case len(content) > maxFileSize:
		return nil, fmt.Errorf("is larger than %s", sizeText(maxFileSize))
	}
	return content, nil
}

func fileError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("may not be read by this user (uid %d)", os.Getuid())
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}
