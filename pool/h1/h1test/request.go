package h1test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Request is a request as it came in.
type Request struct {
	Method, Target, Version string
	Fields                  [][2]string // in order, names as received
	Body                    []byte
	Complete                bool // the body is all there

	decode bodyDecoder
}

// Values returns the values of the field lines with that name, in any case.
func (r *Request) Values(name string) []string { return values(r.Fields, name) }

func values(fields [][2]string, name string) []string {
	var v []string
	for _, f := range fields {
		if strings.EqualFold(f[0], name) {
			v = append(v, f[1])
		}
	}
	return v
}

// maxHead bounds what the origin takes for a head.
const maxHead = 1 << 20

// parseHead reads a request head from the start of p. It returns 0 bytes and no
// error when there is not enough.
func parseHead(p []byte) (*Request, int, error) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		if len(p) > maxHead {
			return nil, 0, fmt.Errorf("request head of more than %d bytes", maxHead)
		}
		return nil, 0, nil
	}
	lines := strings.Split(string(p[:end]), "\r\n")
	n := end + 4
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || !strings.HasPrefix(parts[2], "HTTP/1.") || strings.ContainsAny(lines[0], "\r\n\t\x00") {
		return nil, 0, fmt.Errorf("bad request line %s", quote(lines[0]))
	}
	r := &Request{Method: parts[0], Target: parts[1], Version: parts[2]}
	for _, l := range lines[1:] {
		name, value, ok := strings.Cut(l, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(l, "\r\n\x00") {
			return nil, 0, fmt.Errorf("bad field line %s", quote(l))
		}
		r.Fields = append(r.Fields, [2]string{name, strings.Trim(value, " \t")})
	}
	if err := r.frame(); err != nil {
		return nil, 0, err
	}
	return r, n, nil
}

// frame decides how the body ends (RFC 9112, 6.3). Chunked wins over a length:
// that both are there is for the script to judge.
func (r *Request) frame() error {
	te, cl := r.Values("Transfer-Encoding"), r.Values("Content-Length")
	switch {
	case len(te) > 0:
		if !strings.EqualFold(strings.Join(te, ","), "chunked") {
			return fmt.Errorf("request with Transfer-Encoding %q", te)
		}
		r.decode.state = chunkSize
	case len(cl) > 0:
		n, err := strconv.ParseUint(cl[0], 10, 63)
		if err != nil || len(cl) > 1 {
			return fmt.Errorf("request with Content-Length %q", cl)
		}
		r.decode.left = int(n)
		r.decode.state = fixedData
	}
	r.Complete = r.decode.state == bodyEnd || r.decode.state == fixedData && r.decode.left == 0
	return nil
}

// feed takes body bytes from the start of p and returns how many.
func (r *Request) feed(p []byte) (int, error) {
	total := 0
	for !r.Complete {
		n, err := r.decode.step(p[total:], &r.Body)
		total += n
		if err != nil {
			return total, err
		}
		if r.decode.state == bodyEnd {
			r.Complete = true
		} else if n == 0 {
			break
		}
	}
	return total, nil
}

type bodyState uint8

const (
	bodyEnd bodyState = iota
	fixedData
	chunkSize
	chunkData
	chunkDataEnd
	trailerLine
)

// bodyDecoder undoes the framing of a request body.
type bodyDecoder struct {
	state bodyState
	left  int
}

var errChunk = errors.New("bad chunk in a request body")

func (d *bodyDecoder) step(p []byte, body *[]byte) (int, error) {
	switch d.state {
	case fixedData, chunkData:
		n := min(len(p), d.left)
		*body = append(*body, p[:n]...)
		d.left -= n
		if d.left == 0 {
			if d.state == fixedData {
				d.state = bodyEnd
			} else {
				d.state = chunkDataEnd
			}
		}
		return n, nil
	case chunkDataEnd:
		if len(p) < 2 {
			return 0, nil
		}
		if p[0] != '\r' || p[1] != '\n' {
			return 0, fmt.Errorf("%w: %s behind the data", errChunk, quote(p[:2]))
		}
		d.state = chunkSize
		return 2, nil
	case chunkSize, trailerLine:
		end := bytes.Index(p, []byte("\r\n"))
		if end < 0 {
			if len(p) > maxHead {
				return 0, fmt.Errorf("%w: line without end", errChunk)
			}
			return 0, nil
		}
		if d.state == trailerLine {
			if end == 0 {
				d.state = bodyEnd
			}
			return end + 2, nil
		}
		size, _, _ := strings.Cut(string(p[:end]), ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil {
			return 0, fmt.Errorf("%w: size line %s", errChunk, quote(p[:end]))
		}
		d.left, d.state = int(n), chunkData
		if n == 0 {
			d.state = trailerLine
		}
		return end + 2, nil
	}
	return 0, nil
}
