package sidecar

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/warmpool-dev/warmpool/pool"
)

// kinds are the kinds of attempts that were seen. Finding one takes no lock and
// allocates nothing.
type kinds struct {
	seed maphash.Seed
	// first are the heads of lists, by hash. Who changes a list holds mu; who reads
	// it finds what there was before or after.
	first [1024]atomic.Pointer[kind]
	mu    sync.Mutex
	count int
}

// kind is what is counted of attempts that are not told apart. A series is looked up
// when it is first recorded on, and again when it is over.
type kind struct {
	key    kindKey
	took   atomic.Pointer[series]
	waited atomic.Pointer[series] // for a connection
	next   atomic.Pointer[kind]
}

// kindKey is what tells the records of attempts apart.
type kindKey struct {
	upstream, host, port string
	method               uint8 // in methods
	status               uint16
	reason               pool.Reason
}

// maxKinds bounds what is kept of kinds. It leaves room for those that have no series
// of their own.
const maxKinds = 2 * maxSeries

func newKinds() *kinds { return &kinds{seed: maphash.MakeSeed()} }

// list is where a kind is, if it is known. An upstream's name says its host and port.
func (k *kinds) list(key *kindKey) *atomic.Pointer[kind] {
	h := maphash.String(k.seed, key.upstream) + uint64(key.status)*31 + uint64(key.method)*7 + uint64(key.reason)*101
	return &k.first[h%uint64(len(k.first))]
}

func (k *kinds) find(key *kindKey) *kind {
	for known := k.list(key).Load(); known != nil; known = known.next.Load() {
		if known.key == *key {
			return known
		}
	}
	return k.learn(key)
}

func (k *kinds) learn(key *kindKey) *kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.list(key)
	first := list.Load()
	for known := first; known != nil; known = known.next.Load() {
		if known.key == *key {
			return known // another goroutine was faster
		}
	}
	learned := &kind{key: *key} // its texts are the pool's own, not a message's: they may be kept
	if k.count < maxKinds {
		k.count++
		learned.next.Store(first)
		list.Store(learned)
	}
	return learned
}

// forget drops the kinds of an upstream that is gone, and those for which there was no
// place, as now there may be.
func (k *kinds) forget(upstream string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.first {
		at := &k.first[i]
		for known := at.Load(); known != nil; known = at.Load() {
			if known.key.upstream == upstream || known.took.Load().overflows() || known.waited.Load().overflows() {
				k.count--
				at.Store(known.next.Load()) // who stands on the kind finds its way from there
			} else {
				at = &known.next
			}
		}
	}
}
