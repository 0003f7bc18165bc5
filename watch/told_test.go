package watch_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/watch"
)

// A source tells in the night what happened by day. What is learned again counts as it did when it came: the same events are late,
// and what follows is judged as by a watch that was never started again.
func TestLearnedAsTold(t *testing.T) {
	var lines strings.Builder
	live := newWatch(t)
	seq := uint64(0)
	event := func(day, clerk, person int, reason string, late time.Duration) *querschott.Access {
		seq++
		e := at(seq, float64(day*86400+clerk*60), 0)
		e.Gate, e.Actor, e.Person, e.ReasonRef = "feed:x", querschott.Actor(fmt.Sprint("clerk-", clerk)), fmt.Sprintf("p%d", person), reason
		e.Received = e.Time.Add(late)
		return &e
	}
	tell := func(w *watch.Watch, e *querschott.Access) {
		w.Tick(e.Received.Add(-time.Millisecond)) // as the clock of a live stream does
		w.Observe(e)
	}
	person := 0
	for day := range 25 {
		if wd := noon.AddDate(0, 0, day).Weekday(); wd == time.Saturday || wd == time.Sunday {
			continue
		}
		for clerk := range 10 {
			for i := range 6 {
				person++
				reason := fmt.Sprint("case-", person)
				if i == 0 {
					reason = ""
				}
				e := event(day, clerk, person, reason, 15*time.Hour) // the next day, in the night
				tell(live, e)
				line, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				lines.Write(append(line, '\n'))
			}
		}
	}
	learn := func(text string) *watch.Watch {
		w := newWatch(t)
		if _, err := w.Learn(t.Context(), []watch.Source{{Name: "fed", Reader: access.NewReader(strings.NewReader(text))}}); err != nil {
			t.Fatal(err)
		}
		return w
	}
	again, asMade := learn(lines.String()), newWatch(t)
	for line := range strings.Lines(lines.String()) { // by the times of the events alone
		e, err := access.NewReader(strings.NewReader(line)).Next()
		if err != nil {
			t.Fatal(err)
		}
		e.Received = time.Time{}
		asMade.Observe(&e)
	}
	want := live.Summary()
	if got := again.Summary(); got.Counts != want.Counts || !got.From.Equal(want.From) || got.To.Sub(want.To).Abs() > time.Second || want.Counts.Late != want.Counts.Events {
		t.Errorf("learned again: %+v from %v to %v, live it was %+v from %v to %v", got.Counts, got.From, got.To, want.Counts, want.From, want.To)
	}
	if got := asMade.Summary(); got.Counts.Late != 0 {
		t.Errorf("%d events are late without the time at which they came", got.Counts.Late)
	}
	for i := range 60 {
		e := event(25, 3, 1_000_000+i, "", 15*time.Hour)
		tell(live, e)
		tell(again, e)
	}
	a, b := alarmTexts(live), alarmTexts(again)
	if !slices.Equal(a, b) || len(a) == 0 {
		t.Errorf("alarms after it: live %v, learned again %v", a, b)
	}
}

// An event that claims to have come in the future moves no clock until a second one confirms it.
func TestToldInTheFuture(t *testing.T) {
	w := newWatch(t)
	for i := range 3 {
		e := at(uint64(i+1), float64(i), i)
		if i == 1 {
			e.Received = e.Time.AddDate(1, 0, 0)
		}
		w.Observe(&e)
	}
	w.Flush()
	if got := w.Summary(); got.Counts.Future != 1 || got.To.After(noon.Add(time.Minute)) {
		t.Errorf("got %+v up to %v", got.Counts, got.To)
	}
}

func newWatch(t *testing.T) *watch.Watch {
	t.Helper()
	w, err := watch.New(watch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func alarmTexts(w *watch.Watch) (list []string) {
	for _, a := range w.Report().Alarms {
		list = append(list, fmt.Sprintf("%s/%s %s %v %v", a.Detector, a.Cause, a.Actor, a.Arithmetic, a.Events))
	}
	return list
}
