package access_test

import (
	"sync"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
)

func TestSubscribersGetAllEventsInOrder(t *testing.T) {
	s := access.NewStream("g1")
	a, b := s.Subscribe("a", 4000), s.Subscribe("b", 4000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				s.Publish(querschott.Access{Seq: 99, Gate: "forged"})
			}
		})
	}
	wg.Wait()
	a.Close()
	b.Close()
	for _, sub := range []*access.Subscription{a, b} {
		want := uint64(0)
		for e := range sub.Events() {
			if want++; e.Seq != want || e.Gate != "g1" {
				t.Fatalf("event %d of gate %q, want %d of g1", e.Seq, e.Gate, want)
			}
		}
		if want != 4000 || sub.Dropped() != 0 {
			t.Errorf("%d events and %d dropped, want 4000 and 0", want, sub.Dropped())
		}
	}
}

// A subscriber that does not read costs itself its events, and nobody else anything.
func TestSlowSubscriberLosesOnlyItsOwn(t *testing.T) {
	s := access.NewStream("g1")
	slow, quick := s.Subscribe("slow", 3), s.Subscribe("quick", 10)
	for range 10 {
		s.Publish(querschott.Access{})
	}
	if got := slow.Dropped(); got != 7 {
		t.Errorf("the slow subscriber dropped %d, want 7", got)
	}
	if got := quick.Dropped(); got != 0 {
		t.Errorf("the quick subscriber dropped %d, want 0", got)
	}
	<-slow.Events()
	s.Publish(querschott.Access{})
	var seqs []uint64
	slow.Close()
	slow.Close()
	for e := range slow.Events() {
		seqs = append(seqs, e.Seq)
	}
	if len(seqs) != 3 || seqs[1] != 3 || seqs[2] != 11 {
		t.Errorf("the slow subscriber saw %v, want 2, 3 and then 11: the gap is what it lost", seqs)
	}
	st := s.Stats()
	if st.Published != 11 || len(st.Subscribers) != 1 || st.Subscribers[0] != (access.Lag{Name: "quick", Waiting: 10, Room: 10, Dropped: 1}) {
		t.Errorf("stats are %+v", st)
	}
	s.Publish(querschott.Access{}) // a closed subscription is no trouble
}

func BenchmarkPublish(b *testing.B) {
	s := access.NewStream("g1")
	s.Subscribe("full", 1)
	b.ReportAllocs()
	for b.Loop() {
		s.Publish(querschott.Access{Action: "read"})
	}
}
