package eval

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/drill/crowd"
	"github.com/querschott/querschott/watch"
)

func sqrt(x float64) float64 { return math.Sqrt(x) }

// seedResult is what one world brought.
type seedResult struct {
	seed        uint64
	workingDays float64
	staff       float64
	practices   float64
	insurers    int
	events      uint64
	lost        uint64
	evicted     uint64
	explained   float64

	alarms      map[string]int // false ones by detector and cause
	falseKinds  map[string]int // by what they are about, ours only
	falseLive   int
	calm        float64            // false ones about whom nothing happens that looks like an attack, for full size
	falseBy     map[string]float64 // by detector, for full size, baselines too
	lookAlike   map[string]int     // false alarms about what looks like an attack, by family
	over        int                // false ones beyond the budget of an insurer
	trueAlarms  int
	besideGroup int
	falseTimes  map[querschott.Actor][]time.Time // ours, for shuffled labels

	holds       int
	wrongHolds  map[string]int // by detector and cause
	wrongFull   float64        // of full size
	examples    []Example
	wrongly     []Example      // alarms by which somebody was held wrongly
	wrongDoors  map[string]int // by detector and cause
	doors       int
	asked       int // actions that two persons are asked for
	refusedHeld int // ordinary requests refused because their credential was held
	refusedDoor int
	refusedCap  int
	ordinaryAll int

	prevented int // attacks that found their credential held already, for a false alarm
	runs      []*run
	covered   []float64 // by shuffled labels, per run
}

func newSeedResult(w *world) *seedResult {
	r := &seedResult{
		seed: w.seed, staff: float64(w.crowd.Staff()), practices: float64(w.crowd.Practices()), insurers: len(w.crowd.Insurers()),
		alarms: map[string]int{}, falseKinds: map[string]int{}, falseBy: map[string]float64{}, lookAlike: map[string]int{},
		wrongHolds: map[string]int{}, wrongDoors: map[string]int{}, falseTimes: map[querschott.Actor][]time.Time{},
	}
	for t := w.counted; t.Before(w.end); t = t.AddDate(0, 0, 1) {
		if t.Weekday() != time.Saturday && t.Weekday() != time.Sunday {
			r.workingDays++
		}
	}
	return r
}

// Example is one false alarm.
type Example struct {
	Seed       uint64         `json:"seed"`
	Time       time.Time      `json:"time"`
	Actor      string         `json:"actor"`
	Detector   string         `json:"detector"`
	Cause      string         `json:"cause"`
	Mode       watch.Mode     `json:"mode"`
	LookAlike  string         `json:"look_alike,omitempty"` // what happened to this actor
	Arithmetic []watch.Number `json:"arithmetic"`
}

// maxExamples is how many false alarms of each seed are shown.
const maxExamples = 20

// ordinary counts how a request of ordinary work ended.
func (r *seedResult) ordinary(q *crowd.Request, o attack.Outcome, w *world) {
	if q.Time.Before(w.counted) {
		return
	}
	r.ordinaryAll++
	switch o.Result {
	case attack.Held:
		r.refusedHeld++
	case attack.Shut:
		r.refusedDoor++
	case attack.Capped:
		r.refusedCap++
	default:
	}
}

// scale is how many times as many alarms like this one there would be at full size. What looks like an attack happens as often
// in a small world as in a large one; insurers and gates are as many.
func (r *seedResult) scale(kind string, v verdict) float64 {
	if kind == "staff" && v.run == nil {
		return fullSize / r.staff
	}
	return 1
}

// alarm counts an alarm.
func (r *seedResult) alarm(a *watch.Alarm, v verdict, now time.Time, w *world) {
	if now.Before(w.counted) {
		return
	}
	ours := !baseline(a.Detector)
	switch {
	case v.run != nil && !v.run.family.Benign:
		if ours {
			r.trueAlarms++
		}
		return
	case v.beside:
		r.besideGroup++
		return
	}
	k, during := kind(a), ""
	if v.run != nil {
		during = v.run.family.Name
	} else {
		during = w.truth.meanwhile(a, w.crowd, now)
	}
	if k != "practices" && k != "app" {
		r.falseBy[a.Detector] += r.scale(k, v)
		if ours && during == "" {
			r.calm += r.scale(k, v)
		}
	}
	if !ours {
		return
	}
	r.alarms[a.Detector+" "+a.Cause]++
	r.falseKinds[k]++
	r.falseTimes[a.Actor] = append(r.falseTimes[a.Actor], now)
	if a.Mode == watch.Live {
		r.falseLive++
	}
	if a.OverBudget {
		r.over++
	}
	if during != "" {
		r.lookAlike[during]++
	}
	if len(r.examples) < maxExamples {
		r.examples = append(r.examples, r.example(a, during, now))
	}
}

func (r *seedResult) example(a *watch.Alarm, during string, now time.Time) Example {
	return Example{r.seed, now, string(a.Actor), a.Detector, a.Cause, a.Mode, during, a.Arithmetic}
}

// decision counts what followed from an alarm.
func (r *seedResult) decision(a *watch.Alarm, d contain.Decision, v verdict, now time.Time, w *world) {
	for i := range d.Actions {
		if v.run != nil && v.run.contained.IsZero() {
			v.run.contained = now
		}
		if !now.Before(w.counted) {
			r.action(a, &d.Actions[i], v, now, w)
		}
	}
	if !now.Before(w.counted) {
		r.asked += len(d.Ask)
	}
}

func (r *seedResult) action(a *watch.Alarm, x *contain.Action, v verdict, now time.Time, w *world) {
	wrong := v.run == nil || v.run.family.Benign
	if x.Kind == contain.MoveDoor {
		if r.doors++; wrong {
			r.wrongDoors[x.Reason]++
		}
		return
	}
	r.holds++
	if wrong && !w.truth.attacker(x.Actor) {
		r.wrongHolds[x.Reason]++
		r.wrongFull += r.scale("staff", v)
		if len(r.wrongly) < maxExamples {
			r.wrongly = append(r.wrongly, r.example(a, w.truth.meanwhile(a, w.crowd, now), now))
		}
	}
}

// finish takes what is known at the end.
func (r *seedResult) finish(w *world) {
	rep := w.watch.Report()
	r.events, r.lost = rep.Counts.Events, rep.Counts.Lost
	for _, s := range rep.Detectors {
		r.evicted += s.Evicted
	}
	reached, explained := 0.0, 0.0
	for _, s := range rep.Explained {
		if strings.HasSuffix(s.Compartment, "/desk") {
			reached, explained = reached+float64(s.Reached-s.Implied), explained+float64(s.Explained)
		}
	}
	r.explained = explained / max(reached, 1)
	for _, x := range w.truth.runs {
		if x.family.Benign || x.began.IsZero() {
			continue
		}
		if x.found == nil && x.held == x.requests { // its credential was held for something else before it began
			r.prevented++
			continue
		}
		r.runs = append(r.runs, x)
		r.covered = append(r.covered, r.shuffled(w, x))
		x.reached, x.over = len(x.persons), x.ended || x.last.Before(w.end.AddDate(0, 0, -3))
		x.run, x.persons = nil, nil
	}
}

// shuffled is how many of those who did nothing would have been called found in the time of an attack, had they been its
// attackers: the chance that a label by lot is hit.
func (r *seedResult) shuffled(w *world, x *run) float64 {
	actors := w.crowd.Actors()
	innocent, hit := 0, 0
	for _, a := range actors {
		if w.truth.attacker(a) {
			continue
		}
		innocent++
		if slices.ContainsFunc(r.falseTimes[a], func(t time.Time) bool { return !t.Before(x.began) && t.Sub(x.last) < after }) {
			hit++
		}
	}
	return float64(hit) / float64(max(innocent, 1))
}
