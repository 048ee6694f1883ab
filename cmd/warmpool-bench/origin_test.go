package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// converseWith sends each piece with a write of its own, half-closes, and
// returns the status and body length of every answer.
func converseWith(t *testing.T, o *origin, pieces ...string) (statuses, lengths []int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- o.serve(l) }()
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, p := range pieces {
		if _, err := io.WriteString(conn, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for answers := bufio.NewReader(conn); ; {
		if _, err := answers.Peek(1); err == io.EOF {
			return statuses, lengths
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, response.Body)
		if err != nil {
			t.Fatal(err)
		}
		statuses, lengths = append(statuses, response.StatusCode), append(lengths, int(n))
	}
}

func TestOriginAnswersRequestsHoweverTheyArrive(t *testing.T) {
	three := "GET /bytes/128 HTTP/1.1\r\nHost: o\r\n\r\n" +
		"POST /bytes/0 HTTP/1.1\r\nHost: o\r\ncontent-length: 7\r\n\r\n\r\n\r\nabc" +
		"GET /bytes/16384 HTTP/1.1\r\nHost: o\r\n\r\n"
	arrivals := map[string][]string{
		"at once":      {three},
		"byte by byte": strings.Split(three, ""),
	}
	for name, pieces := range arrivals {
		t.Run(name, func(t *testing.T) {
			o := newOrigin()
			statuses, lengths := converseWith(t, o, pieces...)
			if len(statuses) != 3 {
				t.Fatalf("statuses %v, want three", statuses)
			}
			for i, want := range []int{128, 0, 16384} {
				if statuses[i] != http.StatusOK || lengths[i] != want {
					t.Errorf("answer %d is status %d with %d bytes, want 200 with %d", i, statuses[i], lengths[i], want)
				}
			}
			if f := o.figures(); f != (OriginFigures{Requests: 3, Connections: 1}) {
				t.Errorf("figures %+v, want 3 requests on 1 connection", f)
			}
		})
	}
}

// Else a proxy would rightly take the answer for an early one, and give the
// connection up.
func TestOriginAnswersARequestWhenItHasItsBody(t *testing.T) {
	const length = 1 << 20
	head := "POST /bytes/3 HTTP/1.1\r\nHost: o\r\nContent-Length: " + strconv.Itoa(length) + "\r\n\r\n"
	body := strings.Repeat("b", length)
	if statuses, _ := converseWith(t, newOrigin(), head, body[1:]); len(statuses) != 0 {
		t.Errorf("a body without its last byte was answered: %v", statuses)
	}
	statuses, lengths := converseWith(t, newOrigin(), head, body, "GET /bytes/5 HTTP/1.1\r\n\r\n")
	if !slices.Equal(statuses, []int{200, 200}) || !slices.Equal(lengths, []int{3, 5}) {
		t.Errorf("statuses %v, lengths %v", statuses, lengths)
	}
}

func TestOriginClosesAfterWhatItDoesNotSpeak(t *testing.T) {
	const next = "GET /bytes/1 HTTP/1.1\r\n\r\n"
	oversized := "GET /bytes/1 HTTP/1.1\r\nX: "
	oversized += strings.Repeat("x", maxRequestHead-len(oversized))
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"connection close":  {"GET /bytes/1 HTTP/1.1\r\nConnection: Close\r\n\r\n", http.StatusOK},
		"unknown path":      {"GET / HTTP/1.1\r\n\r\n", http.StatusNotFound},
		"too large a body":  {"GET /bytes/1073741825 HTTP/1.1\r\n\r\n", http.StatusNotFound},
		"negative size":     {"GET /bytes/-1 HTTP/1.1\r\n\r\n", http.StatusNotFound},
		"HTTP/1.0":          {"GET /bytes/1 HTTP/1.0\r\n\r\n", http.StatusHTTPVersionNotSupported},
		"bad length":        {"GET /bytes/1 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", http.StatusBadRequest},
		"transfer encoding": {"POST /bytes/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", http.StatusNotImplemented},
		"oversized head":    {oversized, http.StatusRequestHeaderFieldsTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			follow := next
			if name == "oversized head" {
				follow = "" // its bytes would be part of that head
			}
			statuses, _ := converseWith(t, newOrigin(), c.request+follow)
			if len(statuses) != 1 || statuses[0] != c.status {
				t.Errorf("statuses %v, want %d and nothing after it", statuses, c.status)
			}
		})
	}
}
