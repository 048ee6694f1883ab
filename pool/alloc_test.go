package pool_test

import (
	"testing"

	"github.com/warmpool-dev/warmpool/pool"
)

// The hit path allocates what the caller keeps, and the exchange itself:
//
//  1. the exchange and its response, in one
//  2. the channel by which the caller learns of the end
//  3. the response's fields
//  4. the one string that holds their names and values
//  5. the response's body
//
// Neither the queue, nor the connection, nor writing, nor parsing allocates.
func TestAnExchangeAllocatesOnlyWhatItsCallerKeeps(t *testing.T) {
	const want = 5
	u := openWith(t, pool.Options{Dial: dialShortcut}, "http://origin.test", fixed)
	exchange := func() {
		if _, err := u.Do(t.Context(), &smallRequest); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 { // buffers that are kept have been made
		exchange()
	}
	if got := testing.AllocsPerRun(1000, exchange); got != want {
		t.Errorf("%v allocations for a small exchange, want %d", got, want)
	}
}
