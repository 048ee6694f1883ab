package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unreached says that no sidecar answered, why, and what to do about it. message is
// gRPC's.
func (t *target) unreached(message string) error {
	why := cause(message)
	return &exitError{exitUnreachable, fmt.Errorf("no sidecar answers at %s: %s%s", t, why, t.advice(why))}
}

// advice is a line with what to do about a cause, where that is known.
func (t *target) advice(cause string) string {
	if do := t.remedy(cause); do != "" {
		return "\n  to do     " + do
	}
	return ""
}

// connectionError is how gRPC wraps why there is no connection.
var connectionError = regexp.MustCompile(`(?:(?:latest balancer|last connection) error: )*connection error: desc = ("(?:[^"\\]|\\.)*")`)

// cause takes gRPC's own layers off a message.
func cause(message string) string {
	if found := connectionError.FindStringSubmatch(message); found != nil {
		if inner, err := strconv.Unquote(found[1]); err == nil {
			message = inner
		}
	}
	for _, layer := range []string{"transport: ", "Error while dialing: ", "authentication handshake failed: "} {
		message = strings.TrimPrefix(message, layer)
	}
	if why, unsaid := strings.CutPrefix(message, "error reading server preface: "); unsaid {
		if strings.HasPrefix(why, "remote error: ") {
			return why
		}
		if strings.HasSuffix(why, "use of closed network connection") { // closed by gRPC, which waited for a word
			return saidNothing
		}
		return "what listens there does not answer as a sidecar does: " + why
	}
	return message
}

// saidNothing is a cause: somebody listens and does no more.
const saidNothing = "what listens there takes connections and says nothing"

// remedy is what to do about a cause; empty: nobody knows.
func (t *target) remedy(cause string) string {
	has := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(cause, text) })
	}
	switch {
	case has("no such file or directory", "connection refused"):
		return "start one (warmpool serve; warmpool wait tells when it is ready), or name its socket with -s"
	case has("permission denied"):
		return "run it as a user or in a group that may write to the socket: settings socket.mode and socket.group, of control sockets socket.control_mode and socket.control_group"
	case has("no such host"):
		return "check the host in -s"
	case has("first record does not look like a TLS handshake"):
		return "the listener has no TLS: leave out " + t.given("tls", "ca", "cert", "server-name")
	case has("signed by unknown authority"):
		return "name the authority that signed the sidecar's certificate with --ca"
	case has("certificate is valid for", "is not valid for any names", "doesn't contain any IP SANs"):
		return "name one of the certificate's names with --server-name, or in -s"
	case has("certificate has expired or is not yet valid"):
		return "renew the sidecar's certificate (its setting tls.cert_file), and compare the clocks"
	case has("certificate required"):
		return "show a certificate with --cert and --key, signed by an authority of the sidecar's tls.client_ca_file"
	case has("remote error: tls:"):
		return "the sidecar does not take the certificate of " + t.written("cert") + ": it must not have expired, be for client authentication, and be signed by an authority of the sidecar's tls.client_ca_file"
	case cause == saidNothing:
		return "look whether a sidecar listens there, and whether it is stopped or starved of CPU time, or its connections are all taken: its log says so"
	case strings.HasPrefix(t.address, "unix://") && has("EOF", "reset by peer", "broken pipe"):
		return "if a sidecar listens there, it has turned the connection away: see its log, and grpc.max_connections"
	case strings.HasPrefix(t.address, "tcp://") && has("as a sidecar does", "EOF", "reset by peer", "broken pipe"):
		return "if the listener has TLS, say so with --ca or --tls; if it asks for certificates, with --cert and --key as well"
	}
	return ""
}

// given lists those of the flags that have a value, as they were given.
func (t *target) given(flags ...string) string {
	var list []string
	for _, name := range flags {
		if f := t.flags.Lookup(name); f.Value.String() != "" && f.Value.String() != "false" {
			list = append(list, t.written(name))
		}
	}
	return strings.Join(list, ", ")
}
