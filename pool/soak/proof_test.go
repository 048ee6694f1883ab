package soak_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// serverEndings are those that every counting server plays.
var serverEndings = []ending{
	endClose, endClose, endClose, endClose, endReset, endLingering, endShutdownRead, endReadOneClose, endCloseOnArrival,
	endShutdownOnArrival, endReadSomeClose, endReadAllClose, endReadAllReset,
}

// TestNoRequestIsReadTwice sends POSTs to servers that close their connections
// around the moment at which the next request arrives, in every way there is,
// and that are killed. None of them may be read twice, by all servers together,
// and what is said of the delivery of those that fail must be true.
func TestNoRequestIsReadTwice(t *testing.T) {
	p := newProof(t, drawSeed(t), max(*postCount, 500), serverEndings)
	p.killing = true
	p.play(t)
	p.judge(t)
	p.table(t)
}

// proof is a run of POSTs against counting servers.
type proof struct {
	seed    uint64
	posts   int
	tallies *tallies
	file    *os.File
	killing bool
	servers []*serverProcess
	pool    *pool.Pool
	policy  pool.Policy

	gate     sync.RWMutex
	calls    atomic.Uint64
	outcomes []postOutcome
	counters []pool.Counters
	kills    int
	took     time.Duration
}

// postOutcome is what a caller was told.
type postOutcome struct {
	answered bool
	reason   pool.Reason
	delivery pool.Delivery
	attempts int
}

// serverProcess is a counting server, by its listener, which outlives the
// process.
type serverProcess struct {
	address  netip.AddrPort
	listener *os.File
	command  *exec.Cmd
	started  uint64
}

const postCallers = 48

func newProof(t *testing.T, seed uint64, posts int, endings []ending) *proof {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "tallies"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proof{seed: seed, posts: posts, file: file, outcomes: make([]postOutcome, posts+1)}
	if p.tallies, err = mapTallies(file, posts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.tallies.unmap(), file.Close()); err != nil {
			t.Error(err)
		}
	})
	var list []string
	for _, e := range endings {
		list = append(list, strconv.Itoa(int(e)))
	}
	p.policy = pool.DefaultPolicy("counting", "http://counting.test")
	for i := range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &serverProcess{address: listener.Addr().(*net.TCPAddr).AddrPort(), started: uint64(i) << 16}
		s.listener, err = listener.(*net.TCPListener).File()
		listener.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.listener.Close() })
		p.servers = append(p.servers, s)
		p.policy.Endpoints = append(p.policy.Endpoints, s.address)
		p.start(t, s, strings.Join(list, ","))
		t.Cleanup(func() { s.kill(t) })
	}
	p.policy.MaxWait = 30 * time.Second
	p.policy.MinRetries = postCallers
	p.policy.ResponseHeadTimeout = 30 * time.Second
	p.policy.Selection = pool.SelectRoundRobin
	p.pool = pool.New(pool.Options{})
	if _, err := p.pool.Add(p.policy); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.pool.Close(t.Context()) })
	return p
}

func (p *proof) start(t *testing.T, s *serverProcess, endings string) {
	t.Helper()
	s.started++
	s.command = exec.Command(os.Args[0])
	s.command.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %s", countingServerEnv, p.seed, s.started, p.posts, endings))
	s.command.ExtraFiles = []*os.File{s.listener, p.file}
	s.command.Stderr = os.Stderr
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
}

func (s *serverProcess) kill(t *testing.T) {
	t.Helper()
	if s.command == nil {
		return
	}
	if err := s.command.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = s.command.Wait() // says that it was killed
	s.command = nil
}

// play sends the POSTs. Servers are killed meanwhile, and the upstream is made
// anew when it has learned for how long connections may idle: it would not use
// idle ones any more.
func (p *proof) play(t *testing.T) {
	t.Helper()
	begun := time.Now()
	var callers sync.WaitGroup
	for n := range postCallers {
		r := chance(p.seed, forCallers, uint64(n))
		callers.Go(func() {
			for p.post(t, r) {
			}
		})
	}
	over := make(chan struct{})
	go func() {
		callers.Wait()
		close(over)
	}()
	r := chance(p.seed, forRestarts, 0)
	for next := time.Now().Add(200 * time.Millisecond); ; {
		select {
		case <-over:
			p.took = time.Since(begun)
			p.renew(t, true)
			return
		case <-time.After(10 * time.Millisecond):
		}
		p.renew(t, false)
		if p.killing && time.Now().After(next) {
			next = time.Now().Add(time.Duration(300+r.IntN(700)) * time.Millisecond)
			s := p.servers[r.IntN(len(p.servers))]
			env := s.command.Env
			s.kill(t)
			p.kills++
			p.start(t, s, env[len(env)-1][strings.LastIndexByte(env[len(env)-1], ' ')+1:])
		}
	}
}

// renew makes the upstream anew where it has learned, or ends it.
func (p *proof) renew(t *testing.T, last bool) {
	t.Helper()
	u, err := p.pool.Upstream(p.policy.Name)
	if err != nil {
		t.Fatal(err)
	}
	if !last && len(u.Stats().IdleLimits) == 0 {
		return
	}
	p.gate.Lock()
	defer p.gate.Unlock()
	if err := p.pool.Remove(t.Context(), p.policy.Name); err != nil {
		t.Error(err)
	}
	p.counters = append(p.counters, u.Stats().Counters)
	if last {
		return
	}
	if _, err := p.pool.Add(p.policy); err != nil {
		t.Fatal(err)
	}
}

// post sends the next POST, after a pause that lets connections be idle.
func (p *proof) post(t *testing.T, r *rand.Rand) bool {
	time.Sleep(time.Duration(r.IntN(int(endingMost)))) // the load's own pace
	p.gate.RLock()
	defer p.gate.RUnlock()
	id := p.calls.Add(1)
	if id > uint64(p.posts) {
		return false
	}
	u, err := p.pool.Upstream(p.policy.Name)
	if err != nil {
		t.Error(err)
		return false
	}
	size := r.IntN(2000)
	if r.IntN(30) == 0 {
		size = r.IntN(largest)
	}
	res, err := u.Do(t.Context(), &pool.Request{Method: "POST", Path: "/r/" + strconv.FormatUint(id, 10), Body: noise[:size], Receipt: true})
	o := &p.outcomes[id]
	if err == nil {
		o.answered, o.attempts = true, res.Receipt.Attempts
		if got := field(res.Fields, "X-Id"); got != strconv.FormatUint(id, 10) {
			t.Errorf("the answer of request %s came to request %d", got, id)
		}
		return true
	}
	failure, ok := errors.AsType[*pool.Error](err)
	if !ok {
		t.Errorf("request %d: %T, want a *pool.Error: %v", id, err, err)
		return true
	}
	o.reason, o.delivery, o.attempts = failure.Reason, failure.Delivery, failure.Attempts
	return true
}

// judge compares what callers were told with what was read. It ends the servers
// first, so that nothing is read any more.
func (p *proof) judge(t *testing.T) {
	t.Helper()
	for _, s := range p.servers {
		s.kill(t)
	}
	const shown = 10
	twice, untrue := 0, 0
	for id := 1; id <= p.posts; id++ {
		o := &p.outcomes[id]
		acted, dropped, e := p.tallies.of(id)
		switch {
		case acted+dropped > 1:
			if twice++; twice <= shown {
				t.Errorf("POST %d was read %d times and dropped %d times, the last time on a connection ended by %v; its caller was told: %v", id, acted, dropped, e, o)
			}
		case o.answered && acted == 0,
			o.delivery == pool.DeliveryResponded && acted == 0,
			(o.delivery == pool.DeliveryNotSent || o.delivery == pool.DeliveryNotReceived) && acted+dropped > 0:
			if untrue++; untrue <= shown {
				t.Errorf("POST %d was read %d times and dropped %d times, on a connection ended by %v; its caller was told: %v", id, acted, dropped, e, o)
			}
		}
	}
	if twice+untrue > 0 {
		t.Errorf("of %d POSTs %d were read more than once, of %d the delivery told was not true", p.posts, twice, untrue)
	}
}

func (o *postOutcome) String() string {
	if o.answered {
		return fmt.Sprintf("answered, %d attempts", o.attempts)
	}
	return fmt.Sprintf("%v, %v, %d attempts", o.reason, o.delivery, o.attempts)
}

// table prints what became of the POSTs that met a closing connection.
func (p *proof) table(t *testing.T) {
	t.Helper()
	rescued, rescuedFailed, unknown, unknownUnread := 0, 0, 0, 0
	failures := tally{}
	for id := 1; id <= p.posts; id++ {
		o := &p.outcomes[id]
		acted, dropped, _ := p.tallies.of(id)
		if !o.answered {
			failures[o.String()]++
		}
		switch {
		case o.answered && o.attempts > 1:
			rescued++
		case o.answered:
		case o.delivery == pool.DeliveryUnknown:
			unknown++
			if acted+dropped == 0 {
				unknownUnread++
			}
		case o.attempts > 0:
			rescuedFailed++
		}
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(&text, "%d POSTs in %v, %.0f/s; %d kills; upstream made anew %d times\n",
		p.posts, p.took.Round(time.Millisecond), float64(p.posts)/p.took.Seconds(), p.kills, len(p.counters)-1)
	met := rescued + rescuedFailed + unknown
	fmt.Fprintf(w, "POSTs that met a closing connection\t%d\t\n", met)
	fmt.Fprintf(w, "  proven unread, sent again, answered\t%d\t%s\n", rescued, share(rescued, met))
	fmt.Fprintf(w, "  proven unread, failed\t%d\t%s\n", rescuedFailed, share(rescuedFailed, met))
	fmt.Fprintf(w, "  UNKNOWN, and read\t%d\t%s\n", unknown-unknownUnread, share(unknown-unknownUnread, met))
	fmt.Fprintf(w, "  UNKNOWN, and in truth not read\t%d\t%s\n", unknownUnread, share(unknownUnread, met))
	fmt.Fprintf(w, "share of the unread that was rescued\t\t%s\n", share(rescued, rescued+rescuedFailed+unknownUnread))
	failures.print(w, "failures")
	work, ended, closed := tally{}, tally{}, tally{}
	for _, c := range p.counters {
		work["connections opened"] += c.Opened
		work["attempts on a used connection"] += c.Reused
		work["retries"] += c.Retries
		for _, why := range pool.CloseReasons() {
			closed[why.String()] += c.Closed[why]
		}
	}
	for e := range endingCount {
		ended[e.String()] = uint64(p.tallies.played[e])
	}
	work.print(w, "work")
	closed.print(w, "connections closed")
	ended.print(w, "connections ended by the servers")
	w.Flush()
	t.Log(text.String())
}

func share(n, of int) string {
	if of == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}
