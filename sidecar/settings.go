package sidecar

import (
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// settings is the configuration in force, without the upstreams, of which the
// book keeps record. It is immutable and exchanged as a whole.
type settings struct {
	now atomic.Pointer[warmpoolv1.Config]
}

func newSettings(cfg *warmpoolv1.Config) *settings {
	s := &settings{}
	s.set(cfg)
	return s
}

func (s *settings) set(cfg *warmpoolv1.Config) {
	own := proto.CloneOf(cfg)
	own.Upstreams = nil
	s.now.Store(own)
}

// grace is the longest time for what runs when something is drained.
func (s *settings) grace() time.Duration { return s.now.Load().GetDrain().GetGrace().AsDuration() }

// warmTimeout is the longest time that the start waits for the warm floors.
func (s *settings) warmTimeout() time.Duration {
	return s.now.Load().GetWarmTimeout().AsDuration()
}

// keepServing is for how long to go on after being told to stop.
func (s *settings) keepServing() time.Duration {
	return s.now.Load().GetDrain().GetKeepServing().AsDuration()
}
