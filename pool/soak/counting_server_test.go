package soak_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A counting server is this test binary, run as a process of its own, so that it
// can be killed. It reads requests from a listener that outlives it and notes
// each in memory that it shares with the test, which outlives it too: a note is
// made after the bytes were read and before anything else is done, so that at
// most the one read during which the process dies goes unnoted.

// countingServerEnv makes the test binary a counting server. Its value is the
// seed and the server's number.
const countingServerEnv = "WARMPOOL_SOAK_COUNTING_SERVER"

// ending is how a counting server ends a connection.
type ending uint8

const (
	noEnding ending = iota

	// When the connection has been idle for a moment.
	endClose
	endReset          // SO_LINGER 0
	endLingering      // shutdown, then what still comes is read and dropped, as nginx does
	endShutdownRead   // shutdown, then what still comes is read and acted on
	endReadOneClose   // shutdown, then one more request is read and acted on
	endReadOneReset   // the same, but then reset; only where it is asked for
	endCloseOnArrival // when the next request has arrived, unread

	// When the next request has arrived.
	endShutdownOnArrival
	endReadSomeClose // part of it is read
	endReadAllClose
	endReadAllReset

	endingCount
)

var endingNames = [endingCount]string{
	"none", "close", "reset", "lingering close", "shutdown, reading on", "shutdown, one more read, close", "shutdown, one more read, reset",
	"close with a request unread", "shutdown with a request unread, reading on", "close with a request half read",
	"close after reading a request", "reset after reading a request",
}

func (e ending) String() string { return endingNames[e] }

// tallies is the memory that test and servers share.
type tallies struct {
	words  []uint32 // by request: see the masks
	played []uint32 // by ending
}

// The parts of a request's word.
const (
	wordActed   = 1       // counted up when a server read it and acted on it
	wordDropped = 1 << 8  // counted up when a server read it and dropped it
	wordEnding  = 1 << 16 // of the connection that it was read on last
)

func mapTallies(file *os.File, requests int) (*tallies, error) {
	size := 4 * (int(endingCount) + requests + 1)
	if err := file.Truncate(int64(size)); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	words := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(memory))), size/4)
	return &tallies{words: words[endingCount:], played: words[:endingCount]}, nil
}

func (t *tallies) unmap() error {
	first := unsafe.SliceData(t.played)
	return unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(first)), 4*(len(t.played)+len(t.words))))
}

// read notes that a server has read a request, on a connection that ends so.
func (t *tallies) read(id uint64, how uint32, e ending) {
	if id == 0 || id >= uint64(len(t.words)) {
		panic(fmt.Sprintf("read request %d, which nobody sent", id))
	}
	word := &t.words[id]
	for {
		old := atomic.LoadUint32(word)
		if atomic.CompareAndSwapUint32(word, old, old&(wordEnding-1)+how|uint32(e)*wordEnding) {
			return
		}
	}
}

func (t *tallies) of(id int) (acted, dropped int, e ending) {
	word := atomic.LoadUint32(&t.words[id])
	return int(word % wordDropped), int(word % wordEnding / wordDropped), ending(word / wordEnding)
}

// countingServer is the server in its process.
type countingServer struct {
	seed    uint64
	endings []ending
	tallies *tallies
}

// runCountingServer serves until the process is killed.
func runCountingServer() error {
	var seed, number uint64
	var requests int
	var endings string
	if _, err := fmt.Sscan(os.Getenv(countingServerEnv), &seed, &number, &requests, &endings); err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	t, err := mapTallies(os.NewFile(4, "tallies"), requests)
	if err != nil {
		return err
	}
	s := &countingServer{seed: seed, tallies: t}
	for _, e := range strings.Split(endings, ",") {
		n, err := strconv.Atoi(e)
		if err != nil {
			return err
		}
		s.endings = append(s.endings, ending(n))
	}
	for n := number << 32; ; n++ {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go s.serve(c.(*net.TCPConn), chance(seed, forConnection, n))
	}
}

// countingPeer is a counting server's side of one connection.
type countingPeer struct {
	*countingServer
	tcp *net.TCPConn
	in  *bufio.Reader
	end ending
}

func (s *countingServer) serve(tcp *net.TCPConn, r *rand.Rand) {
	p := &countingPeer{countingServer: s, tcp: tcp, in: bufio.NewReaderSize(tcp, 64<<10)}
	defer tcp.Close()
	for served := 0; ; served++ {
		if served > 0 && r.IntN(3) == 0 {
			p.end = s.endings[r.IntN(len(s.endings))]
		}
		if p.end != noEnding && p.end < endShutdownOnArrival {
			if p.idleFor(time.Duration(r.IntN(int(endingMost)))) {
				atomic.AddUint32(&s.tallies.played[p.end], 1)
				p.endIdle()
				return
			}
			p.end = noEnding // a request came first
		}
		if p.end != noEnding {
			if p.arrival() != nil {
				return
			}
			atomic.AddUint32(&s.tallies.played[p.end], 1)
			p.endAtArrival(r)
			return
		}
		id, err := p.request(wordActed)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(tcp, "HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: 2\r\n\r\nok", id); err != nil {
			return
		}
	}
}

// endingMost is the longest time for which an idle connection is left alone
// before it is ended.
const endingMost = 3 * time.Millisecond

// idleFor waits, and reports whether nothing came.
func (p *countingPeer) idleFor(d time.Duration) bool {
	_ = p.tcp.SetReadDeadline(time.Now().Add(d))
	_, err := p.in.Peek(1)
	_ = p.tcp.SetReadDeadline(time.Time{})
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// arrival waits until something can be read, and does not read it.
func (p *countingPeer) arrival() error {
	raw, err := p.tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		if failed = err; err == nil && n == 0 {
			failed = io.EOF
		}
		return true
	})
	return errors.Join(err, failed)
}

func (p *countingPeer) endIdle() {
	switch p.end {
	case endReset:
		p.reset()
	case endLingering:
		_ = p.tcp.CloseWrite()
		p.readOn(wordDropped)
	case endShutdownRead:
		_ = p.tcp.CloseWrite()
		p.readOn(wordActed)
	case endReadOneClose, endReadOneReset:
		_ = p.tcp.CloseWrite()
		_ = p.tcp.SetReadDeadline(time.Now().Add(lingerMost))
		_, _ = p.request(wordActed)
		if p.end == endReadOneReset {
			p.reset()
		}
	case endCloseOnArrival:
		if p.arrival() != nil {
			return
		}
	}
}

func (p *countingPeer) endAtArrival(r *rand.Rand) {
	switch p.end {
	case endShutdownOnArrival:
		_ = p.tcp.CloseWrite()
		p.readOn(wordActed)
	case endReadSomeClose:
		var head [64]byte
		if n, err := p.tcp.Read(head[:32+r.IntN(32)]); err == nil {
			if parts := requestStart.FindSubmatch(head[:n]); parts != nil {
				id, _ := strconv.ParseUint(string(parts[1]), 10, 64)
				p.tallies.read(id, wordActed, p.end)
			}
		}
	default:
		_, _ = p.request(wordActed)
		if p.end == endReadAllReset {
			p.reset()
		}
	}
}

// readOn reads requests until the other side closes, or for a while.
func (p *countingPeer) readOn(how uint32) {
	_ = p.tcp.SetReadDeadline(time.Now().Add(lingerMost))
	for {
		if _, err := p.request(how); err != nil {
			return
		}
	}
}

// lingerMost is for how long what still comes is read after a shutdown.
const lingerMost = 100 * time.Millisecond

func (p *countingPeer) reset() {
	_ = p.tcp.SetLinger(0)
	p.tcp.Close()
}

// request reads a request, noting it as soon as its first line was read.
func (p *countingPeer) request(how uint32) (uint64, error) {
	line, err := p.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	parts := requestStart.FindSubmatch(line)
	if parts == nil {
		return 0, errors.New("not a request")
	}
	id, err := strconv.ParseUint(string(parts[1]), 10, 64)
	if err != nil {
		return 0, err
	}
	p.tallies.read(id, how, p.end)
	length := 0
	for {
		if line, err = p.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	_, err = p.in.Discard(length)
	return id, err
}
