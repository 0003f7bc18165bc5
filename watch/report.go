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

// Report is everything that a Watch has to say.
type Report struct {
	From      time.Time        `json:"from"`
	To        time.Time        `json:"to"` // the newest event time
	Counts    Counts           `json:"counts"`
	Alarms    []*Alarm         `json:"alarms"` // by time
	Dropped   uint64           `json:"alarms_dropped"`
	Over      int              `json:"alarms_over_budget"`
	ByKind    map[Kind]int     `json:"alarms_by_kind"`
	ByName    map[string]int   `json:"alarms_by_detector"`
	Explained []Share          `json:"explained"`
	Detectors map[string]Stats `json:"detectors"`
}

// Report returns what is known by now.
func (w *Watch) Report() *Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &Report{
		From: w.from, To: w.now, Counts: w.counts, Dropped: w.dropped, ByKind: map[Kind]int{}, ByName: map[string]int{},
		Alarms: make([]*Alarm, 0, len(w.alarms)), Explained: make([]Share, 0, len(w.explained)), Detectors: map[string]Stats{},
	}
	r.Counts.Lost = w.order.lost
	for _, a := range w.alarms {
		c := *a
		r.Alarms = append(r.Alarms, &c)
		r.ByKind[a.Kind]++
		r.ByName[a.Detector]++
		if a.OverBudget {
			r.Over++
		}
	}
	slices.SortStableFunc(r.Alarms, func(a, b *Alarm) int { return a.Time.Compare(b.Time) })
	for _, s := range slices.SortedFunc(maps.Values(w.explained), func(a, b *Share) int { return cmp.Compare(a.Compartment, b.Compartment) }) {
		c := *s
		c.Share = 1
		if need := c.Reached - c.Implied; need > 0 {
			c.Share = float64(c.Explained) / float64(need)
		}
		r.Explained = append(r.Explained, c)
	}
	for _, d := range w.detectors {
		r.Detectors[d.Name()] = d.Stats()
	}
	return r
}
