package main

// Mozilla's root certificates, in the binary: x509 takes them where the system has none, as in the image, which holds
// nothing else.
import _ "golang.org/x/crypto/x509roots/fallback"
