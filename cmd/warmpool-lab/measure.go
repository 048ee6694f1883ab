package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/machine"
	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/link"
)

const (
	// linkTolerance is how far the median round trip may be from what the link is
	// set to.
	linkTolerance = time.Millisecond
	readyLimit    = time.Minute
)

// measure carries out the sections, each with a sidecar of its own.
func (l *lab) measure(ctx context.Context, only []Section) (r *Report, err error) {
	r = l.kept
	if r == nil {
		r = &Report{}
	}
	r.drop(only)
	r.Plan, r.Link, r.RTT, r.Missing = l.plan, l.setting, l.rtt(), l.missing
	if r.Environment, err = l.environment(ctx); err != nil {
		return r, err
	}
	if err := l.testLink(ctx, r); err != nil {
		return r, err
	}
	for _, s := range only {
		part := Part{Section: s, Began: time.Now().UTC().Truncate(time.Second), Warmpool: r.Environment.Warmpool}
		if err := l.section(ctx, s, r); err != nil {
			return r, err
		}
		if part.Load, err = machine.LoadAverage(); err != nil {
			return r, err
		}
		r.Parts = append(r.Parts, part)
	}
	var passed [2]link.Figures
	if err := l.ask(ctx, l.link, struct{}{}, &passed); err != nil {
		return r, err
	}
	r.Passed = passed
	r.conclude()
	return r, nil
}

func (l *lab) testLink(ctx context.Context, r *Report) error {
	found, err := l.order(ctx, Order{Section: SelfTest})
	if err != nil {
		return err
	}
	r.SelfTest = selfTestOf(found.RoundTrips, l.rtt())
	l.say("%s", r.SelfTest)
	// What a smoke test says of time nobody concludes anything from.
	if off := r.SelfTest.Median - l.rtt(); off.Abs() > linkTolerance && !l.plan.Quick {
		return fmt.Errorf("the median round trip is %s, %s from what the link is set to; more than %s is too much to measure by: is the machine busy?",
			r.SelfTest.Median, off, linkTolerance)
	}
	return nil
}

// section carries out one section and adds what it shows to the report.
func (l *lab) section(ctx context.Context, s Section, r *Report) error {
	switch s {
	case New:
		l.say("new connections")
		found, err := l.order(ctx, Order{Section: s})
		r.add(found.Cells)
		return err
	case LightRound:
		return l.rounds(ctx, s, l.plan.Light, r)
	case HeavyRound:
		return l.rounds(ctx, s, l.plan.Heavy, r)
	case ObjectRound:
		l.say("%d objects of %s", objects, size(objectSize))
		return l.with(ctx, "objects", l.plan.fetching(), func(socket string) error {
			found, err := l.order(ctx, Order{Section: s, Socket: socket})
			r.Fetched = found.Objects
			return err
		})
	case PostRound:
		return l.posts(ctx, r)
	case UploadRound:
		return l.uploads(ctx, r)
	case KeptRound:
		return l.keeping(ctx, r)
	case LoadRound:
		return l.loaded(ctx, r)
	}
	return fmt.Errorf("unknown section %q", s)
}

// with has a sidecar for slots while f runs.
func (l *lab) with(ctx context.Context, name string, slots []Slot, f func(socket string) error) error {
	p, socket, err := l.sidecar(name, slots)
	if err != nil {
		return err
	}
	defer l.end(p)
	if err := l.ready(ctx, p, socket); err != nil {
		return err
	}
	return f(socket)
}

func (l *lab) rounds(ctx context.Context, s Section, n int, r *Report) error {
	return l.with(ctx, string(s), l.plan.idling(), func(socket string) error {
		for i := range n {
			l.say("%s requests after idleness: round %d of %d", s, i+1, n)
			found, err := l.order(ctx, Order{Section: s, Socket: socket})
			if err != nil {
				return err
			}
			r.add(found.Cells)
		}
		return nil
	})
}

// posts lets each way send POSTs around the moment of close, warmpool when it has
// seen the origin close, and when it has not, with a floor and without.
func (l *lab) posts(ctx context.Context, r *Report) error {
	play := func(w Way, kind Kind, socket string) error {
		l.say("%d POSTs around the moment of close: %s", l.plan.Posts, w)
		found, err := l.order(ctx, Order{Section: PostRound, Way: w, Kind: kind, Socket: socket})
		if err != nil {
			return err
		}
		served, err := l.served(ctx)
		if err != nil {
			return err
		}
		found.Posts.Twice = served.Twice[postID(w, kind)]
		r.Posts = append(r.Posts, *found.Posts)
		return nil
	}
	err := l.with(ctx, "posts", l.plan.posting(), func(socket string) error {
		for _, w := range pooled {
			if l.missing[w] != "" {
				continue
			}
			if err := play(w, Post, socket); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, kind := range []Kind{PostFirst, PostNoFloor} {
		err := l.with(ctx, string(kind), l.plan.postingFirst(kind), func(socket string) error { return play(Warmpool, kind, socket) })
		if err != nil {
			return err
		}
	}
	return nil
}

// keeping are downloads on windows that were opened before, kept open and not.
func (l *lab) keeping(ctx context.Context, r *Report) error {
	for _, kind := range []Kind{Left, Kept} {
		l.say("%s down after %s, the far end's window is %s", size(keptSize), keptIdle, kind)
		err := l.with(ctx, string(kind), l.plan.keeping(kind), func(socket string) error {
			found, err := l.order(ctx, Order{Section: KeptRound, Kind: kind, Socket: socket})
			if err != nil {
				return err
			}
			slices.Sort(found.Keeping.Took)
			r.Keeping = append(r.Keeping, *found.Keeping)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loaded is a bounded pool under load, with dials ahead of requests and without, by
// turns.
func (l *lab) loaded(ctx context.Context, r *Report) error {
	slots := append(l.plan.loading(Ahead), l.plan.loading(Asked)...)
	return l.with(ctx, "loaded", slots, func(socket string) error {
		for round := range l.plan.Loads {
			for _, tls := range []bool{false, true} {
				for _, kind := range []Kind{Asked, Ahead} {
					l.say("%.0f %% load of %d connections, %s, dialed %s: round %d of %d", 100*loadedShare, loadedMax, schemeName(tls), kind, round+1, l.plan.Loads)
					found, err := l.order(ctx, Order{Section: LoadRound, Kind: kind, TLS: tls, Round: round, Socket: socket})
					if err != nil {
						return err
					}
					r.Loaded = append(r.Loaded, *found.Loaded)
				}
			}
		}
		return nil
	})
}

// uploads are measured with slow start after idleness and without. The setting
// counts at the side that sends, and a sidecar may read it when it starts.
func (l *lab) uploads(ctx context.Context, r *Report) error {
	const setting = "tcp_slow_start_after_idle"
	for _, on := range []bool{true, false} {
		value := strconv.Itoa(map[bool]int{true: 1, false: 0}[on])
		l.say("an upload among %d connections, %s=%s", uploadAmong, setting, value)
		if err := l.near.Set(map[string]string{setting: value}); err != nil {
			return err
		}
		err := l.with(ctx, "uploads-"+value, l.plan.choosing(), func(socket string) error {
			found, err := l.order(ctx, Order{Section: UploadRound, Socket: socket})
			if err != nil {
				return err
			}
			found.Uploads.SlowStartAfterIdle = on
			slices.Sort(found.Uploads.Took)
			r.Uploads = append(r.Uploads, *found.Uploads)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return l.near.Set(map[string]string{setting: "1"})
}
