package watch

import (
	"time"

	"github.com/querschott/querschott"
)

// silence is D17: what cannot be seen. Numbers of a gate that never came are events that no detector saw; a gate that falls
// silent while the others go on is worth a look.
type silence struct {
	order *order
	gates map[string]*pulse
	ticks int64 // ten minutes since 1970
}

// pulse is the events of one gate in the running ten minutes and in the six before.
type pulse struct {
	count  [7]int
	silent bool
	last   int64
}

const (
	pulseLeast = 120 // events in the hour before from which on silence is odd
	othersMin  = 30  // events of other gates meanwhile that show that there is traffic
)

func newSilence(o *order) *silence { return &silence{order: o, gates: map[string]*pulse{}} }

func (*silence) Name() string { return "D17" }

func (d *silence) Stats() Stats { return Stats{Keys: len(d.gates)} }

func (d *silence) Observe(e *Event, to []Alarm) []Alarm {
	if e.Test {
		return to
	}
	to = d.Tick(e.At, to)
	p := d.gates[e.Gate]
	if p == nil {
		if len(d.gates) >= maxGates {
			return to
		}
		p = &pulse{}
		d.gates[e.Gate] = p
	}
	p.count[0]++
	p.silent, p.last = false, e.Sec
	return to
}

func (d *silence) Tick(now time.Time, to []Alarm) []Alarm {
	t := now.Unix() / 600
	if t != d.ticks {
		d.order.mark(now)
	}
	for _, g := range d.order.found {
		to = append(to, gateAlarm(g.gate, "gap", now, Number{"lost", float64(g.lost), "events"}, Number{"first_missing", float64(g.from), "number"}))
	}
	d.order.found = d.order.found[:0]
	if t == d.ticks {
		return to
	}
	steps := min(t-d.ticks, 7)
	d.ticks = t
	if steps == 1 {
		to = d.listen(now, to)
	}
	for _, p := range d.gates {
		for range steps {
			copy(p.count[1:], p.count[:6])
			p.count[0] = 0
		}
	}
	return to
}

// listen compares the ten minutes that have just ended with the hour before.
func (d *silence) listen(now time.Time, to []Alarm) []Alarm {
	all, before := 0, 0
	for _, p := range d.gates {
		all += p.count[0]
		for _, n := range p.count[1:] {
			before += n
		}
	}
	if all < othersMin || 12*all < before { // everybody goes home
		return to
	}
	for _, g := range d.order.names() {
		p := d.gates[g.name]
		if p == nil || p.silent || p.count[0] > 0 {
			continue
		}
		hour, steady := 0, true
		for _, n := range p.count[1:] {
			hour += n
		}
		for _, n := range p.count[1:] {
			steady = steady && 24*n >= hour
		}
		if hour < pulseLeast || 12*p.count[1] < hour || !steady { // it has been fading, as offices do in the evening, or a job has ended
			continue
		}
		p.silent = true
		to = append(to, gateAlarm(g.name, "gate-silent", now, Number{"events", 0, "events/10 min"}, Number{"before", float64(hour), "events/h"},
			Number{"others", float64(all), "events/10 min"}).since(p.last, hour))
	}
	return to
}

func gateAlarm(gate, cause string, now time.Time, numbers ...Number) Alarm {
	kind := Exact
	if cause != "gap" {
		kind = Statistical
	}
	return Alarm{
		Time: now, Actor: querschott.Actor("gate:" + gate), Cause: cause, Detector: "D17", Kind: kind, Severity: High, Arithmetic: numbers,
		Events: Span{now, now, 1},
	}
}
