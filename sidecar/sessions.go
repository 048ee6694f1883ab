package sidecar

import "sync"

// sessions are those that are open, so that they can be told to drain, and ended.
type sessions struct {
	mu struct {
		sync.Mutex
		open     map[*session]struct{}
		draining bool
	}
}

func (s *sessions) add(se *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.draining {
		return false
	}
	if s.mu.open == nil {
		s.mu.open = make(map[*session]struct{})
	}
	s.mu.open[se] = struct{}{}
	return true
}

func (s *sessions) remove(se *session) {
	s.mu.Lock()
	delete(s.mu.open, se)
	s.mu.Unlock()
}

// count is how many are open.
func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.open)
}

// close ends all of them, after drain.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for se := range s.mu.open {
		se.close()
	}
}

func (s *sessions) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.draining = true
	for se := range s.mu.open {
		se.drain()
	}
}
