package h1

// Field is a header or trailer field as its holder owns it.
type Field struct{ Name, Value string }

// RawField is a field as it was received, without the whitespace around its value.
// It aliases the input, or memory of the Parser, until the next Parse or Start.
type RawField struct{ Name, Value []byte }

// fieldID names the fields that the wire itself has an opinion on.
type fieldID uint8

const (
	fieldOther fieldID = iota
	fieldAuthorization
	fieldConnection
	fieldContentLength
	fieldCookie
	fieldExpect
	fieldHost
	fieldKeepAlive
	fieldProxyAuthorization
	fieldProxyConnection
	fieldSetCookie
	fieldTE
	fieldTransferEncoding
	fieldUpgrade
	fieldVia
)

// fieldOf looks a name up, ignoring case. Length and first letter sort out nearly
// every other name before a comparison.
func fieldOf[T text](name T) fieldID {
	switch len(name) {
	case 2:
		if equalFold(name, "te") {
			return fieldTE
		}
	case 3:
		if equalFold(name, "via") {
			return fieldVia
		}
	case 4:
		if equalFold(name, "host") {
			return fieldHost
		}
	case 6:
		switch name[0] | 0x20 {
		case 'c':
			if equalFold(name, "cookie") {
				return fieldCookie
			}
		case 'e':
			if equalFold(name, "expect") {
				return fieldExpect
			}
		}
	case 7:
		if equalFold(name, "upgrade") {
			return fieldUpgrade
		}
	case 10:
		switch name[0] | 0x20 {
		case 'c':
			if equalFold(name, "connection") {
				return fieldConnection
			}
		case 'k':
			if equalFold(name, "keep-alive") {
				return fieldKeepAlive
			}
		case 's':
			if equalFold(name, "set-cookie") {
				return fieldSetCookie
			}
		}
	case 13:
		if equalFold(name, "authorization") {
			return fieldAuthorization
		}
	case 14:
		if equalFold(name, "content-length") {
			return fieldContentLength
		}
	case 16:
		if equalFold(name, "proxy-connection") {
			return fieldProxyConnection
		}
	case 17:
		if equalFold(name, "transfer-encoding") {
			return fieldTransferEncoding
		}
	case 19:
		if equalFold(name, "proxy-authorization") {
			return fieldProxyAuthorization
		}
	}
	return fieldOther
}

// fieldSet has the bit 1<<id for each field in it.
type fieldSet uint32

func (s fieldSet) has(id fieldID) bool { return s>>id&1 != 0 }

// hopByHop holds the fields that belong to one connection only.
const hopByHop fieldSet = 1<<fieldConnection | 1<<fieldKeepAlive | 1<<fieldProxyConnection |
	1<<fieldTE | 1<<fieldTransferEncoding | 1<<fieldUpgrade

// IsHopByHop reports whether a field of that name, in any case, speaks of one
// connection only and never crosses (RFC 9110, 7.6.1): Connection, Keep-Alive,
// Proxy-Connection, TE, Transfer-Encoding, Upgrade. A Connection field can nominate
// further ones.
//
// Proxy-Authorization and Proxy-Authenticate do cross: the upstream may itself be a
// proxy, and the caller is the one it talks to. Trailer and Content-Length cross as
// well; Content-Length of a request is checked against the body and written anew.
func IsHopByHop(name string) bool { return hopByHop.has(fieldOf(name)) }

// Idempotent reports whether a request of that method may be sent again without
// changing what the first one intended (RFC 9110, 9.2.2): GET, HEAD, OPTIONS, TRACE,
// PUT, DELETE. Methods are case-sensitive; unknown ones are not idempotent.
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// maxOptions bounds the connection options of one message beyond the well-known
// ones, and with it the work of looking names up among them.
const maxOptions = 64

// option is a member of a Connection field that the wire knows.
type option uint8

const (
	optionOther option = iota
	optionEmpty
	optionClose
	optionKeepAlive
	optionHopByHop // nominates a field that never crosses anyway
	optionUpgrade
)

func optionOf[T text](member T) option {
	switch len(member) {
	case 0:
		return optionEmpty
	case 5:
		if equalFold(member, "close") {
			return optionClose
		}
	case 10:
		if equalFold(member, "keep-alive") {
			return optionKeepAlive
		}
	}
	switch id := fieldOf(member); {
	case id == fieldUpgrade:
		return optionUpgrade
	case hopByHop.has(id):
		return optionHopByHop
	}
	return optionOther
}

// sameName reports whether two names are equal but for the case of ASCII letters.
func sameName[A, B text](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}
