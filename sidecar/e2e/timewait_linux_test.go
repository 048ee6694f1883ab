package e2e

import (
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// Whoever sends the first FIN has the connection in TIME_WAIT for a minute, and with it, on the client's side, a port. The
// kernel's own list says who that was. One connection more that is dialed during a drain, for a request that another
// serves in the end, is one more that has nothing to say.
func TestTimeWaitIsLeftToTheServerWhereItCanBe(t *testing.T) {
	inNamespace(t, map[string]string{"tcp_tw_reuse": "0"}, func(t *testing.T) {
		const connections = 20
		for _, end := range []struct {
			name    string
			policy  func(*pool.Policy)
			rounds  int // of requests, which each come on all connections at once
			waiting int // requests that wait when the pool is told to drain
			drain   bool
			told    int // connections whose last request says that it is the last
		}{
			{name: "the last request that the policy allows", policy: func(p *pool.Policy) { p.MaxRequests = 3 }, rounds: 3, told: connections},
			{name: "drain, with as many waiting", rounds: 2, waiting: connections, drain: true, told: connections},
			{name: "drain, with three times as many waiting", rounds: 1, waiting: 3 * connections, drain: true, told: connections},
			{name: "drain, with nobody waiting", rounds: 2, drain: true},
			{name: "idle retirement", policy: func(p *pool.Policy) { p.MaxIdleTime = 100 * time.Millisecond }, rounds: 2},
		} {
			t.Run(end.name, func(t *testing.T) {
				h := startHolding(t)
				policy := wide(h, connections)
				policy.MaxWait = callLimit
				if end.policy != nil {
					end.policy(&policy)
				}
				ended := make(chan pool.ConnectionInfo, 4*connections)
				p, u := inProcess(t, pool.Observer{ConnectionClosed: func(c pool.ConnectionInfo, _ pool.CloseReason) { ended <- c }}, policy)
				for round := range end.rounds {
					over := requests(t, u, connections)
					h.holds(t, connections)
					if round == end.rounds-1 && end.drain {
						wait := requests(t, u, end.waiting)
						queued(t, u, end.waiting)
						p.Drain()
						defer answered(t, wait, end.waiting)
					}
					h.let(true)
					answered(t, over, connections)
					if round < end.rounds-1 {
						h.let(false)
					}
				}
				for used := 0; used < connections; { // what idles too long is closed by the pool itself
					if c := <-ended; c.Exchanges > 0 {
						used++
					}
				}
				closePool(t, p) // waits until their sockets are closed
				its, ours := timeWaits(t, int(h.addr.Port()))
				opened := int(u.Stats().Opened)
				t.Logf("%d connections: TIME_WAIT of %d at the server, of %d here; %d requests said close", opened, its, ours, h.last)
				// A dial that the drain calls off may have its connection already, which is not counted as opened.
				calledOff := 0
				for _, n := range u.Stats().Dials {
					calledOff += int(n)
				}
				calledOff -= opened
				if its != h.last || ours < opened-h.last || ours > opened-h.last+calledOff {
					t.Errorf("want %d at the server, %d here, and up to %d of dials called off", h.last, opened-h.last, calledOff)
				}
				if more := opened - connections; h.last < end.told-more || h.last > end.told+more {
					t.Errorf("want %d requests that say close", end.told)
				}
			})
		}
	})
}

// queued waits until n requests wait for a connection.
func queued(t *testing.T, u *pool.Upstream, n int) {
	t.Helper()
	for end := time.Now().Add(callLimit); u.Stats().Waiting != n; <-time.After(pollPause) {
		if time.Now().After(end) {
			t.Fatalf("%d requests wait, want %d", u.Stats().Waiting, n)
		}
	}
}

func answered(t *testing.T, over <-chan error, n int) {
	t.Helper()
	for range n {
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
}
