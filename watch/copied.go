package watch

import "time"

// copied is R4: reasons that somebody else gave for somebody else. A colleague who takes over a case reads the same person,
// and what three work on is a common task; whoever borrows reasons reads persons that they were never about.
//
// It knows the newest reasons only, about two million; older ones are overwritten.
type copied struct {
	uses []reasonFirst
	n    int
}

// reasonFirst is who gave a reason first, and for whom.
type reasonFirst struct {
	reason uint64 // 0: a free place
	person uint64
	who    uint32
	second uint32 // who gave it besides
	common bool   // a third one gave it
}

// copyTrail is what one actor borrowed today.
type copyTrail struct {
	day   int
	count int
	first int64
}

const (
	copiedMost = 15      // persons of one actor in a day
	copiedRoom = 1 << 21 // reasons
)

func newCopied() *copied { return &copied{uses: make([]reasonFirst, 1<<10)} }

func (*copied) Name() string { return "R4" }

func (d *copied) Stats() Stats { return Stats{Keys: d.n} }

func (d *copied) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *copied) Observe(e *Event, to []Alarm) []Alarm {
	if !e.Explained || e.Job || !e.needsReason() {
		return to
	}
	r, me := e.cause, max(uint32(e.actor.id>>32), 1)
	u := &d.uses[r&uint64(len(d.uses)-1)]
	if u.reason != r {
		if u.reason == 0 {
			d.n++
		}
		*u = reasonFirst{reason: r, person: e.Subject, who: me}
		if 2*d.n > len(d.uses) && len(d.uses) < copiedRoom {
			d.widen()
		}
		return to
	}
	if u.who == me || u.person == e.Subject || u.common {
		return to
	}
	if u.second != me {
		u.common = u.second != 0
		u.second = me
	}
	if u.common || !e.Fresh {
		return to
	}
	t := &e.actor.clerk().copies
	if t.day != e.Day {
		*t = copyTrail{day: e.Day, first: e.Sec}
	}
	if t.count++; t.count != copiedMost {
		return to
	}
	return append(to, e.alarm("R4", "copied-reasons", Statistical, Medium, Number{"persons", copiedMost, "persons/day"},
		Number{"limit", copiedMost, "persons/day"}).since(t.first, copiedMost))
}

// widen makes twice as much room. Of two reasons that want the same place one is lost.
func (d *copied) widen() {
	old := d.uses
	d.uses, d.n = make([]reasonFirst, 2*len(old)), 0
	for _, u := range old {
		if u.reason == 0 {
			continue
		}
		at := &d.uses[u.reason&uint64(len(d.uses)-1)]
		if at.reason == 0 {
			d.n++
		}
		*at = u
	}
}
