package pool

import (
	"math/rand/v2"
	"testing"
	"time"
)

// closes feeds ages, a second apart, and returns the time after them.
func closes(l *idleLimit, from instant, ages ...time.Duration) instant {
	for _, age := range ages {
		from += time.Second
		l.closed(age, from)
	}
	return from + time.Second
}

func TestNothingIsConcludedFromFewCloses(t *testing.T) {
	var l idleLimit
	now := closes(&l, 0, 2*time.Second, 2*time.Second)
	if got := l.learned(now); got != 0 {
		t.Errorf("learned %s from two closes", got)
	}
}

func TestATimersAgeIsLearned(t *testing.T) {
	var l idleLimit
	now := closes(&l, 0, 2010*time.Millisecond, 2*time.Second, 2030*time.Millisecond, 2020*time.Millisecond)
	if got := l.learned(now); got != 2*time.Second {
		t.Errorf("learned %s, want the youngest age, 2s", got)
	}
}

func TestACloseFarFromATimersDoesNotCount(t *testing.T) {
	var l idleLimit
	now := closes(&l, 0, 5*time.Second, 300*time.Millisecond, 5*time.Second, 5010*time.Millisecond, 5*time.Second)
	if got := l.learned(now); got != 5*time.Second {
		t.Errorf("learned %s, want 5s", got)
	}
}

func TestARestartTeachesNothing(t *testing.T) {
	var l idleLimit
	now := closes(&l, 0, 5*time.Second, 5*time.Second, 5*time.Second)
	for i := range 20 { // everything idle goes at one moment, at every age
		l.closed(time.Duration(i)*200*time.Millisecond, now+time.Duration(i)*time.Millisecond)
	}
	if got := l.learned(now + time.Second); got != 5*time.Second {
		t.Errorf("learned %s after a restart, want 5s still", got)
	}
}

// A restart that closes a connection that was used and one that was not, each alone of
// its kind, closes both at one moment; and whatever it closes, it refuses to be dialed
// then. Three of them are not a timer.
func TestRestartsThatCloseOneConnectionOfAKindTeachNothing(t *testing.T) {
	for name, restart := range map[string]func(used, unused *idleLimit, age time.Duration, now instant){
		"of both kinds": func(used, unused *idleLimit, age time.Duration, now instant) {
			used.closed(age, now)
			used.meets(unused)
			unused.closed(age+5*time.Second, now+time.Millisecond)
			used.meets(unused)
		},
		"and then refused": func(used, unused *idleLimit, age time.Duration, now instant) {
			used.closed(age, now)
			used.restarted(now + 30*time.Millisecond)
			unused.restarted(now + 30*time.Millisecond)
		},
	} {
		var used, unused idleLimit
		now := time.Minute
		for range 4 {
			restart(&used, &unused, 7*time.Second, now)
			now += time.Minute
		}
		if a, b := used.learned(now), unused.learned(now); a != 0 || b != 0 {
			t.Errorf("%s: learned %s and %s from restarts", name, a, b)
		}
		now = closes(&used, now, 7*time.Second, 7*time.Second, 7*time.Second)
		if got := used.learned(now); got != 7*time.Second {
			t.Errorf("%s: learned %s from a timer after restarts, want 7s", name, got)
		}
	}
}

func TestOfAgesThatDifferTheLeastThatIsPossibleIsEstimated(t *testing.T) {
	var l idleLimit
	chance := rand.New(rand.NewPCG(1, 2))
	now := instant(0)
	for range 30 {
		now = closes(&l, now, 500*time.Millisecond+time.Duration(chance.Int64N(int64(2500*time.Millisecond))))
	}
	if got := l.learned(now); got < 400*time.Millisecond || got > 600*time.Millisecond || !l.erratic(now) {
		t.Errorf("learned %s from closes between 0.5 s and 3 s", got)
	}
}

func TestAServerThatClosesAtAnyAgeDoesNotEndReuse(t *testing.T) {
	var l idleLimit
	now := instant(0)
	for i := range 50 {
		now = closes(&l, now, time.Duration(i+1)*200*time.Millisecond)
	}
	if got := l.learned(now); got < 500*time.Millisecond || got > time.Second {
		t.Errorf("learned %s from closes between 0.2 and 10 s, want half of what nine in ten reach", got)
	}
}

func TestATimerThatIsOutlivedIsForgotten(t *testing.T) {
	var l idleLimit
	now := closes(&l, 0, 2*time.Second, 2*time.Second, 2*time.Second)
	if most := l.patience(); most < 2500*time.Millisecond || most > 4*time.Second {
		t.Errorf("a connection is watched for %s where 2 s are known", most)
	}
	l.outlived(l.patience(), now)
	if got := l.learned(now); got != 0 {
		t.Errorf("learned %s still", got)
	}
}

func TestWhatWasSeenIsForgotten(t *testing.T) {
	var l idleLimit
	now := closes(&l, 0, 2*time.Second, 2*time.Second, 2*time.Second)
	if l.learned(now) == 0 {
		t.Fatal("nothing learned")
	}
	if got := l.learned(now + idleMemory + time.Second); got != 0 {
		t.Errorf("learned %s long after the last close", got)
	}
}

func TestClosesAreRememberedInBoundedNumber(t *testing.T) {
	var l idleLimit
	for i := range 10000 {
		l.closed(time.Second, instant(i)*time.Microsecond)
		l.closed(time.Second, instant(i)*time.Second)
	}
	if len(l.seen) > idleSamples || len(l.burst) > idleSamples {
		t.Errorf("%d and %d are kept", len(l.seen), len(l.burst))
	}
}
