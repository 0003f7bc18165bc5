package watch

import (
	"time"

	"github.com/querschott/querschott"
)

// flood is D13: many times more requests for a service than at this time of day. It names the service, and the answer is
// shedding reads of the app first and never the intake of sick notes.
type flood struct {
	services map[querschott.Service]*tide
}

// tide is the requests of one service.
type tide struct {
	bucket int64 // number of the ten seconds
	count  int
	high   int // buckets in a row that were far too high
	slots  [48]float32
	seen   [48]uint16 // buckets that the slot has learned from, up to a bound
	peak   float32    // highest slot
}

const (
	floodTimes = 4    // times the usual
	floodLeast = 600  // requests in ten seconds below which nothing is a flood
	floodRow   = 3    // buckets in a row
	floodKnown = 2000 // buckets, six hours, before anything is usual
)

func newFlood() *flood { return &flood{services: map[querschott.Service]*tide{}} }

func (*flood) Name() string { return "D13" }

func (d *flood) Stats() Stats { return Stats{Keys: len(d.services)} }

func (d *flood) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *flood) Observe(e *Event, to []Alarm) []Alarm {
	if e.Test {
		return d.played(e, to)
	}
	t := d.services[e.Service]
	if t == nil {
		if len(d.services) >= 64 {
			return to
		}
		t = &tide{}
		d.services[e.Service] = t
	}
	if b := e.Sec / 10; b != t.bucket {
		to = t.turn(e, b, to)
	}
	t.count++
	return to
}

// played judges what the watch plays, for a service of its own, and forgets it.
func (d *flood) played(e *Event, to []Alarm) []Alarm {
	t := d.services[serviceTest]
	if e.Service != serviceTest || t == nil {
		return to
	}
	delete(d.services, serviceTest)
	return t.turn(e, e.Sec/10, to)
}

// turn judges the bucket that has ended.
func (t *tide) turn(e *Event, b int64, to []Alarm) []Alarm {
	slot := e.Minute / 60
	if e.Weekday == time.Saturday || e.Weekday == time.Sunday {
		slot += 24
	}
	usual := max(t.slots[slot], t.peak/8)
	known := 0
	for _, n := range t.seen {
		known += int(n)
	}
	if t.bucket != 0 && known >= floodKnown && t.count >= floodLeast && float32(t.count) > floodTimes*usual {
		t.high++
	} else {
		t.high = 0
	}
	if t.high == floodRow {
		a := e.alarm("D13", "flood", Statistical, High, Number{"requests", float64(t.count), "requests/10 s"}, Number{"usual", float64(usual), "requests/10 s"},
			Number{"times", floodTimes, "times"}).since(e.Sec-10*floodRow, t.count)
		a.Actor, a.Credential, a.Insurer = "service:"+querschott.Actor(e.Service), "", ""
		to = append(to, a)
	}
	if t.high == 0 && t.bucket != 0 {
		t.seen[slot] = min(t.seen[slot]+1, 5000)
		t.slots[slot] += (float32(t.count) - t.slots[slot]) / float32(min(t.seen[slot], 2000))
		t.peak = max(t.peak*0.99999, t.slots[slot])
	}
	t.bucket, t.count = b, 0
	return to
}
