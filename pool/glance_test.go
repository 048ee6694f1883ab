package pool_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// outcome is a sink that keeps nothing but how the exchange ended.
type outcome chan *pool.Error

func (outcome) Head(*h1.Head, int64) error              { return nil }
func (outcome) Body([]byte) error                       { return nil }
func (o outcome) End(_ []h1.Field, failure *pool.Error) { o <- failure }

// spoilable is an origin's end of a connection.
type spoilable struct {
	*net.TCPConn

	mu      sync.Mutex
	spoilt  bool
	trusted bool // a request came after it was spoilt
}

func (s *spoilable) serve(gathered *sync.WaitGroup, first *bool) {
	for in := bufio.NewReader(s); ; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		s.trusted = s.trusted || s.spoilt
		s.mu.Unlock()
		if *first {
			*first = false
			gathered.Done()
			gathered.Wait()
		}
		if _, err := io.WriteString(s, reply); err != nil {
			return
		}
	}
}

// Of the connections that lie idle some have ended, or have brought what nobody
// asked for, when a batch of requests comes that looks at several at once. None of
// its requests is sent on one of those.
func TestABatchSeesWhatHasComeOnEachConnection(t *testing.T) {
	const idle = 16
	for name, spoil := range map[string]func(*net.TCPConn) error{
		"fin":   (*net.TCPConn).CloseWrite,
		"rst":   func(c *net.TCPConn) error { _ = c.SetLinger(0); return c.Close() },
		"bytes": func(c *net.TCPConn) error { _, err := io.WriteString(c, reply); return err },
	} {
		t.Run(name, func(t *testing.T) {
			var (
				gathered sync.WaitGroup // so that each of the first requests has a connection of its own
				mu       sync.Mutex
				ends     []*spoilable
			)
			gathered.Add(idle)
			addr := silent(t, func(c net.Conn) {
				defer c.Close()
				end := &spoilable{TCPConn: c.(*net.TCPConn)}
				mu.Lock()
				ends = append(ends, end)
				first := len(ends) <= idle
				mu.Unlock()
				end.serve(&gathered, &first)
			})
			u := open(t, "http://"+addr, func(p *pool.Policy) { p.Preconnect = 1 })
			var warming []<-chan answer
			for range idle {
				warming = append(warming, ask(t, u, &pool.Request{}))
			}
			for _, done := range warming {
				(<-done).mustBe(t, "ok")
			}

			mu.Lock()
			known := ends[:idle:idle]
			mu.Unlock()
			for i, end := range known {
				if i%3 == 0 {
					end.mu.Lock()
					end.spoilt = true
					err := spoil(end.TCPConn)
					end.mu.Unlock()
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			var b pool.Batch
			exchanges := make([]pool.Exchange, idle)
			outcomes := make(outcome, idle)
			for i := range exchanges {
				if err := b.Start(u, &exchanges[i], &pool.Request{Method: "POST", Receipt: true}, outcomes); err != nil {
					t.Fatal(err)
				}
			}
			b.Send()
			for range idle {
				if failure := <-outcomes; failure != nil {
					t.Errorf("a request failed: %v", failure)
				}
			}
			for i := range exchanges {
				if n := exchanges[i].Receipt().Attempts; n != 1 {
					t.Errorf("a request took %d attempts", n)
				}
			}
			for i, end := range known {
				end.mu.Lock()
				if end.trusted {
					t.Errorf("a request was sent on connection %d, which was spoilt before", i)
				}
				end.mu.Unlock()
			}
		})
	}
}
