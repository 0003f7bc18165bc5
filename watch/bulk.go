package watch

import (
	"slices"
	"time"
)

// bulk is D1, bulk read: more different persons in a minute, a quarter of an hour or a day than the role may reach. It counts
// what was reached, and it hears of it when the gate refused for its own caps.
type bulk struct {
	policy *Policy
	held   held
}

// spans are the windows in seconds, with the words of their alarms.
var spans = [3]struct {
	seconds int64
	cause   string
	unit    string
}{{60, "cap-minute", "persons/min"}, {900, "cap-quarter-hour", "persons/15 min"}, {86400, "cap-day", "persons/24 h"}}

// bulkTrail is whom one actor reached in the last 24 hours, as long as that is exact.
type bulkTrail struct {
	now   int64       // newest time that one of its events claimed
	steps []bulkStep  // by time; a person stands there once for every second in which it was reached
	begin [3]bulkStep // where the first steps lie
	from  [3]int32    // first step within each window
	count [3]int32
	over  [3]uint32       // when the last alarm of each window was, in seconds since 1970
	known bool            // it is counted in held
	last  []bulkStep      // when each person was reached last, a table with open addressing; nil while steps are few enough to look through
	live  int             // persons in it, those of a time that is over too
	rough *[3]roughWindow // for windows whose cap is too high to hold every person
}

// bulkStep is a person, and when it was reached in seconds since 1970.
type bulkStep struct {
	person uint64
	at     int64
}

// roughWindow counts a window from its last full multiple on. The gate's own caps are exact at any size.
type roughWindow struct {
	window int64
	seen   distinct
}

// fewSteps is how many steps are looked through one by one.
const fewSteps = 16

// maxSteps bounds what is held of one actor.
const maxSteps = 16 * exactCap

// exactCap is up to which cap persons are held one by one.
const exactCap = 2048

func newBulk(p *Policy) *bulk { return &bulk{policy: p} }

func (*bulk) Name() string { return "D1" }

func (d *bulk) Stats() Stats { return d.held.stats() }

func (d *bulk) forget(a *actor) {
	if a.bulk.known {
		d.held.drop(a)
	}
}

func (d *bulk) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *bulk) Observe(e *Event, to []Alarm) []Alarm {
	if e.Result == Denied && (e.Cause == "reach" || e.Cause == "over-cap") {
		return append(to, e.alarm("D1", "cap-gate", Exact, High, d.refused(e)...))
	}
	if e.Result != Reached || e.Subject == 0 || e.Job {
		return to
	}
	c := d.policy.limit(e.Role)
	caps := [3]int{c.Minute, c.Quarter, c.Day}
	t := &e.actor.bulk
	if !t.known {
		t.known, t.steps = true, t.begin[:0]
		d.held.keys++
	}
	held := 0 // windows in which every person is held
	for held < len(caps) && caps[held] <= exactCap {
		held++
	}
	at := t.claimed(e)
	t.forget(t.now, held)
	t.add(e, at, held)
	for i, most := range caps {
		n, first := int(t.count[i]), at
		if i >= held {
			n, first = t.rough[i].seen.count(), t.rough[i].window*spans[i].seconds
		} else if int(t.from[i]) < len(t.steps) {
			first = t.steps[t.from[i]].at
		}
		if n <= most || t.now-int64(t.over[i]) < spans[i].seconds {
			continue
		}
		t.over[i] = uint32(t.now)
		to = append(to, e.alarm("D1", spans[i].cause, Exact, High,
			Number{"persons", float64(n), spans[i].unit}, Number{"cap", float64(most), spans[i].unit}).since(first, n))
	}
	return to
}

// refused are the figures of a refusal by the gate: which cap is reached by what was seen here, unless the gate has others.
func (d *bulk) refused(e *Event) []Number {
	list := []Number{{"refused", 1, "requests"}}
	t, c := &e.actor.bulk, d.policy.limit(e.Role)
	caps := [3]int{c.Minute, c.Quarter, c.Day}
	if !t.known || caps[2] > exactCap {
		return list
	}
	t.claimed(e)
	t.forget(t.now, len(caps))
	for i, most := range caps {
		if n := int(t.count[i]); n >= most {
			return append(list, Number{"persons", float64(n), spans[i].unit}, Number{"cap", float64(most), spans[i].unit})
		}
	}
	return list
}

// claimed returns the second at which an event counts, and moves the actor's time on. A gate that was cut off delivers its
// events all at once: they count when they happened, not when they came. What claims to be older than a day counts in the
// longest window only, so that nobody hides behind a wrong clock; what claims to be from the future has been set right already.
func (t *bulkTrail) claimed(e *Event) int64 {
	at := min(e.Time.Unix(), e.Sec)
	if e.Sec-at >= spans[2].seconds {
		at = e.Sec - spans[1].seconds
	}
	t.now = max(t.now, at)
	return at
}

// forget moves the windows on.
func (t *bulkTrail) forget(now int64, held int) {
	for i := range held {
		from := int(t.from[i])
		for ; from < len(t.steps) && now-t.steps[from].at >= spans[i].seconds; from++ {
			if s := t.steps[from]; t.newest(s.person, from) == s.at {
				t.count[i]--
			}
		}
		t.from[i] = int32(from)
	}
	if held == 0 {
		return
	}
	if cut := t.from[held-1]; cut > 8 && int(cut) > len(t.steps)/2 { // what every window has left
		t.steps = append(t.steps[:0], t.steps[cut:]...)
		for i := range held {
			t.from[i] -= cut
		}
		if len(t.steps) <= fewSteps/2 {
			t.last, t.live = nil, 0
		}
	}
}

// newest returns when a person was reached last, 0 for never; it does not look before the step from.
func (t *bulkTrail) newest(person uint64, from int) int64 {
	if t.last != nil {
		return t.find(person).at
	}
	for i := len(t.steps) - 1; i >= from; i-- {
		if t.steps[i].person == person {
			return t.steps[i].at
		}
	}
	return 0
}

// find returns the place of a person, or the free one where it may be put.
func (t *bulkTrail) find(person uint64) *bulkStep {
	mask := len(t.last) - 1
	for i := int(person) & mask; ; i = (i + 1) & mask {
		if s := &t.last[i]; s.person == person || s.at == 0 {
			return s
		}
	}
}

// index makes the table anew from the steps that some window has.
func (t *bulkTrail) index(from int) {
	size := 4 * fewSteps
	for size < 2*(len(t.steps)-from) {
		size *= 2
	}
	t.last, t.live = make([]bulkStep, size), 0
	for _, s := range t.steps[from:] {
		at := t.find(s.person)
		if at.at == 0 {
			t.live++
		}
		*at = s
	}
}

// add counts a person to every window in which it is new.
func (t *bulkTrail) add(e *Event, at int64, held int) {
	t.addRough(e.Subject, at, held)
	if held == 0 {
		return
	}
	from := int(t.from[held-1])
	old := t.newest(e.Subject, from)
	e.Fresh = old == 0 || at-old >= spans[2].seconds
	switch {
	case old >= at || t.now-at >= spans[held-1].seconds:
		return // counted already, or too old for every window
	case len(t.steps)-from > maxSteps:
		return // far above every exact cap, which has raised its alarm; memory stays bounded
	case t.now-old >= spans[held-1].seconds:
		old = 0
	}
	place := len(t.steps)
	for place > from && t.steps[place-1].at > at {
		place--
	}
	t.steps = slices.Insert(t.steps, place, bulkStep{e.Subject, at})
	for i := range held {
		switch {
		case t.now-at >= spans[i].seconds:
			t.from[i]++ // it lies before this window
		case old == 0 || t.now-old >= spans[i].seconds:
			t.count[i]++
		}
	}
	t.remember(bulkStep{e.Subject, at}, from)
}

// addRough counts a person to the windows that do not hold every one. A shorter window that is over is not opened again.
func (t *bulkTrail) addRough(person uint64, at int64, held int) {
	if held < len(spans) && t.rough == nil {
		t.rough = &[3]roughWindow{}
	}
	for i := held; i < len(spans); i++ {
		r, w := &t.rough[i], at/spans[i].seconds
		if w > r.window {
			r.seen.reset()
			r.window = w
		}
		if w == r.window || i == 2 {
			r.seen.add(person)
		}
	}
}

// remember notes a step in the table of who was reached last.
func (t *bulkTrail) remember(step bulkStep, from int) {
	switch {
	case t.last == nil && len(t.steps)-from > fewSteps || t.last != nil && 4*(t.live+1) > 3*len(t.last):
		t.index(from)
	case t.last != nil:
		s := t.find(step.person)
		if s.at == 0 {
			t.live++
		}
		*s = step
	}
}
