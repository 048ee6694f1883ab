package pool

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// certificateError says of a certificate that does not verify which one it is, and
// what is wrong with it, as crypto/x509 does not: a chain has several.
type certificateError struct {
	text string
	err  error
}

func (e *certificateError) Error() string { return e.text }
func (e *certificateError) Unwrap() error { return e.err }

// nameCertificate adds to the error of a handshake which certificate it speaks of.
func nameCertificate(err error, now time.Time) error {
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	unknown, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	switch {
	case isInvalid && invalid.Cert != nil && invalid.Reason == x509.Expired:
		return &certificateError{validity(invalid.Cert, now), err}
	case isInvalid && invalid.Cert != nil:
		return &certificateError{theCertificate(invalid.Cert) + ": " + invalid.Error(), err}
	case isUnknown && unknown.Cert != nil:
		return &certificateError{theCertificate(unknown.Cert) + ": " + unknown.Error(), err}
	}
	return err
}

// validity says since when a certificate is not valid any more, or from when on it is.
func validity(c *x509.Certificate, now time.Time) string {
	if now.Before(c.NotBefore) {
		return fmt.Sprintf("%s, is not valid before %s, in %s; it is %s here",
			theCertificate(c), stamp(c.NotBefore), roughly(c.NotBefore.Sub(now)), stamp(now))
	}
	return fmt.Sprintf("%s, expired at %s, %s ago; it is %s here",
		theCertificate(c), stamp(c.NotAfter), roughly(now.Sub(c.NotAfter)), stamp(now))
}

// theCertificate tells a certificate from others, by text that whoever made it chose:
// it is quoted, and not repeated at any length.
func theCertificate(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" && len(c.DNSNames) > 0 {
		name = c.DNSNames[0]
	}
	if name == "" {
		name = c.Subject.String()
	}
	issuer := c.Issuer.CommonName
	if issuer == "" {
		issuer = c.Issuer.String()
	}
	return fmt.Sprintf("the certificate %.100q, issued by %.100q", name, issuer)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// roughly is a duration in its largest unit.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return d.Round(time.Second).String()
}
