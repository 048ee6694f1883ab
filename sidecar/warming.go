package sidecar

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// warmUp makes the sidecar ready once every warm floor stands, or warm_timeout is
// over: an upstream that is down must not keep the pod from starting. What is
// missing then goes on being dialed.
func (s *Sidecar) warmUp(ctx context.Context) {
	begun, most := time.Now(), s.settings.warmTimeout()
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var waiting sync.WaitGroup
	for _, name := range s.pool.Names() {
		if u, err := s.pool.Upstream(name); err == nil {
			waiting.Go(func() { _ = u.AwaitWarm(limited) }) // what is missing is told below
		}
	}
	waiting.Wait()
	if ctx.Err() != nil {
		return
	}
	for _, short := range s.pool.Shortfalls() {
		if limited.Err() == nil {
			break // all stood: what has ended since is being replaced
		}
		s.log.Warn("ready although an upstream is below its warm floor", "upstream", short.Upstream,
			"connections", short.Ready, "warm", short.Floor, "last_dial_error", short.LastDialError, "warm_timeout", most)
	}
	s.health.enter(serving)
	s.log.Info("ready", "after", time.Since(begun).Round(time.Millisecond))
}

// shortOf words what is missing of the warm floors; empty: nothing is.
func shortOf(p *pool.Pool) string {
	var all []string
	for _, short := range p.Shortfalls() {
		all = append(all, short.String())
	}
	return strings.Join(all, "; ")
}
