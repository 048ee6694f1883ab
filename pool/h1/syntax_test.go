package h1

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

func TestTablesAgreeWithHTTPGutsOnEveryByte(t *testing.T) {
	for c := range 256 {
		s := string([]byte{byte(c)})
		if got, want := badToken(s) < 0, httpguts.ValidHeaderFieldName(s); got != want {
			t.Errorf("byte %#02x: token %v, httpguts says %v", c, got, want)
		}
		for length := 1; length <= 24; length++ {
			for at := range length {
				value := bytes.Repeat([]byte("\xe9"), length)
				value[at] = byte(c)
				want := -1
				if !httpguts.ValidHeaderFieldValue(string(value)) {
					want = at
				}
				if got := badValue(value); got != want {
					t.Fatalf("byte %#02x at %d of %d: badValue %d, want %d", c, at, length, got, want)
				}
			}
		}
	}
}

func TestATabHidesNoControlCharacterBesideIt(t *testing.T) {
	for at := range 8 {
		value := []byte("\t\t\t\t\t\t\t\t")
		value[at] = 0
		if got := badValue(value); got != at {
			t.Errorf("NUL at %d among tabs: badValue %d", at, got)
		}
	}
}

func TestEveryKnownFieldIsFoundInAnyCase(t *testing.T) {
	for name, want := range map[string]fieldID{
		"authorization": fieldAuthorization, "connection": fieldConnection, "content-length": fieldContentLength,
		"cookie": fieldCookie, "expect": fieldExpect, "host": fieldHost, "keep-alive": fieldKeepAlive,
		"proxy-authorization": fieldProxyAuthorization, "proxy-connection": fieldProxyConnection,
		"set-cookie": fieldSetCookie, "te": fieldTE, "transfer-encoding": fieldTransferEncoding,
		"upgrade": fieldUpgrade, "via": fieldVia,
	} {
		for _, s := range []string{name, strings.ToUpper(name)} {
			if got := fieldOf(s); got != want {
				t.Errorf("fieldOf(%q) = %d, want %d", s, got, want)
			}
			if got := fieldOf([]byte(s)); got != want {
				t.Errorf("fieldOf bytes of %q = %d, want %d", s, got, want)
			}
		}
		// A bit flipped in any byte makes another name: "Content\rLength" is none of ours.
		for i := range name {
			other := []byte(name)
			other[i] ^= 0x40
			if fieldOf(other) == want {
				t.Errorf("fieldOf(%q) = %d", other, want)
			}
			other[i] = name[i] ^ 0x20
			if isLetter := 'a' <= name[i] && name[i] <= 'z'; !isLetter && fieldOf(other) == want {
				t.Errorf("fieldOf(%q) = %d", other, want)
			}
		}
	}
}
