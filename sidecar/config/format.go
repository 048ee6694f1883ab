package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// off is the address of a listener that is switched off.
const off = "off"

// formats holds the check of each form of text. An error says what is allowed
// and which part of the value breaks it.
var formats = map[warmpoolv1.Setting_Format]func(string) error{
	warmpoolv1.Setting_FORMAT_UNSPECIFIED:    func(string) error { return nil },
	warmpoolv1.Setting_FORMAT_NAME:           checkName,
	warmpoolv1.Setting_FORMAT_ORIGIN:         checkOrigin,
	warmpoolv1.Setting_FORMAT_LISTENER:       checkListener,
	warmpoolv1.Setting_FORMAT_HOST_PORT:      checkHostPort,
	warmpoolv1.Setting_FORMAT_IP_PORT:        checkIPPort,
	warmpoolv1.Setting_FORMAT_IP:             checkIP,
	warmpoolv1.Setting_FORMAT_FILE:           checkPath,
	warmpoolv1.Setting_FORMAT_FILE_MODE:      checkFileMode,
	warmpoolv1.Setting_FORMAT_GROUP:          checkGroup,
	warmpoolv1.Setting_FORMAT_DNS_NAME:       checkDNSName,
	warmpoolv1.Setting_FORMAT_PATH:           checkTarget,
	warmpoolv1.Setting_FORMAT_ORIGIN_PATTERN: checkOriginPattern,
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func checkName(text string) error {
	if !nameForm.MatchString(text) {
		return errors.New(`must be 1 to 63 of a-z, 0-9, "-", "_" and ".", starting with a letter or digit`)
	}
	return nil
}

func checkOrigin(text string) error {
	const form = `must be an origin such as "https://payments.internal:8443"`
	u, err := url.Parse(text)
	if err != nil {
		// url.Error quotes the whole text, in which a password may stand.
		if inner := errors.Unwrap(err); inner != nil && !strings.Contains(text, "@") {
			return fmt.Errorf("%s: %w", form, inner)
		}
		return errors.New(form)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Opaque != "":
		return fmt.Errorf(`%s: it must begin with "http://" or "https://"`, form)
	case u.User != nil:
		return fmt.Errorf("%s: without user information; credentials belong into each request's headers", form)
	case u.Path != "", u.RawQuery != "", u.ForceQuery, u.Fragment != "", strings.HasSuffix(text, "#"):
		return fmt.Errorf("%s: without path, query and fragment; each request brings its own path", form)
	case u.Hostname() == "":
		return fmt.Errorf("%s: the host is missing", form)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if ip.Zone() != "" {
			return fmt.Errorf("%s: a host with a zone cannot be sent in Host; name the address in endpoints", form)
		}
	} else if err := checkDNSName(u.Hostname()); err != nil {
		return fmt.Errorf("%s: host %q %w", form, u.Hostname(), err)
	}
	if strings.HasSuffix(u.Host, ":") {
		return fmt.Errorf("%s: there is a colon but no port", form)
	}
	if p := u.Port(); p != "" && !isPort(p, 1) {
		return fmt.Errorf("%s: port %q is not 1 to 65535", form, p)
	}
	return nil
}

// redactURL hides a password in what may be a URL.
func redactURL(text string) string {
	_, rest, ok := strings.Cut(text, "://")
	if !ok || !strings.Contains(rest, "@") {
		return text
	}
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return hidden
}

// maxSocketPath is what sun_path holds, less its final NUL.
const maxSocketPath = 107

func checkListener(text string) error {
	const form = `must be "unix://" and an absolute path, or "tcp://" and host:port`
	if path, ok := strings.CutPrefix(text, "unix://"); ok {
		switch {
		case !filepath.IsAbs(path):
			return fmt.Errorf("%s: the path %q is not absolute", form, path)
		case filepath.Clean(path) != path:
			return fmt.Errorf("%s: the path is written %q", form, filepath.Clean(path))
		case len(path) > maxSocketPath:
			return fmt.Errorf("%s: the path has %d bytes, a Unix socket's may have %d", form, len(path), maxSocketPath)
		}
		return nil
	}
	if address, ok := strings.CutPrefix(text, "tcp://"); ok {
		if err := splitHostPort(address); err != nil {
			return fmt.Errorf("%s: %w", form, err)
		}
		return nil
	}
	if text == off {
		return nil
	}
	return errors.New(form)
}

func checkHostPort(text string) error {
	if text == off {
		return nil
	}
	if err := splitHostPort(text); err != nil {
		return fmt.Errorf(`must be host:port (an empty host: all interfaces), or "off": %w`, err)
	}
	return nil
}

func splitHostPort(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		if address, ok := errors.AsType[*net.AddrError](err); ok {
			return errors.New(address.Err)
		}
		return err
	}
	if !isPort(port, 0) {
		return fmt.Errorf("port %q is not 0 to 65535", port)
	}
	if host == "" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if err := checkDNSName(host); err != nil {
		return fmt.Errorf("host %q %w", host, err)
	}
	return nil
}

func isPort(text string, least uint64) bool {
	n, err := parseWhole(text)
	return err == nil && n >= least && n <= 65535
}

func checkIPPort(text string) error {
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Port() == 0 {
		return errors.New(`must be "ip:port" with a port of 1 to 65535, such as "10.0.0.7:8443" or "[2001:db8::7]:8443"`)
	}
	return nil
}

func checkIP(text string) error {
	if _, err := netip.ParseAddr(text); err != nil {
		return errors.New(`must be an IP address, such as "10.0.0.7" or "2001:db8::7"`)
	}
	return nil
}

func checkPath(text string) error {
	if text == "" || strings.HasSuffix(text, "/") {
		return errors.New("must be the path of a file")
	}
	return nil
}

var fileModeForm = regexp.MustCompile(`^0?[0-7]{3}$`)

func checkFileMode(text string) error {
	if !fileModeForm.MatchString(text) {
		return errors.New(`must be permission bits in octal, quoted, such as "0660"`)
	}
	return nil
}

func checkGroup(text string) error {
	if n, err := parseWhole(text); err == nil {
		// The largest number means "leave it as it is" to chown.
		if n >= 1<<32-1 {
			return errors.New("must be the name or number of a group of this system")
		}
		return nil
	}
	if _, err := user.LookupGroup(text); err != nil {
		return errors.New("must be the name or number of a group of this system; there is none of this name")
	}
	return nil
}

var dnsNameForm = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)

func checkDNSName(text string) error {
	if len(text) > 253 || !dnsNameForm.MatchString(text) {
		return errors.New(`must be a DNS name: labels of letters, digits, "-" and "_" between dots (other scripts in their xn-- form)`)
	}
	return nil
}

var targetForm = regexp.MustCompile(`^/[!-"$-~]*$`)

func checkTarget(text string) error {
	if !targetForm.MatchString(text) {
		return errors.New(`must be a path of a request, with its query if it has one: "/", then visible ASCII characters other than "#", such as "/healthz?brief=1"`)
	}
	return nil
}
