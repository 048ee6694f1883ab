// Package soak holds the engine to its rules under faults: that every answer is
// the one to its own request, that no request is acted on twice that must not be,
// that a failure says of the request's delivery only what is true, and that
// nothing is left behind.
//
// The truth is the server's: origins of the package's own write down every
// request they read, and what they did with it. The callers write down what they
// were told. The two records are compared when everything is closed.
//
// What is drawn by chance follows from the seed, which each run prints, and from
// the number of the request or connection it is drawn for. Which of two things
// that cross comes first is the machine's choice, so a seed brings back the
// same mix, not the same run.
package soak_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The ordinary run is short; make soak is the long one.
var (
	requestCount = flag.Int("requests", 6000, "requests that the fault soak sends")
	postCount    = flag.Int("posts", 4000, "POSTs that are sent to servers that close at the wrong moment")
	seedFlag     = flag.Uint64("seed", 0, "brings back the mix of an earlier run; 0 draws one")
)

func TestMain(m *testing.M) {
	if os.Getenv(countingServerEnv) != "" {
		if err := runCountingServer(); err != nil {
			fmt.Fprintln(os.Stderr, "counting server:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// drawSeed returns the run's seed and prints it.
func drawSeed(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (bring it back with -args -seed=%d)", seed, seed)
	return seed
}

// What chance is drawn for, so that no two draws share their numbers.
const (
	forScript     = 1 << 56 // a request, by its id
	forFault      = 2 << 56 // what the origin does with one arrival of a request
	forConnection = 3 << 56 // one connection of an origin
	forRestarts   = 4 << 56
	forCallers    = 5 << 56
	forProof      = 6 << 56
)

// chance is the source of chance for the n-th of something.
func chance(seed, what, n uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, what^n*0x9e3779b97f4a7c15))
}
