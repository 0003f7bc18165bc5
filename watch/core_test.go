package watch_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/watch"
)

var noon = time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)

// at is an access of one clerk to a person, so many seconds after noon.
func at(seq uint64, seconds float64, person int) querschott.Access {
	return querschott.Access{
		Seq: seq, Gate: "g", Time: noon.Add(time.Duration(seconds * float64(time.Second))), Service: querschott.Desk, Insurer: tenants[0],
		Tenant: tenants[0], Actor: "clerk", Credential: "c", Role: querschott.RoleStaff, Action: "read", Person: population[person],
		Records: 1, Outcome: "success", ReasonRef: fmt.Sprintf("case-%d", person), RequestID: fmt.Sprint(seq),
	}
}

// see shows events to a watch and returns what it reports.
func see(t *testing.T, cfg watch.Config, events ...querschott.Access) *watch.Report {
	t.Helper()
	w, err := watch.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		w.Observe(&events[i])
	}
	w.Flush()
	return w.Report()
}

func causes(r *watch.Report) (list []string) {
	for _, a := range r.Alarms {
		list = append(list, a.Cause)
	}
	return list
}

// The caps are exact: at the cap nothing, one person more an alarm, whatever comes twice.
func TestCapIsExact(t *testing.T) {
	var events []querschott.Access
	for i := range 20 {
		events = append(events, at(uint64(2*i+1), float64(i), i), at(uint64(2*i+2), float64(i)+0.5, i))
	}
	if got := causes(see(t, watch.Config{}, events...)); got != nil {
		t.Errorf("20 persons in a minute: got %v, want nothing", got)
	}
	r := see(t, watch.Config{}, append(events, at(41, 59.9, 20))...)
	if got := causes(r); !slices.Equal(got, []string{"cap-minute"}) {
		t.Fatalf("21 persons in a minute: got %v, want cap-minute", got)
	}
	a := r.Alarms[0]
	if a.Arithmetic[0].Value != 21 || a.Arithmetic[1].Value != 20 || a.Events.Count != 21 || !a.Events.First.Equal(noon) || a.Mode != watch.Shadow {
		t.Errorf("the alarm says %+v", a)
	}
	if got := causes(see(t, watch.Config{}, append(events, at(41, 61, 20))...)); got != nil {
		t.Errorf("21 persons in 61 seconds: got %v, want nothing", got)
	}
}

// TestRefusalHasItsArithmetic: the gate refuses the 21st person; the alarm says which cap was reached.
func TestRefusalHasItsArithmetic(t *testing.T) {
	var events []querschott.Access
	for i := range 20 {
		events = append(events, at(uint64(i+1), float64(i), i))
	}
	refused := func(second float64) querschott.Access {
		e := at(21, second, 20)
		e.Outcome, e.Cause, e.Person, e.Records = "denied", "reach", "", 0
		return e
	}
	want := []watch.Number{{Name: "refused", Value: 1, Unit: "requests"}, {Name: "persons", Value: 20, Unit: "persons/min"}, {Name: "cap", Value: 20, Unit: "persons/min"}}
	r := see(t, watch.Config{}, append(events, refused(20))...)
	if got := causes(r); !slices.Equal(got, []string{"cap-gate"}) || !slices.Equal(r.Alarms[0].Arithmetic, want) {
		t.Errorf("got %v, want cap-gate with %v", r.Alarms, want)
	}
	r = see(t, watch.Config{}, append(events, refused(60.5))...) // the first person's minute is over, so it was not this cap
	if len(r.Alarms) != 1 || !slices.Equal(r.Alarms[0].Arithmetic, want[:1]) {
		t.Errorf("got %v, want only what the gate said", r.Alarms)
	}
}

func TestTwiceCountsOnce(t *testing.T) {
	a, b := at(1, 0, 1), at(2, 1, 2)
	r := see(t, watch.Config{}, a, b, a, b, b)
	if r.Counts.Duplicates != 3 || r.Counts.Events != 5 || r.Explained[0].Reached != 2 {
		t.Errorf("got %+v and %+v, want 3 duplicates of 5 events", r.Counts, r.Explained)
	}
	other := at(2, 1, 3) // the same number, another event: somebody else's counter
	other.RequestID = "x"
	if r := see(t, watch.Config{}, a, b, other); r.Counts.Duplicates != 0 {
		t.Errorf("another event with a known number was left out")
	}
}

// A clock that is wrong once moves nothing; when a second event confirms it, time goes on.
func TestFutureMustBeConfirmed(t *testing.T) {
	far := at(2, 86400, 2)
	r := see(t, watch.Config{}, at(1, 0, 1), far, at(3, 1, 3), at(4, 2, 4))
	if r.Counts.Future != 1 || !r.To.Equal(noon.Add(2*time.Second)) {
		t.Errorf("got %+v up to %v, want one event from the future and no step in time", r.Counts, r.To)
	}
	r = see(t, watch.Config{}, at(1, 0, 1), far, at(3, 86401, 3))
	if r.Counts.Future != 0 || !r.To.Equal(noon.Add(86401*time.Second)) {
		t.Errorf("got %+v up to %v, want the next day", r.Counts, r.To)
	}
}

// What a gate that was cut off delivers at once counts when it happened, and a burst among it is one.
func TestEventsOfOneBatch(t *testing.T) {
	batch := func(apart float64) (events []querschott.Access) {
		for i := range 25 { // the newest claims to be a second old
			events = append(events, at(uint64(i+2), 1199-float64(24-i)*apart, i))
		}
		return events
	}
	clock := at(1, 1200, 0)
	clock.Gate, clock.Actor, clock.Credential = "other", "colleague", "colleague"
	if got := causes(see(t, watch.Config{}, append([]querschott.Access{clock}, batch(4)...)...)); got != nil {
		t.Errorf("15 persons a minute in one batch: got %v, want nothing", got)
	}
	if got := causes(see(t, watch.Config{}, append([]querschott.Access{clock}, batch(2)...)...)); !slices.Equal(got, []string{"cap-minute"}) {
		t.Errorf("30 persons a minute in one batch: got %v, want cap-minute", got)
	}
}

// Events that come late are no burst of the minute in which they come.
func TestLateEvents(t *testing.T) {
	var events []querschott.Access
	events = append(events, at(1, 3600, 100))
	for i := range 40 {
		events = append(events, at(uint64(i+2), float64(60*i), i))
	}
	r := see(t, watch.Config{}, events...)
	if r.Counts.Late != 40 || len(r.Alarms) != 0 {
		t.Errorf("got %d late and the alarms %v, want 40 and none", r.Counts.Late, causes(r))
	}
}

func TestDoorsAreNoInput(t *testing.T) {
	var events []querschott.Access
	for i := range 500 {
		e := at(uint64(i+1), float64(i)/10, i)
		e.Outcome, e.Cause = "denied", "door"
		events = append(events, e)
	}
	if r := see(t, watch.Config{Canaries: population[:500]}, events...); len(r.Alarms) != 0 || r.Counts.Doors != 500 {
		t.Errorf("got %v and %d refusals by a door, want no alarms and 500", causes(r), r.Counts.Doors)
	}
}

// One cause of one actor is one alarm a day; what is told is told once.
func TestFolding(t *testing.T) {
	var events []querschott.Access
	for i := range 30 {
		events = append(events, at(uint64(i+1), float64(i), 1))
	}
	for i := range 2 {
		events = append(events, at(uint64(31+i), 86400+float64(i), 1))
	}
	told := 0
	r := see(t, watch.Config{Canaries: population[1:2], Policy: &watch.Policy{Live: []string{"D3"}}, Emit: func(a *watch.Alarm) {
		told++
		if a.Mode != watch.Live || a.ATTACK == nil || a.CAPEC == "" {
			t.Errorf("told %+v, want it live and labelled", a)
		}
	}}, events...)
	if told != 2 || len(r.Alarms) != 2 || r.Alarms[0].Folded != 29 || r.Alarms[1].Folded != 1 {
		t.Errorf("told %d, reported %+v; want one alarm on each of two days", told, r.Alarms)
	}
}

func TestBudgetIsCounted(t *testing.T) {
	var events []querschott.Access
	for k := range 3 {
		for i := range 20 {
			e := at(uint64(20*k+i+1), float64(20*k+i), i)
			e.Actor, e.Outcome, e.Cause = querschott.Actor(fmt.Sprint("clerk", k)), "failed", "not-there"
			events = append(events, e)
		}
	}
	if r := see(t, watch.Config{}, events...); len(r.Alarms) != 3 || r.Over != 2 {
		t.Errorf("got %d alarms, %d over the budget; want 3 and 2: none is dropped", len(r.Alarms), r.Over)
	}
}

func TestExplainedShare(t *testing.T) {
	without := at(2, 1, 2)
	without.ReasonRef = ""
	own := user(3, noon, 700, 3)
	own.Seq, own.Gate, own.Outcome = 3, "g", "success"
	r := see(t, watch.Config{}, at(1, 0, 1), without, own)
	if len(r.Explained) != 2 {
		t.Fatalf("got %+v, want two compartments", r.Explained)
	}
	for _, s := range r.Explained {
		if want := map[string]float64{"109500969/desk": 0.5, "109500969/app": 1}[s.Compartment]; s.Share != want {
			t.Errorf("%s: the share is %v, want %v", s.Compartment, s.Share, want)
		}
	}
}

// Memory is bounded, and what is forgotten is counted.
func TestEviction(t *testing.T) {
	var events []querschott.Access
	for i := range 100 {
		e := at(uint64(i+1), float64(i), i)
		e.Actor = querschott.Actor(fmt.Sprint("clerk", i))
		events = append(events, e)
	}
	r := see(t, watch.Config{Keys: 10}, events...)
	if d := r.Detectors["D1"]; d.Keys != 10 || d.Evicted != 90 {
		t.Errorf("D1 holds %d and forgot %d, want 10 and 90", d.Keys, d.Evicted)
	}
}

func TestRunFromStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := watch.New(watch.Config{Canaries: population[5:6]})
		if err != nil {
			t.Fatal(err)
		}
		stream := access.NewStream("g")
		sub := stream.Subscribe("watch", 100)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx, sub) }()
		for i := range 10 {
			e := at(0, 0, i)
			e.Time = time.Now()
			stream.Publish(e)
		}
		synctest.Wait()
		if r := w.Report(); r.Counts.Events != 10 || len(r.Alarms) != 1 {
			t.Errorf("got %d events and %v, want 10 and the canary", r.Counts.Events, causes(r))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := len(stream.Stats().Subscribers); n != 0 {
			t.Errorf("%d subscribers are left", n)
		}
	})
}

func TestReplayMergesByTime(t *testing.T) {
	line := func(gate string, seq int, seconds int) string {
		return fmt.Sprintf(`{"seq":%d,"gate":%q,"t":%q,"outcome":"success","request_id":"%s%d"}`+"\n", seq, gate,
			noon.Add(time.Duration(seconds)*time.Second).Format(time.RFC3339), gate, seq)
	}
	a := line("a", 1, 0) + line("a", 2, 86400*300) + line("a", 3, 600) + "torn\n" + line("a", 4, 1200)
	b := line("b", 1, 300) + line("b", 2, 900) + line("b", 3, 1500)
	w, err := watch.New(watch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Replay(t.Context(), []watch.Source{{Name: "a", Reader: access.NewReader(strings.NewReader(a))}, {Name: "b", Reader: access.NewReader(strings.NewReader(b))}})
	if err != nil || r.Lines != 8 || r.Bad["a"] != 1 || len(r.Faults) != 1 || r.Faults[0].Line != 4 {
		t.Errorf("read %+v, %v", r, err)
	}
	if got := w.Report(); got.Counts.Events != 7 || got.Counts.Late != 1 || got.Counts.Future != 1 || !got.To.Equal(noon.Add(1500*time.Second)) {
		t.Errorf("got %+v up to %v, want one event whose clock was wrong and no other late one", got.Counts, got.To)
	}
}

// The same events give the same report.
func TestReplayIsDeterministic(t *testing.T) {
	play := func() []string {
		w := newTraffic()
		w.clerks, w.days = 20, 12
		w.steal(2, 8, 90, noReason)
		var out []string
		for _, a := range run(t, w, watch.Config{}).Alarms {
			out = append(out, fmt.Sprintf("%+v", *a))
		}
		return out
	}
	if a, b := play(), play(); !slices.Equal(a, b) || len(a) == 0 {
		t.Errorf("two runs differ, or raise nothing:\n%v\n%v", a, b)
	}
}

// BenchmarkObserve feeds the traffic of a day with many actors; the target is 5 us an event.
func BenchmarkObserve(b *testing.B) {
	w := newTraffic()
	w.clerks, w.practices, w.users, w.days = 500, 100, 3000, 2
	var events []querschott.Access
	w.play(func(e *querschott.Access) { events = append(events, *e) })
	s, err := watch.New(watch.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i, round := 0, 0
	for b.Loop() {
		e := events[i]
		e.Time = e.Time.AddDate(0, 0, 7*round)
		e.Seq += uint64(round * len(events))
		s.Observe(&e)
		if i++; i == len(events) {
			i, round = 0, round+1
		}
	}
}

// A cause may be live while the rest of its detector is not.
func TestLiveCause(t *testing.T) {
	var events []querschott.Access
	for i := range 2 {
		events = append(events, at(uint64(i+1), float64(i), i))
	}
	r := see(t, watch.Config{Canaries: population[:2], Policy: watch.DefaultPolicy()}, events...)
	if len(r.Alarms) != 2 || r.Alarms[0].Mode != watch.Shadow || r.Alarms[1].Mode != watch.Live {
		t.Errorf("got %+v, want the first canary in shadow mode and the second one live", r.Alarms)
	}
}
