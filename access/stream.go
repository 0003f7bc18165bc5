package access

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/querschott/querschott"
)

// Stream hands the events of one gate to its subscribers. All methods may be called at the same time.
type Stream struct {
	gate string

	mu          sync.Mutex // guards the fields below; nothing is waited for while it is held
	seq         uint64
	subscribers []*Subscription
}

// NewStream makes the stream of the gate with this name.
func NewStream(gate string) *Stream { return &Stream{gate: gate} }

// Publish numbers an event and hands it to all subscribers that have room. It sets Seq and Gate.
func (s *Stream) Publish(e querschott.Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	e.Seq, e.Gate = s.seq, s.gate
	for _, sub := range s.subscribers {
		select {
		case sub.events <- e:
		default:
			sub.dropped.Add(1)
		}
	}
}

// Subscription is one subscriber's view of a stream.
type Subscription struct {
	name    string
	stream  *Stream
	events  chan querschott.Access
	dropped atomic.Uint64
}

// Subscribe begins a subscription with room for so many events, at least one. The name is shown where losses are.
func (s *Stream) Subscribe(name string, buffer int) *Subscription {
	sub := &Subscription{name: name, stream: s, events: make(chan querschott.Access, max(buffer, 1))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers = append(s.subscribers, sub)
	return sub
}

// Events returns the channel of events. It is closed by [Subscription.Close], after what is in the buffer.
func (s *Subscription) Events() <-chan querschott.Access { return s.events }

// Dropped returns how many events did not fit since the subscription began.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	if i := slices.Index(s.stream.subscribers, s); i >= 0 {
		s.stream.subscribers = slices.Delete(s.stream.subscribers, i, i+1)
		close(s.events)
	}
}

// Stats is a look at a stream.
type Stats struct {
	Published   uint64 // events since the start; the number of the last one
	Subscribers []Lag  // in the order in which they came
}

// Lag says how well a subscriber keeps up.
type Lag struct {
	Name    string
	Waiting int // events in its buffer
	Room    int // events that its buffer can hold
	Dropped uint64
}

// Stats returns the stream's counters and those of the subscribers that are there.
func (s *Stream) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Published: s.seq}
	for _, sub := range s.subscribers {
		st.Subscribers = append(st.Subscribers, Lag{
			Name: sub.name, Waiting: len(sub.events), Room: cap(sub.events), Dropped: sub.dropped.Load(),
		})
	}
	return st
}
