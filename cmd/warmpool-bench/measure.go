package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/program"
)

// Measurement is one row's figures in one round. Those of the peer are 0 where
// there is none.
type Measurement struct {
	Throughput  float64 `json:"requests_per_second"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	PeerCPU     float64 `json:"peer_cpu_us_per_request"`   // user and system time of the intermediary
	ClientCPU   float64 `json:"client_cpu_us_per_request"` // of the client's process
	OriginCPU   float64 `json:"origin_cpu_us_per_request"`
	PeerMemory  float64 `json:"peer_resident_mib"`  // after the round
	Connections float64 `json:"connections_opened"` // to the origin, within the round
	Greedy      float64 `json:"greedy_requests_per_second,omitempty"`
	Errors      int64   `json:"errors"`
}

// lane is the processes of one scenario.
type lane struct {
	Scenario
	origin *child.Process // shared with the other lanes of the group
	peer   peer
	client *child.Process
	greedy *child.Process // another client, who asks all the while; nil: none
	row    *Row
}

// measure runs a group: a round that warms up and then rounds that count.
// Progress is told by say.
func (b *bench) measure(ctx context.Context, g Group, rounds int, say func(format string, args ...any)) (_ GroupReport, err error) {
	rounds = max(rounds, g.LeastRounds)
	report := GroupReport{Load: g.Load, About: g.About, Base: g.Base, Rounds: rounds, Rows: make([]Row, len(g.Scenarios))}
	origin, address, err := b.startOrigin(ctx, g.After)
	if err != nil {
		return report, err
	}
	defer origin.Close()

	var lanes []*lane
	defer func() {
		for _, l := range lanes {
			l.close()
		}
	}()
	for i, s := range g.Scenarios {
		row := &report.Rows[i]
		row.Scenario = s
		l := &lane{Scenario: s, origin: origin, row: row}
		l.peer, err = b.startPeer(ctx, s, address)
		lanes = append(lanes, l)
		if missing, ok := errors.AsType[*program.NotInstalledError](err); ok {
			row.Missing = missing.Error()
			lanes = lanes[:len(lanes)-1]
			continue
		}
		if err != nil {
			return report, err
		}
		front := l.peer.fronts[s.Front]
		if front == "" {
			return report, fmt.Errorf("scenario %q: %s is not started with a front of kind %q", s.Name, s.Peer, s.Front)
		}
		if l.client, err = b.startClient(ctx, s, front, l.peer.tokens[modestCaller]); err != nil {
			return report, err
		}
		if s.Greedy > 0 {
			s.Name, s.InFlight = "greedy client", s.Greedy
			if l.greedy, err = b.startClient(ctx, s, front, l.peer.tokens[greedyCaller]); err != nil {
				return report, err
			}
		}
	}

	for round := range rounds + 1 {
		if round == 0 {
			say("%s: warming up", g.Load)
		} else {
			say("%s: round %d of %d", g.Load, round, rounds)
		}
		for _, i := range turn(len(lanes), round) {
			l := lanes[i]
			m, err := b.measureOnce(ctx, l, g.Requests, round)
			if err != nil {
				return report, fmt.Errorf("%s: %w", l.ID(), err)
			}
			if round > 0 {
				l.row.Rounds = append(l.row.Rounds, m)
			}
		}
	}
	for _, l := range lanes {
		if l.peer.listener == nil || rounds < leastRounds { // a smoke test is too short to be told of
			continue
		}
		if err := l.peer.listener.check(ctx); err != nil {
			l.row.fail(1, err.Error())
		}
	}
	report.conclude()
	return report, nil
}

// measureOnce is one lane's turn in a round.
func (b *bench) measureOnce(ctx context.Context, l *lane, requests, round int) (m Measurement, err error) {
	others := []*child.Process{l.origin}
	if l.peer.process != nil {
		others = append(others, l.peer.process)
	}
	ask := func(p *child.Process, question, answer any) error { return p.Ask(ctx, question, answer, others...) }

	if l.peer.profiler && round > 0 {
		file := fmt.Sprintf("%s-%d.pprof", strings.NewReplacer("/", "-", " ", "-", "=", "").Replace(l.ID()), round)
		if err := ask(l.peer.process, ProfileOrder{File: filepath.Join(b.profiles, file)}, &struct{}{}); err != nil {
			return m, err
		}
		defer func() {
			err = errors.Join(err, ask(l.peer.process, ProfileOrder{}, &struct{}{}))
		}()
	}

	var served [2]OriginFigures
	var spent [2]struct{ peer, origin time.Duration }
	note := func(i int) (err error) {
		if spent[i].origin, err = cpuOf(ctx, l.origin); err != nil {
			return err
		}
		if l.peer.process != nil {
			spent[i].peer, err = cpuOf(ctx, l.peer.process)
		}
		return err
	}

	if l.greedy != nil {
		if err := ask(l.greedy, LoadOrder{Begin: true}, &LoadResult{}); err != nil {
			return m, err
		}
	}
	if err := ask(l.origin, struct{}{}, &served[0]); err != nil {
		return m, err
	}
	if err := note(0); err != nil {
		return m, err
	}
	var result LoadResult
	if err := ask(l.client, LoadOrder{Requests: requests}, &result); err != nil {
		return m, err
	}
	if err := note(1); err != nil {
		return m, err
	}
	if err := ask(l.origin, struct{}{}, &served[1]); err != nil {
		return m, err
	}

	if l.greedy != nil {
		var other LoadResult
		if err := ask(l.greedy, LoadOrder{End: true}, &other); err != nil {
			return m, err
		}
		l.row.fail(other.Errors, other.FirstError)
		m.Greedy = float64(other.Answered) / other.Elapsed.Seconds()
	}
	// What both callers ask costs the sidecar and the origin.
	all := max(int64(requests), served[1].Requests-served[0].Requests)
	perRequest := func(d time.Duration) float64 { return microseconds(d) / float64(all) }
	m = Measurement{
		Throughput:  float64(requests) / result.Elapsed.Seconds(),
		P50:         microseconds(result.P50),
		P99:         microseconds(result.P99),
		PeerCPU:     perRequest(spent[1].peer - spent[0].peer),
		ClientCPU:   microseconds(result.CPU) / float64(requests),
		OriginCPU:   perRequest(spent[1].origin - spent[0].origin),
		Connections: float64(served[1].Connections - served[0].Connections),
		Greedy:      m.Greedy,
		Errors:      result.Errors,
	}
	l.row.fail(result.Errors, result.FirstError)
	if n := served[1].Requests - served[0].Requests; result.Errors == 0 && n < int64(requests) {
		m.Errors = int64(requests) - n
		l.row.fail(m.Errors, fmt.Sprintf("the origin served %d requests of %d", n, requests))
	}
	if l.peer.process != nil {
		resident, err := residentBytes(l.peer.process.Pid)
		if err != nil {
			return m, err
		}
		m.PeerMemory = float64(resident) / (1 << 20)
	}
	return m, nil
}

func (l *lane) close() {
	if l.client != nil {
		l.client.Close()
	}
	if l.greedy != nil {
		l.greedy.Close()
	}
	if l.peer.process != nil {
		l.peer.process.Close()
	}
	if l.peer.listener != nil {
		l.peer.listener.close()
	}
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// cpuOf is the CPU time that a child has used so far.
func cpuOf(ctx context.Context, p *child.Process) (time.Duration, error) {
	d, err := cpuTime(p.Pid)
	if errors.Is(err, syscall.EINVAL) { // there is no such process any more
		return 0, p.Ended(ctx)
	}
	return d, err
}
