package h1

// text is what the grammar is checked on: what a caller wrote, or what a peer sent.
type text interface{ ~string | ~[]byte }

// isTokenByte holds the tchar of RFC 9110, 5.6.2.
var isTokenByte = func() (table [256]bool) {
	for c := byte('0'); c <= '9'; c++ {
		table[c] = true
	}
	for c := byte('a'); c <= 'z'; c++ {
		table[c], table[c-'a'+'A'] = true, true
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		table[c] = true
	}
	return table
}()

// hexValue holds the value of a hexadecimal digit, 0xff for any other byte.
var hexValue = func() (table [256]byte) {
	for i := range table {
		table[i] = 0xff
	}
	for c := byte('0'); c <= '9'; c++ {
		table[c] = c - '0'
	}
	for c := byte('a'); c <= 'f'; c++ {
		table[c], table[c-'a'+'A'] = c-'a'+10, c-'a'+10
	}
	return table
}()

// badToken returns the index of the first byte of s that no token has, or -1.
func badToken[T text](s T) int {
	for i := range len(s) {
		if !isTokenByte[s[i]] {
			return i
		}
	}
	return -1
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isControl reports whether c is a control character that no field value, reason
// phrase or chunk extension may hold: CTL without HTAB (RFC 9110, 5.5).
func isControl(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

// badValue returns the index of the first control character in s, or -1. obs-text
// (bytes from 0x80) is allowed.
func badValue[T text](s T) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		del := w ^ ones*0x7f
		// Eight bytes at once: some byte below SP, or equal to DEL. HTAB is a false
		// alarm that the loop below settles.
		if ((w-ones*' ')&^w|(del-ones)&^del)&highs != 0 {
			for j := i; j < i+8; j++ {
				if isControl(s[j]) {
					return j
				}
			}
		}
	}
	for ; i < len(s); i++ {
		if isControl(s[i]) {
			return i
		}
	}
	return -1
}

// trim cuts optional whitespace (RFC 9110, 5.6.3) from both ends.
func trim[T text](s T) T {
	for len(s) > 0 && isBlank(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// cutMember returns the first member of a comma-separated list (RFC 9110, 5.6.1)
// without the whitespace around it, and what follows its comma. Members may be
// empty. Quotes are not looked at: for lists of tokens.
func cutMember[T text](list T) (member, rest T) {
	for i := range len(list) {
		if list[i] == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), list[len(list):]
}

// equalFold reports whether s is lower but for the case of ASCII letters. lower has
// no upper-case letter.
func equalFold[T text](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// parseDecimal reads 1*DIGIT. ok is false when s is anything else, or above 2^63-1.
func parseDecimal[T text](s T) (n int64, ok bool) {
	const maxInt64 = 1<<63 - 1
	if len(s) == 0 {
		return 0, false
	}
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 || n > (maxInt64-int64(d))/10 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	return n, true
}
