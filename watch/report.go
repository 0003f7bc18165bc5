package watch

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/querschott/querschott"
)

// Counts is what happened to the events.
type Counts struct {
	Events     uint64 `json:"events"`         // taken in
	Duplicates uint64 `json:"duplicates"`     // came a second time and were left out
	Late       uint64 `json:"late"`           // counted at another time than their own
	Future     uint64 `json:"future"`         // of these, claimed a time that nobody confirmed
	Doors      uint64 `json:"denied_by_door"` // left out of all detectors
	Lost       uint64 `json:"lost"`           // numbers of gates that never came
}

// Share is how much of one compartment's accesses has an explanation.
type Share struct {
	Compartment string  `json:"compartment"`
	Reached     uint64  `json:"reached"`   // accesses that reached a person
	Explained   uint64  `json:"explained"` // of these, with a reference that says why
	Implied     uint64  `json:"implied"`   // of these, by a role that needs none: a practice with the card, the insured person
	Share       float64 `json:"share"`     // of those that need a reference, how many have one; 1 when none needs one

	of querschott.Compartment
}

// Of returns the compartment as such.
func (s *Share) Of() querschott.Compartment { return s.of }

// Summary is what a Watch has to say without naming anybody.
type Summary struct {
	From      time.Time        `json:"from,omitzero"` // not there without events
	To        time.Time        `json:"to,omitzero"`   // the newest event time; not there without events
	Counts    Counts           `json:"counts"`
	Dropped   uint64           `json:"alarms_dropped"`
	Over      int              `json:"alarms_over_budget"`
	ByKind    map[Kind]int     `json:"alarms_by_kind"`
	ByName    map[string]int   `json:"alarms_by_detector"`
	ByCAPEC   map[string]int   `json:"alarms_by_capec"` // "" for alarms without a pattern
	Explained []Share          `json:"explained"`
	Detectors map[string]Stats `json:"detectors"`
	Evicted   uint64           `json:"detector_evicted_total"` // of all detectors; 0 unless there is too little memory for all actors
}

// Report is everything that a Watch has to say.
type Report struct {
	Summary
	Alarms  []*Alarm  `json:"alarms"`  // by time
	Curious []Curious `json:"curious"` // the ranked lists of D9 of the last day, one insurer after the other
}

// Summary returns what is known by now.
func (w *Watch) Summary() Summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.summary()
}

func (w *Watch) summary() Summary {
	s := Summary{
		From: w.from, To: w.now, Counts: w.counts, Dropped: w.dropped, Over: w.over, ByKind: maps.Clone(w.byKind), ByName: maps.Clone(w.byName),
		ByCAPEC:   maps.Clone(w.byCAPEC),
		Explained: make([]Share, 0, len(w.explained)), Detectors: map[string]Stats{},
	}
	s.Counts.Lost = w.order.lost
	for _, e := range slices.SortedFunc(maps.Values(w.explained), func(a, b *Share) int { return cmp.Compare(a.Compartment, b.Compartment) }) {
		c := *e
		c.Share = 1
		if need := c.Reached - c.Implied; need > 0 {
			c.Share = float64(c.Explained) / float64(need)
		}
		s.Explained = append(s.Explained, c)
	}
	for _, d := range w.detectors {
		st := d.Stats()
		s.Detectors[d.Name()] = st
		s.Evicted += st.Evicted
	}
	return s
}

// Report returns what is known by now.
func (w *Watch) Report() *Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &Report{Summary: w.summary(), Alarms: make([]*Alarm, 0, len(w.alarms)), Curious: []Curious{}}
	for _, a := range w.alarms {
		c := *a
		r.Alarms = append(r.Alarms, &c)
	}
	slices.SortStableFunc(r.Alarms, func(a, b *Alarm) int { return a.Time.Compare(b.Time) })
	if w.curious != nil {
		r.Curious = append(r.Curious, w.curious.list...)
	}
	return r
}
