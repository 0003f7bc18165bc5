package watch_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/watch"
)

// The attacks that the watch plays to itself are found at every insurer, every hour, and leave no trace in what it says.
func TestSelfTest(t *testing.T) {
	told := 0
	w, err := watch.New(watch.Config{Policy: watch.DefaultPolicy(), Emit: func(*watch.Alarm) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	before := w.Report()
	for h := range 30 {
		if blind := w.SelfTest(tenants, noon.Add(time.Duration(h)*time.Hour)); len(blind) > 0 {
			t.Fatalf("hour %d: %v are blind", h, blind)
		}
	}
	after := w.Report()
	before.From, before.To, after.From, after.To = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	for d, was := range before.Detectors { // those that are played an actor with a past; tables with a bound let what was played grow old
		if slices.Contains([]string{"D7", "D8", "D9", "D10", "D13", "D15", "R2", "R3"}, d) && after.Detectors[d] != was {
			t.Errorf("%s holds %+v behind the self-test, %+v before", d, after.Detectors[d], was)
		}
	}
	before.Detectors, after.Detectors = nil, nil
	if d := cmp.Diff(before, after); d != "" || told != 0 {
		t.Errorf("the self-test left a trace (told %d): %s", told, d)
	}
}

// A detector that is stopped is told: one that fails, and one that no longer finds.
func TestBlind(t *testing.T) {
	for _, stop := range []string{"D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D10", "D11", "D12", "D13", "D14", "D15", "D16", "R1", "R2", "R3", "R4"} {
		var told []string
		w, err := watch.New(watch.Config{Emit: func(a *watch.Alarm) { told = append(told, a.Detector+" "+a.Cause+" "+string(a.Actor)) }})
		if err != nil {
			t.Fatal(err)
		}
		watch.Stop(w, stop)
		if blind := w.SelfTest(tenants, noon); !slices.Equal(blind, []string{stop}) || len(told) == 0 || told[0] != "D17 blind detector:"+stop {
			t.Errorf("%s stopped: blind %v, told %v", stop, blind, told)
		}
	}
}

// broken is a detector that fails at the third event.
type broken struct{ n int }

func (*broken) Name() string                                     { return "broken" }
func (*broken) Stats() watch.Stats                               { return watch.Stats{} }
func (*broken) Tick(_ time.Time, to []watch.Alarm) []watch.Alarm { return to }
func (b *broken) Observe(_ *watch.Event, _ []watch.Alarm) []watch.Alarm {
	if b.n++; b.n == 3 {
		panic("third event")
	}
	return nil
}

func TestFailingDetectorIsTakenOut(t *testing.T) {
	b := &broken{}
	r := see(t, watch.Config{Also: []watch.Detector{b}, Canaries: population[9:10]}, at(1, 0, 0), at(2, 1, 1), at(3, 2, 2), at(4, 3, 3), at(5, 4, 9))
	if got := causes(r); !slices.Equal(got, []string{"blind", "canary"}) || b.n != 3 {
		t.Errorf("got %v, asked %d times; want one alarm that it is blind, and the others at work", got, b.n)
	}
}
