package watch

import "time"

// bulk is D1, bulk read: more different persons in a minute, a quarter of an hour or a day than the role may reach. It counts
// what was reached, and it hears of it when the gate refused for its own caps.
type bulk struct {
	policy *Policy
	trails *table[bulkTrail]
}

// spans are the windows in seconds, with the words of their alarms.
var spans = [3]struct {
	seconds int64
	cause   string
	unit    string
}{{60, "cap-minute", "persons/min"}, {900, "cap-quarter-hour", "persons/15 min"}, {86400, "cap-day", "persons/24 h"}}

// bulkTrail is whom one actor reached in the last 24 hours, as long as that is exact.
type bulkTrail struct {
	last  map[uint64]int64 // when each person was reached last
	steps []bulkStep       // by time; a person stands there once for every second in which it was reached
	from  [3]int           // first step within each window
	count [3]int
	over  [3]int64       // when the last alarm of each window was
	rough [3]roughWindow // for windows whose cap is too high to hold every person
}

type bulkStep struct {
	person uint64
	at     int64
}

// roughWindow counts a window from its last full multiple on. The gate's own caps are exact at any size.
type roughWindow struct {
	window int64
	seen   distinct
}

// exactCap is up to which cap persons are held one by one.
const exactCap = 2048

func newBulk(p *Policy, keys int) *bulk { return &bulk{policy: p, trails: newTable[bulkTrail](keys)} }

func (*bulk) Name() string { return "D1" }

func (d *bulk) Stats() Stats { return d.trails.stats() }

func (d *bulk) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *bulk) Observe(e *Event, to []Alarm) []Alarm {
	if e.Result == Denied && (e.Cause == "reach" || e.Cause == "over-cap") {
		return append(to, e.alarm("D1", "cap-gate", Exact, High, Number{"refused", 1, "requests"}))
	}
	if e.Result != Reached || e.Subject == 0 || e.Job {
		return to
	}
	c := d.policy.limit(e.Role)
	caps := [3]int{c.Minute, c.Quarter, c.Day}
	t := d.trails.get(e.Who)
	held := 0 // windows in which every person is held
	for held < len(caps) && caps[held] <= exactCap {
		held++
	}
	t.forget(e.Sec, held)
	t.add(e, held)
	for i, most := range caps {
		n, first := t.count[i], e.Sec
		if i >= held {
			n, first = t.rough[i].seen.count(), t.rough[i].window*spans[i].seconds
		} else if t.from[i] < len(t.steps) {
			first = t.steps[t.from[i]].at
		}
		if n <= most || e.Sec-t.over[i] < spans[i].seconds && t.over[i] != 0 || e.Late && i < 2 {
			continue
		}
		t.over[i] = e.Sec
		to = append(to, e.alarm("D1", spans[i].cause, Exact, High,
			Number{"persons", float64(n), spans[i].unit}, Number{"cap", float64(most), spans[i].unit}).since(first, n))
	}
	return to
}

// forget moves the windows on.
func (t *bulkTrail) forget(now int64, held int) {
	for i := range held {
		for t.from[i] < len(t.steps) && now-t.steps[t.from[i]].at >= spans[i].seconds {
			if s := t.steps[t.from[i]]; t.last[s.person] == s.at {
				t.count[i]--
				if i == held-1 {
					delete(t.last, s.person)
				}
			}
			t.from[i]++
		}
	}
	if held == 0 {
		return
	}
	if cut := t.from[held-1]; cut > 64 && cut > len(t.steps)/2 { // what every window has left
		t.steps = append(t.steps[:0], t.steps[cut:]...)
		for i := range held {
			t.from[i] -= cut
		}
	}
}

// add counts a person to every window in which it is new.
func (t *bulkTrail) add(e *Event, held int) {
	for i := held; i < len(spans); i++ {
		r := &t.rough[i]
		if w := e.Sec / spans[i].seconds; w != r.window {
			r.seen.reset()
			r.window = w
		}
		r.seen.add(e.Subject)
	}
	if held == 0 {
		return
	}
	at, known := t.last[e.Subject]
	if known && at == e.Sec {
		return
	}
	if !known && len(t.last) > exactCap {
		return // far above every exact cap, which has raised its alarm; memory stays bounded
	}
	for i := range held {
		if !known || e.Sec-at >= spans[i].seconds {
			t.count[i]++
		}
	}
	if t.last == nil {
		t.last = map[uint64]int64{}
	}
	t.last[e.Subject] = e.Sec
	t.steps = append(t.steps, bulkStep{e.Subject, e.Sec})
}
