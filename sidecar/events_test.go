package sidecar

import (
	"reflect"
	"testing"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

func TestAWatcherThatIsSlowIsToldHowMuchItMissedAndWhere(t *testing.T) {
	h := newHub()
	h.publish(&warmpoolv1.Event{}) // numbered, though nobody watches
	w := h.watch(func(*warmpoolv1.Event) bool { return true })
	for range eventBuffer + 5 {
		h.publish(&warmpoolv1.Event{})
	}
	events, dropped := h.take(w)
	if len(events) != eventBuffer || dropped != 0 || events[0].GetSequence() != 2 || events[0].GetTime() == nil {
		t.Fatalf("%d events after %d left out, the first is %v", len(events), dropped, events[0])
	}
	h.publish(&warmpoolv1.Event{})
	events, dropped = h.take(w)
	if len(events) != 1 || dropped != 5 || events[0].GetSequence() != eventBuffer+7 {
		t.Fatalf("then %d events after %d left out: %v", len(events), dropped, events)
	}
	if events, dropped = h.take(w); len(events) != 0 || dropped != 0 {
		t.Fatalf("then %d events after %d left out", len(events), dropped)
	}
	h.unwatch(w)
	h.publish(&warmpoolv1.Event{})
	if events, _ = h.take(w); len(events) != 0 {
		t.Error("an event for one who watches no more")
	}
}

func TestWhatThePoolTellsReachesEveryObserver(t *testing.T) {
	type told = reflect.Value
	var calls []string
	observerThat := func(who string) pool.Observer {
		var o pool.Observer
		v := reflect.ValueOf(&o).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]told) []told {
				calls = append(calls, who+" "+name)
				return nil
			}))
		}
		return o
	}
	one := observers{observerThat("a"), {}, observerThat("b")}.one()
	v := reflect.ValueOf(one)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsNil() {
			t.Errorf("%s is told to nobody", name)
			continue
		}
		var in []told
		for j := range v.Field(i).Type().NumIn() {
			in = append(in, reflect.Zero(v.Field(i).Type().In(j)))
		}
		calls = nil
		v.Field(i).Call(in)
		if !reflect.DeepEqual(calls, []string{"a " + name, "b " + name}) {
			t.Errorf("%s is told to %q", name, calls)
		}
	}
}

func TestTheLastConnectionsOfEachUpstreamAreKept(t *testing.T) {
	r := newRecent()
	o := r.observe()
	for i := range recentConnections + 10 {
		o.ConnectionClosed(pool.ConnectionInfo{Upstream: "a", ID: uint64(i)}, pool.CloseDrain)
	}
	o.ConnectionClosed(pool.ConnectionInfo{Upstream: "b", ID: 1}, pool.CloseDrain)
	if of := r.of("a"); len(of) != recentConnections || of[0].ID != 10 {
		t.Errorf("%d are kept, from %d on", len(of), of[0].ID)
	}
	if all := r.of(""); len(all) != recentConnections+1 {
		t.Errorf("%d of all", len(all))
	}
	r.forget("a")
	if of := r.of("a"); len(of) != 0 {
		t.Error("kept of an upstream that is no more")
	}
}
